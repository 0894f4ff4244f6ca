"""Counts of words in documents: checked, cleaned, and laid out for the samplers.

Empty documents and unused words are removed; what remains keeps the indices it had, so that every result can
be put back in the user's own rows and columns.

Axes: D documents, V words, n tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from hortus.errors import ConfigError, DataError, nearest

__all__ = ["Counts", "check_counts", "looks_transposed", "split_tokens"]

FRACTIONAL = ("refuse", "round")


@dataclass(frozen=True, eq=False)
class Counts:
    """A cleaned corpus.

    Attributes:
        matrix: (D, V) CSR of int64, sorted columns, no stored zeros, no empty row or column.
        documents: (D,) the rows kept, as indices of the user's matrix.
        words: (V,) the columns kept.
        shape: the shape of the user's matrix.
    """

    matrix: sparse.csr_array
    documents: np.ndarray
    words: np.ndarray
    shape: tuple[int, int]

    @property
    def num_documents(self) -> int:
        """D, without empty documents."""
        return int(self.matrix.shape[0])

    @property
    def num_words(self) -> int:
        """V, without unused words."""
        return int(self.matrix.shape[1])

    @property
    def num_tokens(self) -> int:
        """n, the sum of the counts."""
        return int(self.matrix.data.sum())

    @property
    def lengths(self) -> np.ndarray:
        """(D,) tokens of each document."""
        return np.asarray(self.matrix.sum(axis=1)).ravel()

    def tokens(self) -> tuple[np.ndarray, np.ndarray]:
        """The corpus as tokens: words (n,) int32 sorted by document and word, and offsets (D + 1,) int64."""
        words = np.repeat(self.matrix.indices.astype(np.int32), self.matrix.data)
        ends = np.concatenate([[0], np.cumsum(self.matrix.data)])
        return words, ends[self.matrix.indptr].astype(np.int64)

    def restore(self, words: np.ndarray) -> sparse.csr_array:
        """The matrix in the user's shape, with the counts of all but the given columns left out."""
        inside = np.zeros(self.shape[1], dtype=bool)
        inside[words] = True
        coordinates = self.matrix.tocoo()
        rows, columns = self.documents[coordinates.row], self.words[coordinates.col]
        chosen = inside[columns]
        values = (coordinates.data[chosen], (rows[chosen], columns[chosen]))
        return sparse.csr_array(values, shape=self.shape)

    def describe(self) -> dict[str, int | float]:
        """D, V, n, lengths and what was removed, for echoing."""
        lengths = self.lengths
        return {
            "documents": self.num_documents,
            "words": self.num_words,
            "tokens": self.num_tokens,
            "mean_length": float(lengths.mean()),
            "shortest": int(lengths.min()),
            "longest": int(lengths.max()),
            "empty_documents_removed": self.shape[0] - self.num_documents,
            "unused_words_removed": self.shape[1] - self.num_words,
        }


def check_counts(X: Any, fractional: str = "refuse", allow_empty: bool = False) -> Counts:
    """Check a documents x words matrix of counts and remove what is empty.

    Args:
        X: (D, V) dense or sparse, or a DataFrame.
        fractional: "refuse" counts that are not whole numbers, or "round" them.
        allow_empty: accept a matrix without any token (new documents may hold unknown words only).

    Raises:
        DataError: counts that are negative, NaN, infinite or fractional; no token at all; not two axes.
        ConfigError: an unknown value of `fractional`.

    >>> counts = check_counts([[2, 0, 1], [0, 0, 0], [0, 0, 3]])
    >>> counts.documents.tolist(), counts.words.tolist(), counts.num_tokens
    ([0, 2], [0, 2], 6)
    """
    if fractional not in FRACTIONAL:
        raise ConfigError(f"fractional={fractional!r} is not known", do=nearest(str(fractional), FRACTIONAL))
    matrix = _as_csr(X)
    data = matrix.data
    if data.dtype.kind == "f":
        if not np.isfinite(data).all():
            raise DataError(
                "the counts contain NaN or infinite values",
                allowed="whole numbers from 0",
                do="mend the matrix",
            )
        if fractional == "round":
            data = np.rint(data)
        elif (data != np.rint(data)).any():
            odd = float(data[data != np.rint(data)][0])
            raise DataError(
                f"the counts contain fractions such as {odd:g}; tf-idf weights are not counts",
                allowed="whole numbers from 0",
                do='give raw counts, or pass fractional="round"',
            )
    if data.size and data.min() < 0:
        raise DataError(
            f"Negative values in data: the counts go down to {data.min():g}", allowed="whole numbers from 0"
        )
    matrix = sparse.csr_array((data.astype(np.int64), matrix.indices, matrix.indptr), shape=matrix.shape)
    matrix.eliminate_zeros()
    if matrix.nnz == 0 and not allow_empty:
        raise DataError(
            f"no word is left in {matrix.shape[0]} documents", do="check the input and the vocabulary bounds"
        )
    documents = np.flatnonzero(np.diff(matrix.indptr))
    words = np.flatnonzero(np.bincount(matrix.indices, minlength=matrix.shape[1]))
    kept = matrix[documents][:, words]
    kept.sort_indices()
    return Counts(kept, documents, words, (int(matrix.shape[0]), int(matrix.shape[1])))


