"""Given topics: likelihoods, topic proportions of documents, and the variational E-step. Compiled.

* plug-in log-likelihood: sum_dw n_dw log sum_k theta_dk phi_kw, neither marginalised nor with the multinomial
  constant: the l_K of the comparison of criteria, and what sBIC, BIC and AIC take;
* folding in: the topic proportions of a new document under fixed topics, by expectation-maximisation on
  theta_dk = (n_dk + alpha_k) / (N_d + sum alpha) from a flat start. The posterior is log-concave, so the
  answer is the only one, and a document's answer depends on no other document;
* held-out perplexity by document completion (Wallach et al. 2009, section 5.1): half the tokens of a held-out
  document give its theta, the other half are scored;
* variational Bayes (Blei, Ng and Jordan 2003): gamma_d and the expected counts under it.

Axes: D documents, V words, K topics; counts are CSR (indptr, indices, data); topics are stored (V, K).
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from scipy import sparse

from hortus.topics.counts import split_tokens
from hortus.topics.sampler import compiled

__all__ = ["completion_perplexity", "fold_in", "plug_in_log_likelihood"]


@compiled
def _log_likelihood(
    indptr: np.ndarray, indices: np.ndarray, data: np.ndarray, theta: np.ndarray, topics: np.ndarray
) -> float:
    total = 0.0
    for d in range(len(indptr) - 1):
        for i in range(indptr[d], indptr[d + 1]):
            row = topics[indices[i]]
            chance = 0.0
            for k in range(row.size):
                chance += theta[d, k] * row[k]
            total += data[i] * math.log(chance)
    return total


def plug_in_log_likelihood(matrix: sparse.csr_array, theta: np.ndarray, phi: np.ndarray) -> float:
    """sum_dw n_dw log sum_k theta_dk phi_kw, with theta (D, K) and phi (K, V).

    >>> counts = sparse.csr_array(np.array([[2, 0], [1, 1]]))
    >>> round(plug_in_log_likelihood(counts, np.ones((2, 1)), np.array([[0.75, 0.25]])), 6)
    -2.249341
    """
    return float(
        _log_likelihood(matrix.indptr, matrix.indices, matrix.data, theta, np.ascontiguousarray(phi.T))
    )


@compiled
def _fold_in(
    indptr: np.ndarray,
    indices: np.ndarray,
    data: np.ndarray,
    topics: np.ndarray,  # (V, K)
    alpha: np.ndarray,  # (K,)
    max_steps: int,
    tolerance: float,
    theta: np.ndarray,  # (D, K), written
) -> None:
    num_topics = topics.shape[1]
    counts = np.empty(num_topics)
    share = np.empty(num_topics)
    alpha_sum = alpha.sum()
    for d in range(len(indptr) - 1):
        length = 0.0
        for i in range(indptr[d], indptr[d + 1]):
            length += data[i]
        current = theta[d]
        current[:] = 1.0 / num_topics
        for _ in range(max_steps):
            counts[:] = alpha
            for i in range(indptr[d], indptr[d + 1]):
                row = topics[indices[i]]
                total = 0.0
                for k in range(num_topics):
                    share[k] = current[k] * row[k]
                    total += share[k]
                if total > 0.0:
                    factor = data[i] / total
                    for k in range(num_topics):
                        counts[k] += share[k] * factor
            largest = 0.0
            scale = 1.0 / (length + alpha_sum)
            for k in range(num_topics):
                value = counts[k] * scale
                largest = max(largest, abs(value - current[k]))
                current[k] = value
            if largest < tolerance:
                break
        total = 0.0
        for k in range(num_topics):
            total += current[k]
        for k in range(num_topics):
            current[k] /= total


def fold_in(
    matrix: sparse.csr_array,
    phi: np.ndarray,
    alpha: np.ndarray,
    max_steps: int = 200,
    tolerance: float = 1e-6,
) -> np.ndarray:
    """Topic proportions theta (D, K) of documents under fixed topics phi (K, V) and prior alpha (K,).

    A document without any word of the vocabulary gets the mean of the prior.
    """
    theta = np.empty((matrix.shape[0], len(phi)))
    csr = (matrix.indptr, matrix.indices, matrix.data)
    prior = np.asarray(alpha, float)
    _fold_in(*csr, np.ascontiguousarray(phi.T), prior, max_steps, tolerance, theta)
    empty = np.diff(matrix.indptr) == 0
    theta[empty] = prior / prior.sum()
    return theta


def completion_perplexity(
    matrix: sparse.csr_array, phi: np.ndarray, alpha: np.ndarray, seed: int = 0
) -> float:
    """Held-out perplexity exp(-log-likelihood per token) by document completion; smaller is better.

    Tokens with a word that no topic can produce are left out; so are documents of fewer than two tokens.

    Args:
        matrix: (D, V) counts of documents that the topics were not fitted on.
        phi: (K, V) topics; alpha: (K,) their prior.
        seed: of the split into halves; the same for all models that are compared.
    """
    known = np.flatnonzero(phi.max(axis=0) > 0)
    matrix = matrix[:, known]
    lengths = np.asarray(matrix.sum(axis=1)).ravel()
    matrix = matrix[np.flatnonzero(lengths >= 2)]
    given, scored = split_tokens(matrix, seed)
    phi = phi[:, known]
    theta = fold_in(given, phi, alpha)
    return float(np.exp(-plug_in_log_likelihood(scored, theta, phi) / scored.data.sum()))


@numba.njit(inline="always")
def digamma(x: float) -> Any:
    """The derivative of log gamma for x > 0: recurrence up to 6, then the asymptotic series (error <
    1e-10)."""
    shift = 0.0
    while x < 6.0:
        shift -= 1.0 / x
        x += 1.0
    inverse = 1.0 / x
    square = inverse * inverse
    series = square * (1 / 12 - square * (1 / 120 - square * (1 / 252 - square * (1 / 240 - square / 132))))
    return shift + math.log(x) - 0.5 * inverse - series


@compiled
def variational_step(
    indptr: np.ndarray,
    indices: np.ndarray,
    data: np.ndarray,
    topics: np.ndarray,  # (V, K): exp of the expected log of phi
    alpha: np.ndarray,  # (K,)
    gamma: np.ndarray,  # (D, K), written
    expected: np.ndarray,  # (V, K), added to: this thread's expected word-topic counts
    first: int,
    last: int,
    max_steps: int,
    tolerance: float,
) -> None:
    """The E-step for documents first..last-1: gamma to convergence, then the expected counts.

    gamma starts flat, as in scikit-learn. Going on from the last iteration's gamma takes less than half the
    time, and ends in poorer topics: on Reuters, 20 topics, the held-out perplexity is 3 % higher.
    """
    num_topics = topics.shape[1]
    weight = np.empty(num_topics)
    counts = np.empty(num_topics)
    for d in range(first, last):
        length = 0.0
        for i in range(indptr[d], indptr[d + 1]):
            length += data[i]
        for k in range(num_topics):
            gamma[d, k] = alpha[k] + length / num_topics
        for _ in range(max_steps):
            total = gamma[d].sum()
            base = digamma(total)
            for k in range(num_topics):
                weight[k] = math.exp(digamma(gamma[d, k]) - base)
            counts[:] = 0.0
            for i in range(indptr[d], indptr[d + 1]):
                row = topics[indices[i]]
                norm = 1e-300
                for k in range(num_topics):
                    norm += weight[k] * row[k]
                factor = data[i] / norm
                for k in range(num_topics):
                    counts[k] += row[k] * factor
            change = 0.0
            for k in range(num_topics):
                value = alpha[k] + weight[k] * counts[k]
                change += abs(value - gamma[d, k])
                gamma[d, k] = value
            if change < tolerance * num_topics:
                break
        base = digamma(gamma[d].sum())
        for k in range(num_topics):
            weight[k] = math.exp(digamma(gamma[d, k]) - base)
        for i in range(indptr[d], indptr[d + 1]):
            row = topics[indices[i]]
            norm = 1e-300
            for k in range(num_topics):
                norm += weight[k] * row[k]
            factor = data[i] / norm
            for k in range(num_topics):
                expected[indices[i], k] += weight[k] * row[k] * factor
