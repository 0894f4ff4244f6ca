"""Learning coefficients: what sBIC charges for a singular model when a smaller one is the truth.

The learning coefficient lambda and its multiplicity m describe how the marginal likelihood of a model falls
with the sample size n when the data come from a generic point of a submodel:

    log marginal likelihood = log-likelihood - lambda log n + (m - 1) log log n + O(1).

* reduced-rank matrices: Aoyagi and Watanabe 2005 (five cases, exact);
* latent Dirichlet allocation: Hayashi 2021, arXiv 2008.01304 (exact; the topic proportions of a document are
  parameters): lambda_LDA(V, D, H, r) = (V - 1) / 2 + lambda_matrix(V - 1, D - 1, H - 1, r);
* univariate Gaussian mixtures: an upper bound, as used by Drton and Plummer 2017.

What differs from the code published with the LDA comparison paper: a generic truth with j topics has rank
r = j - 1, and that is the default here. The published code uses r = j; `convention="authors"` repeats it.

Axes: I models, V words, D documents.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hortus.errors import ConfigError, nearest

__all__ = [
    "CONVENTIONS",
    "coefficient_matrices",
    "gaussian_mixture_coefficient",
    "learning_coefficient",
    "matrix_coefficient",
    "num_parameters",
]

CONVENTIONS = ("exact", "authors")


def matrix_coefficient(rows: Any, columns: Any, inner: Any, rank: Any) -> tuple[np.ndarray, np.ndarray]:
    """The coefficient of a product (rows x inner)(inner x columns) when the true matrix has rank `rank`.

    All arguments broadcast. Aoyagi and Watanabe 2005; the cases are those of the theorem.

    Returns:
        lambda and its multiplicity (1 or 2), both as float arrays of the broadcast shape.

    >>> [float(x) for x in matrix_coefficient(4, 3, 2, 1)]
    [4.0, 1.0]
    """
    m, n, h, r = np.broadcast_arrays(*(np.asarray(x, dtype=np.float64) for x in (rows, columns, inner, rank)))
    balanced = (2 * (h + r) * (m + n) - (m - n) ** 2 - (h + r) ** 2) / 8
    odd = (m + n + h + r) % 2 == 1
    tall = m + h < n + r
    wide = n + h < m + r
    full = m + n < h + r
    value = np.where(odd, balanced + 1 / 8, balanced)
    value = np.where(full, m * n / 2, value)
    value = np.where(wide, (h * n - h * r + m * r) / 2, value)
    value = np.where(tall, (h * m - h * r + n * r) / 2, value)
    multiplicity = np.where(odd & ~(tall | wide | full), 2.0, 1.0)
    return value, multiplicity


def learning_coefficient(
    num_words: Any, num_documents: Any, fitted: Any, true: Any, convention: str = "exact"
) -> tuple[np.ndarray, np.ndarray]:
    """The coefficient of LDA with `fitted` topics when the truth is a generic LDA with `true` topics.

    All arguments but the last broadcast; `true` must not exceed `fitted`.

    Args:
        num_words: V, the size of the vocabulary.
        num_documents: D.
        fitted: the number of topics i of the fitted model.
        true: the number of topics j <= i of the truth.
        convention: "exact" takes rank r = j - 1; "authors" takes r = j, as the published code of the
            comparison does. The second adds (max(V, D) - i) / 2 to every lambda of a row in the usual
            regimes.

    Returns:
        lambda and its multiplicity, float arrays of the broadcast shape.

    Raises:
        ConfigError: a number below 1, `true` above `fitted`, or an unknown convention.

    >>> [float(x) for x in learning_coefficient(1796, 11387, 20, 10)]
    [69101.5, 1.0]
    >>> float(learning_coefficient(1796, 11387, 20, 10, convention="authors")[0])
    74785.0
    """
    if convention not in CONVENTIONS:
        raise ConfigError(f"convention={convention!r} is not known", do=nearest(str(convention), CONVENTIONS))
    words, documents, i, j = (np.asarray(x) for x in (num_words, num_documents, fitted, true))
    if min(x.min() for x in (words, documents, i, j)) < 1:
        raise ConfigError("numbers of words, documents and topics must be at least 1")
    if np.any(j > i):
        raise ConfigError(f"true={true} exceeds fitted={fitted}", allowed="true <= fitted")
    shift = 0 if convention == "exact" else 1
    value, multiplicity = matrix_coefficient(words, documents, i, j + shift)
    return value - documents / 2, multiplicity


def coefficient_matrices(
    num_words: int, num_documents: int, candidates: Any, convention: str = "exact"
) -> tuple[np.ndarray, np.ndarray]:
    """Both matrices (I, I) that `sbic` takes, for a grid of numbers of topics in any order.

    Row: the fitted model; column: the true submodel; NaN where the column has more topics than the row.

    >>> coefficient_matrices(8, 6, [1, 2, 4])[0].tolist()
    [[3.5, nan, nan], [6.0, 9.0, nan], [11.0, 13.0, 17.0]]
    """
    topics = np.asarray(candidates)
    fitted, true = np.broadcast_arrays(topics[:, None], topics[None, :])
    nested = true <= fitted
    value, multiplicity = learning_coefficient(
        num_words, num_documents, fitted, np.minimum(true, fitted), convention
    )
    return np.where(nested, value, np.nan), np.where(nested, multiplicity, np.nan)


def gaussian_mixture_coefficient(fitted: Any, true: Any, weight_exponent: float = 1.0) -> np.ndarray:
    """An upper bound on lambda for univariate Gaussian mixtures with free means, variances and weights.

    min(2j + (j - 1) + (i - j) phi, 2i + j - 1) / 2, with phi the exponent of the Dirichlet prior on the
    weights (Drton and Plummer 2017, section 6); the multiplicity is taken as 1.

    >>> gaussian_mixture_coefficient([1, 2, 2], [1, 1, 2]).tolist()
    [1.0, 1.5, 2.5]
    """
    i, j = np.asarray(fitted, dtype=np.float64), np.asarray(true, dtype=np.float64)
    return np.minimum(3 * j - 1 + (i - j) * weight_exponent, 2 * i + j - 1) / 2


def num_parameters(num_words: int, num_documents: int, num_topics: Any) -> np.ndarray:
    """Free entries of phi and theta: (V - 1) K + D (K - 1), the count that BIC and AIC charge.

    >>> int(num_parameters(8, 6, 2))
    20
    """
    topics = np.asarray(num_topics)
    return (num_words - 1) * topics + num_documents * (topics - 1)
