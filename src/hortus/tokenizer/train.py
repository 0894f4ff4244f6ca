"""Train a byte-level BPE tokenizer as BLOOM's was (section 3.2 of the paper).

Same as published: the pre-tokenizer, no normalisation, no split of digits or contractions, the four
special tokens at ids 0 to 3, left padding, nothing added to a text. Different: the pattern is written
without its nested bracket, which engines read differently; a test holds the two to the same meaning.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as CoreTokenizer

from hortus.errors import DataError
from hortus.tokenizer.config import SPECIAL_TOKENS, TokenizerConfig
from hortus.tokenizer.tokenizer import Tokenizer

__all__ = ["EXCLUDED", "PATTERN", "PUBLISHED_PATTERN", "train_tokenizer"]

# The characters, besides white space, at which a piece ends.
EXCLUDED = "(|.,!?…。，、।۔،)"
PATTERN = r" ?[^(\s|.,!?…。，、।۔،)]+"
# As in the published tokenizer.json. The inner bracket is a nested class, not characters of its own.
PUBLISHED_PATTERN = r" ?[^(\s|[.,!?…。，、।۔،])]+"


def train_tokenizer(texts: Iterable[str], config: TokenizerConfig) -> Tokenizer:
    """Learn byte-level BPE merges from texts, read once.

    Raises:
        DataError: there is no text at all, or one is not valid Unicode.

    >>> tokenizer = train_tokenizer(["low lower lowest"] * 5, TokenizerConfig(vocab_size=263))
    >>> [tokenizer.token(index) for index in tokenizer.encode("lowly")]
    ['low', 'l', 'y']
    """
    core = CoreTokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    core.post_processor = processors.ByteLevel(add_prefix_space=False, trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size,
        min_frequency=config.min_frequency,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS],
        # All 256 bytes, seen or not: this is what makes every text encodable.
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    counted = _Counted(texts)
    try:
        core.train_from_iterator(counted, trainer=trainer)
    except (TypeError, UnicodeEncodeError) as error:
        raise DataError(f"cannot train on a text: {error}", allowed="valid Unicode text") from error
    if not counted.characters:
        raise DataError("no text to train a tokenizer on", do="give at least one document that is not empty")
    settings = {
        f"{name}_token": token
        for name, token in zip(("unk", "bos", "eos", "pad"), SPECIAL_TOKENS, strict=True)
    }
    return Tokenizer(core, {**settings, "padding_side": "left", "clean_up_tokenization_spaces": False})


class _Counted:
    """Passes texts on and counts their characters."""

    def __init__(self, texts: Iterable[str]):
        self.texts, self.characters = texts, 0

    def __iter__(self) -> Iterator[str]:
        for text in self.texts:
            self.characters += len(text)
            yield text
