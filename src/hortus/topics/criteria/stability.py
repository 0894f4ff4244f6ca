"""Matching of topics between fits, or between a fit and the truth: stability and recovery.

Topics are compared by the cosine of their word distributions, (K, V) each.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from scipy.optimize import linear_sum_assignment

__all__ = ["cosines", "matched", "stability"]


def cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(K1, K2) cosines of the rows of (K1, V) and (K2, V).

    >>> cosines(np.eye(2), np.array([[1.0, 1.0]])).round(4).tolist()
    [[0.7071], [0.7071]]
    """
    unit = [topics / np.linalg.norm(topics, axis=1, keepdims=True) for topics in (first, second)]
    return unit[0] @ unit[1].T


def matched(similarity: np.ndarray, rule: str) -> np.ndarray:
    """For each row of (K1, K2) its similarity to its match: "best" (reused freely) or "hungarian" (one to
    one).

    Rows without a partner under "hungarian" (K1 > K2) get 0.
    """
    if rule == "best":
        return similarity.max(axis=1)
    rows, columns = linear_sum_assignment(-similarity)
    result = np.zeros(len(similarity))
    result[rows] = similarity[rows, columns]
    return result


def stability(fits: Sequence[np.ndarray]) -> float:
    """Mean over pairs of fits of the mean cosine of topics matched one to one; larger is better. NaN for one
    fit.

    >>> round(stability([np.eye(3), np.eye(3)[::-1]]), 12)
    1.0
    """
    pairs = [matched(cosines(a, b), "hungarian").mean() for a, b in combinations(fits, 2)]
    return float(np.mean(pairs)) if pairs else float("nan")
