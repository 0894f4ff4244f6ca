"""Checking, cleaning and splitting of counts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from hortus.errors import ConfigError, DataError
from hortus.topics.counts import check_counts, looks_transposed, split_tokens

tables = st.lists(st.lists(st.integers(0, 5), min_size=4, max_size=4), min_size=1, max_size=6)


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        ([[1, -1]], "Negative"),
        ([[1.0, np.nan]], "NaN"),
        ([[1.0, np.inf]], "infinite"),
        ([[1.0, 0.5]], "tf-idf weights are not counts"),
        ([[0, 0]], "no word is left"),
        ([1, 2], "Expected 2D array"),
        ([[1j]], "Complex"),
    ],
)
def test_refused(matrix: list, words: str) -> None:
    with pytest.raises(DataError, match=words):
        check_counts(matrix)


def test_fractions_on_request() -> None:
    assert check_counts([[1.4, 0.2], [0, 2.6]], "round").matrix.toarray().tolist() == [[1, 0], [0, 3]]
    with pytest.raises(ConfigError, match="did you mean 'round'"):
        check_counts([[1]], "rond")


@given(tables)
def test_cleaning_keeps_places(table: list[list[int]]) -> None:
    array = np.array(table)
    counts = check_counts(array, allow_empty=True)
    assert counts.documents.tolist() == np.flatnonzero(array.sum(axis=1)).tolist()
    assert counts.words.tolist() == np.flatnonzero(array.sum(axis=0)).tolist()
    np.testing.assert_array_equal(counts.restore(np.arange(4)).toarray(), array)
    words, offsets = counts.tokens()
    for d in range(counts.num_documents):
        found = np.bincount(words[offsets[d] : offsets[d + 1]], minlength=counts.num_words)
        np.testing.assert_array_equal(found, counts.matrix.toarray()[d])


def test_the_input_is_not_changed() -> None:
    matrix = sparse.coo_array(([1, 2, 0], ([0, 0, 1], [1, 1, 0])), shape=(2, 2)).tocsr()
    before = matrix.data.copy()
    check_counts(matrix)
    np.testing.assert_array_equal(matrix.data, before)


@given(tables, st.integers(0, 99))
def test_halves_add_up(table: list[list[int]], seed: int) -> None:
    matrix = sparse.csr_array(np.array(table))
    first, second = split_tokens(matrix, seed)
    np.testing.assert_array_equal((first + second).toarray(), matrix.toarray())
    gap = first.sum(axis=1) - second.sum(axis=1)
    assert set(np.asarray(gap).ravel().tolist()) <= {0, 1}


def test_words_by_documents_is_noticed() -> None:
    generator = np.random.default_rng(0)
    zipf = 1 / np.arange(1, 401)
    documents = generator.multinomial(80, zipf / zipf.sum(), size=60)
    assert not looks_transposed(documents)
    assert looks_transposed(documents.T)
    assert looks_transposed(documents.T, num_names=400)
    assert not looks_transposed(documents, num_names=400)
