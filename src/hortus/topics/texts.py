"""Texts to counts: tokens, stop words of the text's language, bounds on the vocabulary, and what was removed.

A word is a run of letters, with apostrophes and hyphens inside it. Languages written without spaces are not
segmented: give such texts with spaces between their words.

Axes: D documents, V words.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import sparse

from hortus.errors import ConfigError, DataError, nearest
from hortus.registry import require
from hortus.topics.config import TextConfig

__all__ = ["CountedTexts", "count_texts", "detect_language", "is_texts", "tokenize"]

_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")


@dataclass(frozen=True, eq=False)
class CountedTexts:
    """Counted texts.

    Attributes:
        matrix: (D, V) counts, empty documents included.
        vocabulary: (V,) words in alphabetical order.
        tokens: per document the word numbers in reading order, words outside the vocabulary left out.
        removed: what was left out, in tokens or words, by reason; and the language.
    """

    matrix: sparse.csr_array
    vocabulary: list[str]
    tokens: list[np.ndarray]
    removed: dict[str, Any] = field(default_factory=dict)


def is_texts(X: Any) -> bool:
    """Whether X is a collection of strings rather than a matrix.

    >>> is_texts(["one text", "another"]), is_texts([[1, 2]])
    (True, False)
    """
    if isinstance(X, str):
        raise DataError("one text was given", allowed="a list of texts", do="wrap it in a list")
    if isinstance(X, list | tuple):
        return len(X) > 0 and all(isinstance(text, str) for text in X)
    values = getattr(X, "ndim", 0) == 1 and getattr(X, "shape", (0,))[0] > 0
    return bool(values) and all(isinstance(text, str) for text in X)


def tokenize(text: str, config: TextConfig | None = None) -> list[str]:
    """The words of a text in reading order, before stop words and bounds.

    >>> tokenize("It's a well-known fact: 3 trees!")
    ["it's", 'well-known', 'fact', 'trees']
    """
    config = config or TextConfig()
    words = _WORD.findall(text.lower() if config.lowercase else text)
    return [word.replace("’", "'") for word in words if len(word) >= config.min_letters]


def detect_language(frequencies: Counter[str]) -> str:
    """The code of the language whose stop words cover most tokens; "none" when none covers 5 %.

    Longer lists would cover more by chance, so only the hundred most frequent words of the texts vote.
    """
    stopwords = require("stopwordsiso", extra="corpus")
    common = frequencies.most_common(100)
    total = sum(count for _, count in common)

    def covered(language: str) -> tuple[float, str]:
        words = stopwords.stopwords(language)
        return sum(count for word, count in common if word in words) / max(total, 1), language

    share, language = max(covered(code) for code in stopwords.langs())
    return language if share >= 0.05 else "none"


def count_texts(
    texts: Iterable[str],
    config: TextConfig | None = None,
    vocabulary: Sequence[str] | None = None,
    allow_empty: bool = False,
) -> CountedTexts:
    """Count the words of texts.

    Args:
        vocabulary: count these words only, without stop words or bounds.
        allow_empty: with a vocabulary, accept texts that hold none of its words.

    Raises:
        DataError: no vocabulary is left. ConfigError: a language without a list of stop words.

    >>> config = TextConfig(max_share=1.0, language="none")
    >>> counted = count_texts(["red fish", "blue fish", "red sky"], config)
    >>> counted.vocabulary, counted.matrix.toarray().tolist()
    (['fish', 'red'], [[1, 1], [1, 0], [0, 1]])
    """
    config = config or TextConfig()
    documents = [tokenize(text, config) for text in texts]
    removed: dict[str, Any] = {}
    if vocabulary is None:
        vocabulary, removed = _choose_vocabulary(documents, config)
    number = {word: i for i, word in enumerate(vocabulary)}
    tokens = [np.array([number[w] for w in words if w in number], dtype=np.int32) for words in documents]
    if not allow_empty and not any(map(len, tokens)):
        raise DataError(
            f"no vocabulary is left of {len(documents)} texts",
            do="lower min_documents, raise max_share, or set the language to none",
        )
    rows = np.repeat(np.arange(len(tokens)), [len(t) for t in tokens])
    columns = np.concatenate(tokens) if tokens else np.array([], dtype=np.int32)
    shape = (len(tokens), len(number))
    matrix = sparse.csr_array((np.ones(len(columns), np.int64), (rows, columns)), shape=shape)
    matrix.sum_duplicates()
    return CountedTexts(matrix, list(vocabulary), tokens, removed)


def _choose_vocabulary(documents: list[list[str]], config: TextConfig) -> tuple[list[str], dict[str, Any]]:
    frequencies: Counter[str] = Counter(word for words in documents for word in words)
    presence: Counter[str] = Counter(word for words in documents for word in set(words))
    language = detect_language(frequencies) if config.language == "auto" else config.language
    stop_words = _stop_words(language)
    most = config.max_share * len(documents)
    reasons: dict[str, set[str]] = {"stop_words": set(), "too_rare": set(), "too_common": set()}
    kept = []
    for word, count in presence.items():
        if word in stop_words:
            reasons["stop_words"].add(word)
        elif count < config.min_documents:
            reasons["too_rare"].add(word)
        elif count > most:
            reasons["too_common"].add(word)
        else:
            kept.append(word)
    kept.sort(key=lambda word: (-frequencies[word], word))
    if config.max_words:
        reasons["beyond_max_words"] = set(kept[config.max_words :])
        kept = kept[: config.max_words]
    removed: dict[str, Any] = {"language": language}
    for reason, words in reasons.items():
        removed[f"{reason}_words"] = len(words)
        removed[f"{reason}_tokens"] = sum(frequencies[word] for word in words)
    return sorted(kept), removed


def _stop_words(language: str) -> frozenset[str]:
    if language == "none":
        return frozenset()
    stopwords = require("stopwordsiso", extra="corpus")
    if language not in stopwords.langs():
        raise ConfigError(
            f"no stop words for language {language!r}",
            do=nearest(language, [*stopwords.langs(), "none", "auto"]),
        )
    return frozenset(stopwords.stopwords(language))
