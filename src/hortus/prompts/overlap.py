"""How much of the evaluation texts occurs in the training texts, by word n-grams.

Words are lower-cased runs of letters and digits. A text shorter than n words is one n-gram of its own length;
below five words it is not compared, since common phrases would all match. The training side is streamed once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from hortus.errors import ConfigError

__all__ = ["OverlapReport", "ngram_overlap", "row_text"]

SHORTEST = 5
EXAMPLES_KEPT = 20
_WORDS = re.compile(r"\w+")


@dataclass
class OverlapReport:
    """Evaluation texts that share an n-gram with training texts."""

    n: int
    num_evaluation: int = 0
    num_training: int = 0
    num_too_short: int = 0
    """Evaluation texts below five words, which are not compared."""
    num_overlapping: int = 0
    mean_coverage: float = 0.0
    """Mean share of an evaluation text's n-grams that occur in training, over the compared texts."""
    examples: list[dict[str, Any]] = field(default_factory=list)
    """The first overlaps: evaluation and training numbers and the shared words."""

    @property
    def share(self) -> float:
        """Share of the compared evaluation texts that overlap."""
        compared = self.num_evaluation - self.num_too_short
        return self.num_overlapping / compared if compared else 0.0

    def to_mapping(self) -> dict[str, Any]:
        return asdict(self) | {"share": self.share}


def ngram_overlap(evaluation: Iterable[str], training: Iterable[str], n: int = 13) -> OverlapReport:
    """Compare texts by n-grams of words.

    Raises:
        ConfigError: n is below five.

    >>> report = ngram_overlap(["the cat sat on the mat today"], ["Yes: the cat sat on the mat today!"], n=5)
    >>> report.num_overlapping, report.mean_coverage
    (1, 1.0)
    """
    if n < SHORTEST:
        raise ConfigError(f"n={n} words match everywhere", allowed=f"{SHORTEST} or more")
    report = OverlapReport(n)
    # n-grams by their first words, so that one look-up a word decides for nearly all positions.
    index: dict[tuple[str, ...], dict[tuple[str, ...], list[int]]] = {}
    totals: list[int] = []
    for number, text in enumerate(evaluation):
        grams = _ngrams(_WORDS.findall(text.lower()), n)
        totals.append(len(grams))
        for gram in grams:
            index.setdefault(gram[:SHORTEST], {}).setdefault(gram, []).append(number)
    found: list[set[tuple[str, ...]]] = [set() for _ in totals]
    for number, text in enumerate(training):
        report.num_training += 1
        for gram, owners in _matches(_WORDS.findall(text.lower()), index):
            for owner in owners:
                if not found[owner] and len(report.examples) < EXAMPLES_KEPT:
                    report.examples.append({"evaluation": owner, "training": number, "words": " ".join(gram)})
                found[owner].add(gram)
    compared = [total for total in totals if total]
    report.num_evaluation, report.num_too_short = len(totals), len(totals) - len(compared)
    report.num_overlapping = sum(map(bool, found))
    shares = [len(grams) / total for grams, total in zip(found, totals, strict=True) if total]
    report.mean_coverage = sum(shares) / len(shares) if shares else 0.0
    return report


def _ngrams(words: list[str], n: int) -> set[tuple[str, ...]]:
    length = min(n, len(words))
    if length < SHORTEST:
        return set()
    return {tuple(words[start : start + length]) for start in range(len(words) - length + 1)}


def _matches(
    words: list[str], index: Mapping[tuple[str, ...], Mapping[tuple[str, ...], list[int]]]
) -> Iterable[tuple[tuple[str, ...], list[int]]]:
    for start in range(len(words) - SHORTEST + 1):
        candidates = index.get(tuple(words[start : start + SHORTEST]))
        for gram, owners in candidates.items() if candidates else ():
            if tuple(words[start : start + len(gram)]) == gram:
                yield gram, owners


def row_text(row: Mapping[str, Any]) -> str:
    """The text fields of a row, nested ones too. Rows are compared, not prompts, whose wording repeats.

    >>> row_text({"question": "Why?", "answers": {"text": ["Because."]}, "label": 1})
    'Why?\\nBecause.'
    """
    return "\n".join(_texts(row))


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
