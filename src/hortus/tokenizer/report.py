"""How well a tokenizer serves each language: fertility, bytes per token, and BLOOM's accept rule.

Fertility is tokens per word (section 3.2 of the BLOOM paper). The paper accepts a multilingual tokenizer
when its fertility is at most 10 % above that of a good monolingual one. Different here: words are runs of
non-space characters rather than treebank words, a character counts as a word in languages written
without spaces, and the monolingual tokenizers are trained here, on the very texts that the multilingual
one saw of the language.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from hortus.report import Table
from hortus.tokenizer.config import NUM_BYTES, SPECIAL_TOKENS, TokenizerConfig
from hortus.tokenizer.tokenizer import Tokenizer
from hortus.tokenizer.train import train_tokenizer

__all__ = ["ACCEPTED_DEGRADATION", "LanguageFit", "compare_monolingual", "fit_table", "measure"]

ACCEPTED_DEGRADATION = 0.10
# Written without spaces between words: Chinese, Japanese, Thai, Lao, Khmer, Burmese, Tibetan.
UNSPACED = {"zh", "ja", "th", "lo", "km", "my", "bo"}


@dataclass(frozen=True, kw_only=True)
class LanguageFit:
    """What one tokenizer does to one language.

    unit: "word" or "character", what `words` counts.
    monolingual_fertility: of a tokenizer trained on this language alone; None where not compared.
    """

    language: str
    documents: int
    num_bytes: int
    words: int
    tokens: int
    unit: str
    monolingual_fertility: float | None = None

    @property
    def fertility(self) -> float:
        """Tokens per word (or character)."""
        return self.tokens / max(self.words, 1)

    @property
    def bytes_per_token(self) -> float:
        """UTF-8 bytes per token."""
        return self.num_bytes / max(self.tokens, 1)

    @property
    def degradation(self) -> float | None:
        """Relative increase of fertility over the monolingual tokenizer: 0.05 is 5 % worse."""
        if self.monolingual_fertility is None:
            return None
        return self.fertility / self.monolingual_fertility - 1

    @property
    def accepted(self) -> bool | None:
        """The paper's rule: at most 10 % worse. None where not compared."""
        return None if self.degradation is None else self.degradation <= ACCEPTED_DEGRADATION


def measure(tokenizer: Tokenizer, texts: Mapping[str, Sequence[str]]) -> list[LanguageFit]:
    """Count words, bytes and tokens of texts by language.

    >>> from hortus.tokenizer import TokenizerConfig, train_tokenizer
    >>> tokenizer = train_tokenizer(["aa bb"] * 5, TokenizerConfig(vocab_size=263))
    >>> fit = measure(tokenizer, {"en": ["aa bb bb"]})[0]
    >>> (fit.tokens, fit.words, fit.fertility)
    (3, 3, 1.0)
    """
    fits = []
    for language, documents in sorted(texts.items()):
        unspaced = language.partition("-")[0] in UNSPACED
        words = [len("".join(pieces)) if unspaced else len(pieces) for pieces in map(str.split, documents)]
        fits.append(
            LanguageFit(
                language=language,
                documents=len(documents),
                num_bytes=sum(len(text.encode()) for text in documents),
                words=sum(words),
                tokens=sum(map(len, tokenizer.encode_batch(documents))),
                unit="character" if unspaced else "word",
            )
        )
    return fits


def compare_monolingual(
    fits: Sequence[LanguageFit],
    training: Mapping[str, Sequence[str]],
    held_out: Mapping[str, Sequence[str]],
    config: TokenizerConfig,
) -> list[LanguageFit]:
    """Add the fertility of monolingual tokenizers where a language has enough training text.

    Args:
        training: the texts that the multilingual tokenizer was trained on, by language.
        held_out: the texts that `fits` were measured on.
    """
    vocab_size = max(
        NUM_BYTES + len(SPECIAL_TOKENS), round(config.vocab_size * config.monolingual_vocab_share)
    )
    monolingual = replace(config, vocab_size=vocab_size)
    compared = []
    for fit in fits:
        texts = training.get(fit.language, ())
        enough = sum(len(text.encode()) for text in texts) >= config.monolingual_floor_bytes
        if enough and fit.words:
            own = train_tokenizer(texts, monolingual)
            fertility = measure(own, {fit.language: held_out[fit.language]})[0].fertility
            fit = replace(fit, monolingual_fertility=fertility)
        compared.append(fit)
    return compared


def fit_table(fits: Sequence[LanguageFit]) -> Table:
    """The measures as a table for a report, languages with most text first."""
    columns = [
        "language",
        "documents",
        "bytes",
        "bytes per token",
        "tokens per word",
        "unit",
        "monolingual",
        "degradation",
        "accepted",
    ]
    rows = []
    for fit in sorted(fits, key=lambda fit: -fit.num_bytes):
        row = [
            fit.language,
            fit.documents,
            fit.num_bytes,
            round(fit.bytes_per_token, 2),
            round(fit.fertility, 3),
            fit.unit,
        ]
        if fit.monolingual_fertility is None or fit.degradation is None:
            row += ["-", "-", "-"]
        else:
            row += [
                round(fit.monolingual_fertility, 3),
                f"{fit.degradation:+.1%}",
                "yes" if fit.accepted else "no",
            ]
        rows.append(row)
    return Table(title="Held-out fertility by language", columns=columns, rows=rows)