def _as_csr(X: Any) -> sparse.csr_array:
    """Any numeric two-axis matrix as CSR with summed duplicates; shares no memory with the input's data."""
    if sparse.issparse(X):
        if X.ndim != 2:
            raise DataError(f"counts have {X.ndim} axes", allowed="two: documents x words")
        if X.dtype.kind == "c":
            raise DataError("Complex data not supported", allowed="whole numbers from 0")
        matrix = sparse.csr_array(X, copy=True)
        matrix.sum_duplicates()
        return matrix
    array = np.asarray(X)
    if array.ndim != 2:
        raise DataError(
            f"counts have {array.ndim} axes. Reshape your data: Expected 2D array, got {array.ndim}D array",
            allowed="two: documents x words",
        )
    if array.dtype.kind == "c":
        raise DataError("Complex data not supported", allowed="whole numbers from 0")
    if array.dtype.kind not in "biuf":
        try:
            array = array.astype(np.float64)
        except (TypeError, ValueError) as error:
            # scikit-learn's estimators raise what NumPy raises here: TypeError for objects, ValueError for
            # words.
            raise type(error)(f"the counts are not numbers: {error}") from error
    if 0 in array.shape:
        rows, columns = array.shape
        what = f"{rows} sample(s)" if rows == 0 else f"{columns} feature(s)"
        raise DataError(f"0 found: {what} (shape={array.shape}) while a minimum of 1 is required.")
    return sparse.csr_array(array)


def looks_transposed(X: Any, num_names: int | None = None) -> bool:
    """Whether a matrix seems to be words x documents.

    With the size of the vocabulary the shape decides. Without it the totals do: words follow Zipf's law, so
    the totals of words are far more unequal (Gini index) than the lengths of documents.

    >>> looks_transposed([[1, 2], [0, 1], [3, 1]], num_names=3)
    True
    """
    matrix = _as_csr(X)
    rows, columns = matrix.shape
    if num_names is not None:
        return bool(columns != num_names and rows == num_names)
    if min(rows, columns) < 20:
        return False
    return _gini(matrix.sum(axis=1)) > _gini(matrix.sum(axis=0)) + 0.2


def _gini(totals: np.ndarray) -> float:
    ordered = np.sort(np.asarray(totals, dtype=np.float64).ravel())
    rank = np.arange(1, len(ordered) + 1)
    return float((2 * rank - len(ordered) - 1) @ ordered / (len(ordered) * max(ordered.sum(), 1e-300)))


def split_tokens(matrix: sparse.csr_array, seed: int) -> tuple[sparse.csr_array, sparse.csr_array]:
    """Deal each document's tokens into two halves at random: the one to infer from, the one to score.

    A document of odd length gives its extra token to the first half. Tokens are dealt without replacement, so
    the halves add up to the document.
    """
    generator = np.random.default_rng(seed)
    words = np.repeat(matrix.indices, matrix.data)
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr)).repeat(matrix.data)
    order = np.lexsort((generator.random(len(words)), rows))
    words, lengths = words[order], np.bincount(rows, minlength=matrix.shape[0])
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    first = np.arange(len(words)) - starts[rows] < ((lengths + 1) // 2)[rows]
    return _tally(rows[first], words[first], matrix.shape), _tally(rows[~first], words[~first], matrix.shape)


def _tally(rows: Sequence[int] | np.ndarray, words: np.ndarray, shape: Any) -> sparse.csr_array:
    ones = np.ones(len(words), dtype=np.int64)
    matrix = sparse.csr_array((ones, (rows, words)), shape=shape)
    matrix.sum_duplicates()
    return matrix
