"""OpTop (Lewis and Grossetti 2022): does the model's word distribution fit each document?

Expected shares E = theta phi, observed shares F = counts / length. In each document the words of smallest E
whose cumulated E stays below the cutoff are pooled into one cell:

    S_d = sum over cells of (F - E)^2 / E;     statistic = sum_d (P_d + 1) S_d / (sum_d P_d + D),

with P_d words outside the pool. The comparison's code marks the normalisation as not what the paper derives,
and implements it as the published package does; so does this. p-values are of chi-squared with one degree.
The original rule takes the first K whose p exceeds 0.05, else the smallest statistic; the comparison takes
the smallest.

D documents, V words, K topics.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.stats import chi2

from hortus.topics.sampler import compiled

__all__ = ["optop", "optop_p_value"]


@compiled
def _chi_squares(
    indptr: np.ndarray,
    indices: np.ndarray,
    data: np.ndarray,
    theta: np.ndarray,  # (D, K)
    phi: np.ndarray,  # (K, V)
    cutoffs: np.ndarray,  # (C,)
    weighted: np.ndarray,  # (C,), added to: sum_d (P_d + 1) S_d
    kept: np.ndarray,  # (C,), added to: sum_d P_d
) -> None:
    num_topics, num_words = phi.shape
    expected = np.empty(num_words)
    for d in range(len(indptr) - 1):
        expected[:] = 0.0
        for k in range(num_topics):
            share = theta[d, k]
            for w in range(num_words):
                expected[w] += share * phi[k, w]
        ordered = np.sort(expected)
        length = 0.0
        for i in range(indptr[d], indptr[d + 1]):
            length += data[i]
        for c in range(len(cutoffs)):
            pooled = 0.0
            position = 0
            while position < num_words and pooled + ordered[position] < cutoffs[c]:
                pooled += ordered[position]
                position += 1
            threshold = ordered[position] if position < num_words else np.inf
            # Words that were not observed add (0 - E)^2 / E = E; observed ones replace theirs.
            chi_square = 1.0 - pooled
            outside = 1.0
            for i in range(indptr[d], indptr[d + 1]):
                value = expected[indices[i]]
                if value >= threshold:
                    observed = data[i] / length
                    chi_square += (observed - value) ** 2 / value - value
                    outside -= observed
            if pooled > 0.0:
                chi_square += (outside - pooled) ** 2 / pooled
            weighted[c] += (num_words - position + 1) * chi_square
            kept[c] += num_words - position


def optop(
    matrix: sparse.csr_array, theta: np.ndarray, phi: np.ndarray, cutoffs: tuple[float, ...] = (0.05, 0.2)
) -> np.ndarray:
    """OpTop's statistic for each cutoff, (C,); smaller is better.

    >>> counts = sparse.csr_array(np.array([[2, 1, 1]]))
    >>> optop(counts, np.ones((1, 1)), np.array([[0.5, 0.25, 0.25]]), (0.05,)).tolist()
    [0.0]
    """
    weighted, kept = np.zeros(len(cutoffs)), np.zeros(len(cutoffs))
    arguments = (np.ascontiguousarray(theta), np.ascontiguousarray(phi), np.asarray(cutoffs, float))
    _chi_squares(matrix.indptr, matrix.indices, matrix.data, *arguments, weighted, kept)
    return weighted / (kept + matrix.shape[0])


def optop_p_value(statistic: float) -> float:
    """The upper tail of chi-squared with one degree of freedom.

    >>> round(optop_p_value(3.841459), 4)
    0.05
    """
    return float(chi2.sf(statistic, 1))
