"""BM25's matrix of scores, words by passages, built part by part on disk.

Every score is known before a question comes (Lu 2024, BM25S): idf(word) x tfc(count in the passage, length of
the passage), less what a passage without the word gets (0 but for BM25L and BM25+; Kamphuis et al. 2020). The
arrays are those that bm25s reads: columns of the words, each with its passages in order. bm25s builds them
passage by passage in memory; here a part's pairs of word and passage are counted where its text is split, and
written to their places in two files, so that memory holds one part and the words, not the corpus.

Legend: N passages, V words, P pairs of a word and a passage that has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hortus.artifact import read_json, replacing_file, write_json
from hortus.errors import DataError

if TYPE_CHECKING:
    from hortus.retrieval.bm25 import Bm25Config

__all__ = ["Matrix", "build_matrix", "is_counted", "write_counts"]

DELTA = 0.5  # what BM25L and BM25+ add


@dataclass(frozen=True)
class Matrix:
    """Scores by column, in files.

    data: (P,) fp32. indices: (P,) int32 passages. indptr: (V + 1,) int64 starts of the columns.
    absent: (V,) fp32 score of a word that a passage lacks; None where that is 0.
    vocabulary: word -> column.
    """

    data: np.ndarray
    indices: np.ndarray
    indptr: np.ndarray
    absent: np.ndarray | None
    vocabulary: dict[str, int]


def write_counts(stem: Path, texts: Sequence[Sequence[str]], start: int) -> None:
    """Count a part's words, by passage, into two files.

    Args:
        texts: words of each passage.
        start: number of the first passage in the corpus.
    """
    numbers: dict[str, int] = {}
    words = np.array([numbers.setdefault(word, len(numbers)) for text in texts for word in text], np.int64)
    lengths = np.array([len(text) for text in texts], np.int64)
    width = max(1, len(texts))
    pairs, counts = np.unique(words * width + np.repeat(np.arange(len(texts)), lengths), return_counts=True)
    arrays, vocabulary = _files(stem)
    with replacing_file(arrays) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            frequencies=np.bincount(pairs // width, minlength=len(numbers)),
            passages=(pairs % width + start).astype(np.int32),
            counts=counts.astype(np.int32),
            lengths=lengths,
            start=np.int64(start),
        )
    # Written last: it says that the part is whole.
    write_json(vocabulary, list(numbers))


def is_counted(stem: Path) -> bool:
    """Whether a part is whole."""
    return _files(stem)[1].is_file()


def _files(stem: Path) -> tuple[Path, Path]:
    return stem.with_suffix(".npz"), stem.with_suffix(".json")


def build_matrix(parts: Sequence[Path], folder: Path, config: Bm25Config) -> Matrix:
    """Join counted parts, in the order of the corpus.

    Args:
        folder: where the two large arrays go.

    Raises:
        DataError: no passage has a word.
    """
    vocabulary, own = _vocabulary(parts)
    frequencies = np.zeros(len(vocabulary), np.int64)
    num_passages = num_words = 0
    for stem, columns in zip(parts, own, strict=True):
        with np.load(_files(stem)[0], allow_pickle=False) as part:
            frequencies[columns] += part["frequencies"]
            num_passages += len(part["lengths"])
            num_words += int(part["lengths"].sum())
    if not num_words:
        raise DataError(
            "no passage holds a word that is indexed", allowed="words that are not all stop words"
        )
    indptr = np.concatenate([[0], np.cumsum(frequencies)])
    shape = (int(indptr[-1]),)
    data = np.lib.format.open_memmap(folder / "data.npy", "w+", np.float32, shape)
    indices = np.lib.format.open_memmap(folder / "indices.npy", "w+", np.int32, shape)
    idf = _idf(config.method, frequencies, num_passages)
    mean = num_words / num_passages
    has_absent = config.method in ("bm25l", "bm25+")
    absent = idf * _tfc(np.zeros(1), np.full(1, mean), mean, config) if has_absent else np.zeros_like(idf)
    heads = indptr[:-1].copy()
    for stem, columns in zip(parts, own, strict=True):
        with np.load(_files(stem)[0], allow_pickle=False) as part:
            passages, local = part["passages"], part["frequencies"]
            rows = np.repeat(columns, local)
            # A pair's place: where its word's column has come to, and its rank among the word's pairs here.
            ranks = np.arange(len(rows)) - np.repeat(np.cumsum(local) - local, local)
            places = heads[rows] + ranks
            lengths = part["lengths"][passages - part["start"]]
            scores = idf[rows] * _tfc(part["counts"].astype(np.float64), lengths, mean, config)
            data[places], indices[places] = scores - absent[rows], passages
            heads[columns] += local
    return Matrix(data, indices, indptr, absent.astype(np.float32) if has_absent else None, vocabulary)


def _vocabulary(parts: Sequence[Path]) -> tuple[dict[str, int], list[np.ndarray]]:
    """One vocabulary, and each part's columns in it."""
    vocabulary: dict[str, int] = {}
    own = []
    for stem in parts:
        words = read_json(_files(stem)[1])
        own.append(np.array([vocabulary.setdefault(w, len(vocabulary)) for w in words], np.int64))
    return vocabulary, own


def _idf(method: str, frequencies: np.ndarray, num_passages: int) -> np.ndarray:
    """(V,) Kamphuis et al. 2020, table 1; Robertson's without its negative values."""
    n, df = num_passages, frequencies.astype(np.float64)
    if method == "robertson":
        return np.log(np.maximum((n - df + 0.5) / (df + 0.5), 1.0))
    if method == "lucene":
        return np.log1p((n - df + 0.5) / (df + 0.5))
    if method == "atire":
        return np.log(n / df)
    return np.log((n + 1) / (df + 0.5 if method == "bm25l" else df))


def _tfc(counts: np.ndarray, lengths: np.ndarray, mean: float, config: Bm25Config) -> np.ndarray:
    """The part of the score that depends on the passage, of counts and lengths alike in shape."""
    k1, norm = config.k1, 1 - config.b + config.b * lengths / mean
    if config.method == "bm25l":
        shifted = counts / norm + DELTA
        return np.asarray((k1 + 1) * shifted / (k1 + shifted))
    saturated = counts / (k1 * norm + counts)
    if config.method in ("robertson", "lucene"):
        return np.asarray(saturated)
    return np.asarray((k1 + 1) * saturated + (DELTA if config.method == "bm25+" else 0.0))
