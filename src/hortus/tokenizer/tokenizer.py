"""One tokenizer class over any Hugging Face `tokenizer.json`.

Design choices that differ from transformers:
- Text is text: a special token spelled out in the text ("</s>") is encoded as ordinary characters, so no
  document can forge the end of a document and `decode(encode(text)) == text` always holds for byte-level
  tokenizers. `parse_special=True` reads such spellings as the tokens (for "[MASK]" or "<extra_id_0>").
- Truncation and padding stored in a published file are switched off: nothing is cut unless asked.
- Ids are found from the configuration files first, from the usual spellings otherwise.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers

from hortus.artifact import replacing_file
from hortus.errors import ArtifactError, ConfigError, DataError

__all__ = ["TextStream", "Tokenizer"]

# role -> spellings tried when no configuration file names the token.
_USUAL = {
    "unk": ("<unk>", "[UNK]"),
    "bos": ("<s>", "<|endoftext|>", "[CLS]"),
    "eos": ("</s>", "<|endoftext|>", "[SEP]"),
    "pad": ("<pad>", "[PAD]"),
    "mask": ("<mask>", "[MASK]"),
    "cls": ("[CLS]",),
    "sep": ("[SEP]",),
}


class Tokenizer:
    """Text to token ids and back.

    Args:
        core: a tokenizer of the `tokenizers` library; it is adopted, not copied.
        settings: the content of `tokenizer_config.json`; unknown keys are kept for `save`.

    >>> from hortus.tokenizer import TokenizerConfig, train_tokenizer
    >>> tokenizer = train_tokenizer(["to be or not to be"] * 9, TokenizerConfig(vocab_size=265))
    >>> tokenizer.decode(tokenizer.encode("to be </s> ✓"))
    'to be </s> ✓'
    >>> (tokenizer.unk_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id, tokenizer.vocab_size)
    (0, 1, 2, 3, 265)
    """

    def __init__(self, core: tokenizers.Tokenizer, settings: dict[str, Any] | None = None):
        core.no_truncation()
        core.no_padding()
        core.encode_special_tokens = True  # the library's name for "special spellings are ordinary text"
        self._core = core
        self._parsing: tokenizers.Tokenizer | None = None
        self.settings = dict(settings or {})
        self._ids = {role: self._find(role, usual) for role, usual in _USUAL.items()}

    @classmethod
    def load(cls, folder_or_file: str | Path) -> Tokenizer:
        """Read `tokenizer.json` and, beside it, `tokenizer_config.json` and `special_tokens_map.json`.

        Raises:
            ArtifactError: a file is missing or corrupt.
        """
        path = Path(folder_or_file)
        path = path / "tokenizer.json" if path.is_dir() else path
        if not path.is_file():
            raise ArtifactError(
                f"no tokenizer at {path}",
                allowed="a folder with tokenizer.json, or the file itself",
                do="save one there with transformers' save_pretrained, or train one: hortus tokenizer train",
            )
        try:
            core = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise ArtifactError(f"{path} is corrupt: {error}", do="fetch or save the file again") from error
        names = ("special_tokens_map.json", "tokenizer_config.json")  # the second wins
        settings: dict[str, Any] = {}
        for name in names:
            settings |= _read_settings(path.parent / name)
        return cls(core, settings)

    def save(self, folder: str | Path) -> None:
        """Write `tokenizer.json`, `tokenizer_config.json` and `special_tokens_map.json`.

        transformers' AutoTokenizer opens the folder, with the padding side kept.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        names = {f"{role}_token": self.token(index) for role, index in self._ids.items() if index is not None}
        named = {key: value for key, value in names.items() if self.settings.get(key) or key in _SAVED_ALWAYS}
        settings = {"tokenizer_class": "PreTrainedTokenizerFast", **self.settings, **named}
        for name, content in (
            ("tokenizer.json", self._core.to_str(pretty=False)),
            ("tokenizer_config.json", json.dumps(settings, indent=2, ensure_ascii=False)),
            ("special_tokens_map.json", json.dumps(named, indent=2, ensure_ascii=False)),
        ):
            with replacing_file(folder / name) as temporary:
                temporary.write_text(content + "\n", encoding="utf-8")

    @property
    def vocab_size(self) -> int:
        """Number of ids, added tokens included. An embedding may have more rows: see `embedding_rows`."""
        return int(self._core.get_vocab_size(with_added_tokens=True))

    def embedding_rows(self, multiple: int = 128) -> int:
        """`vocab_size` rounded up to a multiple, as BLOOM's 250,680 ids got 250,880 rows of 512."""
        if multiple < 1:
            raise ConfigError(f"multiple={multiple}", allowed="1 or more")
        return -(-self.vocab_size // multiple) * multiple

    @property
    def unk_id(self) -> int | None:
        return self._ids["unk"]

    @property
    def bos_id(self) -> int | None:
        return self._ids["bos"]

    @property
    def eos_id(self) -> int | None:
        return self._ids["eos"]

    @property
    def pad_id(self) -> int | None:
        return self._ids["pad"]

    @property
    def mask_id(self) -> int | None:
        return self._ids["mask"]

    @property
    def cls_id(self) -> int | None:
        return self._ids["cls"]

    @property
    def sep_id(self) -> int | None:
        return self._ids["sep"]

    @property
    def padding_side(self) -> str:
        """ "left" or "right"; what a published file does not say is "right", as in transformers."""
        return str(self.settings.get("padding_side", "right"))

    def encode(self, text: str, add_special: bool = False, parse_special: bool = False) -> list[int]:
        """Token ids of one text.

        Args:
            add_special: also add what the tokenizer's own template adds (BERT's [CLS] and [SEP]).
            parse_special: read special tokens spelled out in the text as those tokens.

        Raises:
            DataError: the text holds a lone surrogate, which no Unicode text has.
        """
        return list(self._encodings([text], add_special, parse_special)[0].ids)

    def encode_batch(
        self, texts: Sequence[str], add_special: bool = False, parse_special: bool = False
    ) -> list[list[int]]:
        """Token ids of many texts, encoded on all cores."""
        return [encoding.ids for encoding in self._encodings(texts, add_special, parse_special)]

    def encode_with_spans(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Token ids of one text, and where each token stands in it: (start, end) in characters."""
        try:
            encoding = self._core.encode(text, add_special_tokens=False)
        except (TypeError, UnicodeEncodeError) as error:
            raise DataError(f"cannot encode: {error}", allowed="valid Unicode text") from error
        return list(encoding.ids), list(encoding.offsets)

    def encode_arrays(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Token ids of many texts in one array: (tokens,) uint32 and (texts + 1,) int64 offsets."""
        rows = self.encode_batch(texts)
        offsets = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum([len(row) for row in rows], out=offsets[1:])
        flat = np.empty(int(offsets[-1]), dtype=np.uint32)
        for row, start, stop in zip(rows, offsets[:-1], offsets[1:], strict=True):
            flat[start:stop] = row
        return flat, offsets

    def decode(self, ids: Iterable[int], skip_special: bool = True) -> str:
        """Text of token ids; special tokens are left out unless `skip_special` is False."""
        return str(self._core.decode([int(index) for index in ids], skip_special_tokens=skip_special))

    def decode_stream(self, skip_special: bool = True) -> TextStream:
        """A decoder that takes one id at a time, for printing while generating."""
        return TextStream(self, skip_special)

    def token(self, index: int) -> str | None:
        """The spelling of one id in the vocabulary, or None."""
        spelling = self._core.id_to_token(int(index))
        return None if spelling is None else str(spelling)

    def token_id(self, token: str) -> int | None:
        """The id of a vocabulary entry, or None."""
        index = self._core.token_to_id(token)
        return None if index is None else int(index)

    def special_ids(self) -> list[int]:
        """Ids of all tokens marked special, ascending."""
        return sorted(
            index for index, added in self._core.get_added_tokens_decoder().items() if added.special
        )

    def to_json(self) -> dict[str, Any]:
        """The content of tokenizer.json."""
        return dict(json.loads(self._core.to_str()))

    def fingerprint(self) -> str:
        """A hash of everything that decides the ids, so that shards can be matched to their tokenizer."""
        return hashlib.blake2b(self._core.to_str().encode(), digest_size=16).hexdigest()

    def _encodings(
        self, texts: Sequence[str], add_special: bool, parse_special: bool
    ) -> list[tokenizers.Encoding]:
        if isinstance(texts, str):
            raise DataError(
                "encode_batch got one text", allowed="a list of texts", do="use encode for one text"
            )
        core = self._parsing_core() if parse_special else self._core
        try:
            # "fast" leaves out the character offsets, which nothing here uses.
            encodings = core.encode_batch_fast(list(texts), add_special_tokens=add_special)
        except (TypeError, UnicodeEncodeError) as error:
            raise DataError(f"cannot encode: {error}", allowed="valid Unicode text") from error
        return list(encodings)

    def _parsing_core(self) -> tokenizers.Tokenizer:
        # A second copy rather than a switched flag: one tokenizer serves many threads.
        if self._parsing is None:
            parsing = tokenizers.Tokenizer.from_str(self._core.to_str())
            parsing.encode_special_tokens = False
            self._parsing = parsing
        return self._parsing

    def _find(self, role: str, usual: Sequence[str]) -> int | None:
        given = self.settings.get(f"{role}_token")
        if isinstance(given, dict):  # a serialised AddedToken
            given = given.get("content")
        for spelling in [given] if given else usual:
            index = self.token_id(str(spelling))
            if index is not None:
                return index
        return None


_SAVED_ALWAYS = tuple(f"{role}_token" for role in _USUAL)


class TextStream:
    """Turns ids into text one at a time, holding back bytes of an unfinished character."""

    def __init__(self, tokenizer: Tokenizer, skip_special: bool):
        self._tokenizer, self._skip_special = tokenizer, skip_special
        self._ids: list[int] = []
        self._done = 0  # ids already printed in full
        self._context = 0  # where decoding starts again, so that leading spaces come out right

    def push(self, index: int) -> str:
        """The text that this id completes; "" while a character is unfinished."""
        self._ids.append(int(index))
        text = self._pending()
        if not text or text.endswith("\N{REPLACEMENT CHARACTER}"):
            return ""
        self._context, self._done = self._done, len(self._ids)
        return text

    def finish(self) -> str:
        """What is still held back; bytes that never became a character come out as U+FFFD."""
        text = self._pending()
        self._context = self._done = len(self._ids)
        return text

    def _pending(self) -> str:
        decode = self._tokenizer.decode
        before = decode(self._ids[self._context : self._done], self._skip_special)
        return decode(self._ids[self._context :], self._skip_special)[len(before) :]


def _read_settings(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ArtifactError(f"{path} is corrupt: {error}", do="fetch or save the file again") from error
    if not isinstance(settings, dict):
        raise ArtifactError(f"{path} holds a {type(settings).__name__}", allowed="a JSON object")
    return settings
