"""Learning coefficients against spot values, the written-out regimes, and a Jacobian's rank."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hortus.errors import ConfigError
from hortus.topics import coefficient_matrices, learning_coefficient, matrix_coefficient
from hortus.topics.learning_coefficients import num_parameters

SPOTS = [
    # words, documents, fitted, true, exact, authors
    (1796, 11387, 10, 1, 8975.0, 14663.5),
    (1796, 11387, 10, 10, 60171.5, 65860.0),
    (1796, 11387, 20, 10, 69101.5, 74785.0),
    (3911, 704, 10, 1, 5118.5, 7069.0),
    (3911, 704, 10, 10, 22673.0, 24623.5),
    (3911, 704, 20, 10, 26143.0, 28088.5),
]


@pytest.mark.parametrize(("words", "documents", "i", "j", "exact", "authors"), SPOTS)
def test_spot_values(words: int, documents: int, i: int, j: int, exact: float, authors: float) -> None:
    assert learning_coefficient(words, documents, i, j) == (exact, 1)
    assert learning_coefficient(words, documents, i, j, convention="authors") == (authors, 1)


def test_values_of_the_author_of_the_theorem() -> None:
    assert matrix_coefficient(4, 3, 2, 1)[0] == 4.0
    assert learning_coefficient(4, 3, 2, 2)[0] == 3.5  # rank 1
    assert learning_coefficient(4, 4, 4, 2) == (5.5, 1)


def test_toy_matrices() -> None:
    value, multiplicity = coefficient_matrices(8, 6, [1, 2, 3, 4])
    assert value[3].tolist() == [11, 13, 15, 17]
    assert multiplicity[3].tolist() == [2, 1, 1, 1]
    value, multiplicity = coefficient_matrices(6, 6, [1, 2, 3, 4])
    assert value[3].tolist() == [9, 10.5, 12, 13]
    assert multiplicity[3].tolist() == [2, 1, 2, 1]
    assert multiplicity[2, :3].tolist() == [1, 2, 1]


@given(st.integers(2, 4000), st.integers(2, 4000), st.integers(1, 60), st.integers(1, 60))
def test_written_out_regimes(words: int, documents: int, i: int, j: int) -> None:
    assume(j <= i <= min(words, documents))
    value, multiplicity = learning_coefficient(words, documents, i, j)
    if i + j > words + documents:
        expected, odd = (words - 1) * documents / 2, False
    elif words - documents > i - j:
        expected, odd = (words - 1 + (documents - 1) * (i - 1) + (words - i) * (j - 1)) / 2, False
    elif documents - words > i - j:
        expected, odd = ((words - 1) * i + (documents - i) * (j - 1)) / 2, False
    else:
        odd = (words + documents + i + j) % 2 == 1
        square = 2 * (i + j) * (words + documents) - (words - documents) ** 2 - (i + j) ** 2
        expected = square / 8 - documents / 2 + odd / 8
    assert value == pytest.approx(expected)
    assert multiplicity == (2 if odd else 1)


@given(st.integers(2, 4000), st.integers(2, 4000), st.integers(1, 60))
def test_own_coefficient_is_the_parameters_less_the_symmetry(words: int, documents: int, k: int) -> None:
    assume(k <= min(words, documents))
    value, _ = learning_coefficient(words, documents, k, k)
    assert 2 * value == num_parameters(words, documents, k) - k * (k - 1)


@pytest.mark.parametrize(
    ("words", "documents", "k"), [(8, 6, 3), (6, 9, 3), (7, 7, 4), (10, 5, 2), (5, 5, 5)]
)
def test_own_coefficient_is_half_the_rank_of_the_jacobian(words: int, documents: int, k: int) -> None:
    generator = np.random.default_rng(words)
    topics, shares = generator.dirichlet(np.ones(words), k).T, generator.dirichlet(np.ones(k), documents).T
    columns = []
    for topic in range(k):  # d(AB) for moves along the simplex of a topic, then of a document
        for w in range(words - 1):
            move = np.zeros((words, k))
            move[w, topic], move[-1, topic] = 1, -1
            columns.append((move @ shares).ravel())
    for d in range(documents):
        for topic in range(k - 1):
            move = np.zeros((k, documents))
            move[topic, d], move[-1, d] = 1, -1
            columns.append((topics @ move).ravel())
    value, _ = learning_coefficient(words, documents, k, k)
    assert np.linalg.matrix_rank(np.array(columns)) == 2 * value


def test_bad_input() -> None:
    with pytest.raises(ConfigError, match="exceeds"):
        learning_coefficient(10, 10, 2, 3)
    with pytest.raises(ConfigError, match="at least 1"):
        learning_coefficient(10, 0, 2, 1)
    with pytest.raises(ConfigError, match="did you mean 'authors'"):
        learning_coefficient(10, 10, 2, 1, convention="author")
