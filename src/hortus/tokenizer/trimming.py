"""Fewer ids for a tokenizer: what its texts never used is dropped, the rest encodes as before.

Ids keep their order and close up. Texts of which every token stays encode to the same spellings:

WordPiece   takes the longest known piece first, and that one stays
BPE         every merge on the way to a kept token stays, and a merge that stays was in the same order before
Unigram     the best path stays and its rivals become fewer; the lowest score stays, which sets the unknown's

Special and added tokens and single characters of the texts stay always, so other words of the same letters
are still spelled.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import tokenizers

from hortus.errors import ArtifactError
from hortus.tokenizer.tokenizer import Tokenizer

__all__ = ["trimmed_tokenizer", "used_ids"]

_BATCH = 1024


def used_ids(tokenizer: Tokenizer, texts: Iterable[str]) -> set[int]:
    """Ids that the texts need: their tokens, and each of their characters that is a token.

    >>> from hortus.tokenizer import TokenizerConfig, train_tokenizer
    >>> tokenizer = train_tokenizer(["to be or not to be"] * 9, TokenizerConfig(vocab_size=265))
    >>> sorted(tokenizer.token(i) for i in used_ids(tokenizer, ["to"]) if len(tokenizer.token(i)) > 1)
    ['to']
    """
    used: set[int] = set()
    characters: set[str] = set()
    batch: list[str] = []

    def take() -> None:
        used.update(index for row in tokenizer.encode_batch(batch) for index in row)
        batch.clear()

    for text in texts:
        batch.append(text)
        characters.update(text)
        if len(batch) == _BATCH:
            take()
    take()
    prefix = tokenizer.to_json()["model"].get("continuing_subword_prefix") or ""
    singles = {text for row in used for text in tokenizer.token(row) or ""} | characters
    for single in singles:
        for spelled in {single, prefix + single}:
            index = tokenizer.token_id(spelled)
            if index is not None:
                used.add(index)
    return used


def trimmed_tokenizer(tokenizer: Tokenizer, used: Collection[int]) -> tuple[Tokenizer, list[int]]:
    """A tokenizer of the used ids and what they need, and the old id of each of its ids.

    Raises:
        ArtifactError: a model of another kind than WordPiece, BPE, Unigram and WordLevel.

    >>> from hortus.tokenizer import TokenizerConfig, train_tokenizer
    >>> tokenizer = train_tokenizer(["to be or not to be"] * 9, TokenizerConfig(vocab_size=265))
    >>> small, kept = trimmed_tokenizer(tokenizer, used_ids(tokenizer, ["to be"]))
    >>> small.decode(small.encode("to be")), [kept[i] for i in small.encode("to")] == tokenizer.encode("to")
    ('to be', True)
    """
    content = tokenizer.to_json()
    model, added = content["model"], content["added_tokens"]
    entries = _entries(model)
    wanted = {entry["id"] for entry in added} | set(used)
    wanted |= {index for token, index in entries.items() if token == model.get("unk_token")}
    if model["type"] == "BPE":
        wanted |= _ancestors(model, entries, wanted)
    elif model["type"] == "Unigram":
        scores = [score for _, score in model["vocab"]]
        wanted |= {scores.index(min(scores)), model["unk_id"]} - {None}
    kept = sorted(wanted)
    places = {old: new for new, old in enumerate(kept)}
    _renumber(model, places)
    for entry in added:
        entry["id"] = places[entry["id"]]
    _renumber_frame(content.get("post_processor"), places)
    settings = dict(tokenizer.settings)
    if isinstance(decoder := settings.get("added_tokens_decoder"), Mapping):
        known = {int(old): value for old, value in decoder.items() if int(old) in places}
        settings["added_tokens_decoder"] = {str(places[old]): value for old, value in known.items()}
    return Tokenizer(tokenizers.Tokenizer.from_str(json.dumps(content)), settings), kept


def _entries(model: Mapping[str, Any]) -> dict[str, int]:
    """Spelling -> id."""
    if model.get("type") == "Unigram":
        return {token: index for index, (token, _) in enumerate(model["vocab"])}
    if model.get("type") not in ("BPE", "WordPiece", "WordLevel"):
        raise ArtifactError(
            f"a tokenizer of the kind {model.get('type')}", allowed="BPE, WordPiece, Unigram, WordLevel"
        )
    return dict(model["vocab"])


def _renumber(model: dict[str, Any], places: Mapping[int, int]) -> None:
    """Drop what is not among the places, merges too."""
    if model["type"] == "Unigram":
        model["vocab"] = [entry for old, entry in enumerate(model["vocab"]) if old in places]
        model["unk_id"] = places.get(model["unk_id"])
        return
    entries = model["vocab"] = {token: places[old] for token, old in model["vocab"].items() if old in places}
    if model["type"] == "BPE":
        prefix = len(model.get("continuing_subword_prefix") or "")
        model["merges"] = [
            pair
            for pair in map(_pair, model["merges"])
            if all(part in entries for part in (*pair, pair[0] + pair[1][prefix:]))
        ]


def _pair(merge: str | Sequence[str]) -> list[str]:
    """A merge is two spellings, in older files with a space between them."""
    return merge.split(" ") if isinstance(merge, str) else list(merge)


def _ancestors(model: Mapping[str, Any], entries: Mapping[str, int], wanted: Collection[int]) -> set[int]:
    """Ids of all pieces on the way to the wanted ones, and of the 256 bytes where those are the letters.

    A token inside a word is built as if it stood alone: a merge across its edge would have stayed.
    """
    ranks = {tuple(_pair(merge)): rank for rank, merge in reversed(list(enumerate(model["merges"])))}
    prefix, suffix = model.get("continuing_subword_prefix") or "", model.get("end_of_word_suffix") or ""
    spellings = {index: token for token, index in entries.items()}
    letters = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    found = {entries[letter] for letter in letters if letter in entries}
    found |= {index for token, index in entries.items() if token[:3] == "<0x" and len(token) == 6}
    for index in wanted:
        parts = _letters(spellings.get(index, ""), prefix, suffix)
        while True:
            found |= {entries[part] for part in parts if part in entries}
            pairs = [(ranks[pair], place) for place, pair in enumerate(pairwise(parts)) if pair in ranks]
            if not pairs:
                break
            _, place = min(pairs)
            parts[place : place + 2] = [parts[place] + parts[place + 1][len(prefix) :]]
    return found


def _letters(token: str, prefix: str, suffix: str) -> list[str]:
    """The pieces that merging begins with."""
    inner = bool(prefix) and token.startswith(prefix)
    ends = bool(suffix) and token.endswith(suffix)
    bare = list(token[len(prefix) if inner else 0 : len(token) - len(suffix) if ends else None])
    parts = [prefix + letter if place or inner else letter for place, letter in enumerate(bare)]
    if ends and parts:
        parts[-1] += suffix
    return parts


def _renumber_frame(processor: dict[str, Any] | None, places: Mapping[int, int]) -> None:
    """New ids where the tokenizer's own template names them."""
    if processor is None:
        return
    for inner in processor.get("processors", ()):
        _renumber_frame(inner, places)
    if processor["type"] == "TemplateProcessing":
        for token in processor["special_tokens"].values():
            token["ids"] = [places[old] for old in token["ids"]]
    for role in ("cls", "sep"):
        if role in processor:
            token, old = processor[role]
            processor[role] = [token, places[old]]
