"""The OSCAR filters of ROOTS, in the published order and definitions (data/filters.yaml has the settings).

Number of words, character repetition, word repetition, special characters, stop words, flagged words,
language, perplexity (a step of its own, perplexity.py): a document is dropped at the first value beyond its
language's bound. `Rewrite` is what ROOTS did to the text before.

What differs: stop words are those of stopwordsiso; Chinese, where ROOTS cut words with a SentencePiece
model, takes each character as a word; flagged words are a list that the user names, and without one that
filter is off; the emoji among special characters are ranges of Unicode. Code is left to the code filters.
"""

from __future__ import annotations

from collections import defaultdict
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hortus.corpus import characters
from hortus.corpus.bounds import Bounds
from hortus.corpus.config import CODE
from hortus.corpus.kernels import COLUMNS, HASH_BASE, document_values, lookup_table
from hortus.corpus.languages import identified_languages, identify_all
from hortus.corpus.rewriting import rewrite, string_buffers
from hortus.corpus.steps.step import divide, keep_all, with_texts
from hortus.registry import require

__all__ = ["Filters", "Rewrite", "filter_values"]

UNSPACED_LANGUAGES = frozenset({"zh", "zh-Hant", "ja", "th", "lo", "km", "my", "bo"})
CHECKS = (  # value, bound, whether the bound is the least allowed, reason
    ("words", "min_words", True, "too few words"),
    ("words", "max_words", False, "too many words"),
    ("character_repetition", "character_repetition", False, "repeated characters"),
    ("word_repetition", "word_repetition", False, "repeated words"),
    ("special_characters", "special_characters", False, "special characters"),
    ("stop_words", "stop_words", True, "too few stop words"),
    ("flagged_words", "flagged_words", False, "flagged words"),
)


class Rewrite:
    """Unify white space; drop words with web addresses and overlong ones where the bounds say so."""

    name = "rewrite"

    def __init__(self, bounds: Bounds):
        self.bounds = bounds

    def apply(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """As Step.apply."""
        languages = batch.column("language").to_pylist()
        longest = [self.bounds.of(language)["max_word_length"] or 0 for language in languages]
        prose = np.array([language != CODE for language in languages])
        rewritten = rewrite(batch.column("text"), np.array(longest, np.int32))
        if not prose.all():
            rewritten = pc.if_else(pa.array(prose), rewritten, batch.column("text"))
        return keep_all(with_texts(batch, rewritten))


class Filters:
    """Drop documents beyond a bound of their language; code passes."""

    name = "filters"

    def __init__(self, bounds: Bounds, characters: int = 1000, flagged: dict[str, list[str]] | None = None):
        self.bounds, self.characters, self.flagged = bounds, characters, flagged or {}

    def apply(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """As Step.apply."""
        values = filter_values(batch, self.bounds, self.flagged)
        languages = batch.column("language").to_pylist()
        reasons = [
            None if language == CODE else self._reason(row, self.bounds.of(language), language)
            for row, language in zip(values.tolist(), languages, strict=True)
        ]
        self._check_languages(batch, languages, reasons)
        return divide(batch, reasons)

    def _reason(self, row: list[float], bounds: dict[str, Any], language: str) -> str | None:
        named = dict(zip(COLUMNS, row, strict=True))
        for value, bound, is_least, reason in CHECKS:
            if value == "stop_words" and not stop_words(language):
                continue
            if value == "flagged_words" and language not in self.flagged:
                continue
            if named[value] < bounds[bound] if is_least else named[value] > bounds[bound]:
                return reason
        return None

    def _check_languages(
        self, batch: pa.RecordBatch, languages: list[str], reasons: list[str | None]
    ) -> None:
        """Identify what has passed so far; a document of a language that the identifier lacks passes."""
        scores = batch.column("language_score").to_pylist()
        known = identified_languages()
        rows = [row for row, reason in enumerate(reasons) if reason is None and languages[row] in known]
        unknown = [row for row in rows if scores[row] is None]
        found = {row: (languages[row], scores[row]) for row in rows}
        texts = batch.column("text").take(pa.array(unknown, pa.int64())).to_pylist()
        found.update(zip(unknown, identify_all(texts, self.characters), strict=True))
        for row in rows:
            language, score = found[row]
            if language != languages[row]:
                reasons[row] = "another language"
            elif score < self.bounds.of(languages[row])["language_score"]:
                reasons[row] = "uncertain language"


def filter_values(
    batch: pa.RecordBatch, bounds: Bounds, flagged: dict[str, list[str]]
) -> NDArray[np.float64]:
    """(N, 6) the values of kernels.COLUMNS by document."""
    data, offsets = string_buffers(batch.column("text"))
    rows: dict[str, list[int]] = defaultdict(list)
    for row, language in enumerate(batch.column("language").to_pylist()):
        rows[language].append(row)
    values = np.zeros((batch.num_rows, len(COLUMNS)))
    for language, of_language in rows.items():
        index = np.array(of_language, np.int64)
        settings = _settings(language, bounds, tuple(flagged.get(language, ())))
        values[index] = document_values(data, offsets, index, *settings)
    _repeat_for_odd_cases(batch, bounds, flagged, values)
    return values


def _settings(language: str, bounds: Bounds, flagged: tuple[str, ...]) -> tuple[Any, ...]:
    of, table = bounds.of(language), characters.no_characters()
    if language in UNSPACED_LANGUAGES:
        table = characters.unspaced_characters()
    fixed = (characters.special_characters(), characters.lower_case(), table)
    lists = (*_listed(stop_words(language)), *_listed(flagged))
    joint = ord(of["join"]) if of["join"] else 0
    return (*fixed, of["character_ngram"], of["word_ngram"], *lists, of["group"], joint)


def _repeat_for_odd_cases(
    batch: pa.RecordBatch, bounds: Bounds, flagged: dict[str, list[str]], values: NDArray[np.float64]
) -> None:
    """Lower case by a table is wrong for Greek final sigma and dotted capital I: Python does those."""
    odd = np.flatnonzero(np.asarray(pc.match_substring_regex(batch.column("text"), "[Σİ]")))
    if len(odd):
        part = batch.take(pa.array(odd))
        lowered = with_texts(part, [text.lower() for text in part.column("text").to_pylist()])
        again = filter_values(lowered, bounds, flagged)
        for column in (2, 4, 5):  # those that depend on case
            values[odd, column] = again[:, column]


@cache
def stop_words(language: str) -> tuple[str, ...]:
    """The stop words of a language, lower-cased; none where stopwordsiso has no list."""
    package = require("stopwordsiso", extra="corpus")
    code = language.partition("-")[0]
    return tuple(sorted({word.lower() for word in package.stopwords(code)})) if package.has_lang(code) else ()


@cache
def _listed(words: tuple[str, ...]) -> tuple[NDArray[np.uint64], NDArray[np.int32]]:
    """The open-addressed table of a word list."""
    return lookup_table(np.array([_hash(word) for word in words], np.uint64))


def _hash(word: str) -> int:
    """The kernel's hash of a word, taken as it stands."""
    value = 0
    for character in word:
        value = (value * HASH_BASE + ord(character) + 1) % 2**64
    return value
