"""Dirichlet priors: their values, and Minka's fixed-point updates from counts.

Minka 2000, "Estimating a Dirichlet distribution", equation 55: for groups g with counts n_gk,

    a_k <- a_k sum_g [psi(n_gk + a_k) - psi(a_k)] / sum_g [psi(N_g + A) - psi(A)],   A = sum_k a_k.

The symmetric update adds the numerators of all k and shares the result.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import gammaln, psi

from hortus.errors import ConfigError
from hortus.topics.config import ModelConfig

__all__ = ["log_evidence_of_words", "prior_vector", "starting_priors", "update_prior"]


def prior_vector(value: Any, size: int, default: float, name: str) -> np.ndarray:
    """(size,) positive parameters from None, a number or a vector."""
    vector = np.full(size, default) if value is None else np.asarray(value, dtype=np.float64)
    if vector.ndim == 0:
        vector = np.full(size, float(vector))
    if vector.shape != (size,) or not np.isfinite(vector).all() or vector.min() <= 0:
        raise ConfigError(
            f"{name}={value!r} is not a Dirichlet prior", allowed=f"a positive number or {size} of them"
        )
    return vector.astype(np.float64)


def starting_priors(config: ModelConfig, num_topics: int) -> tuple[np.ndarray, float]:
    """alpha (K,) and eta of the settings; 1 / K where they name none."""
    alpha = prior_vector(config.doc_topic_prior, num_topics, 1 / num_topics, "doc_topic_prior")
    return alpha, float(prior_vector(config.topic_word_prior, 1, 1 / num_topics, "topic_word_prior")[0])


def update_prior(counts: np.ndarray, prior: np.ndarray, symmetric: bool, steps: int = 5) -> np.ndarray:
    """Some steps of Minka's update; counts (G, K), prior (K,). Values stay within [1e-6, 1e3]."""
    totals = counts.sum(axis=1)
    for _ in range(steps):
        gain = psi(counts + prior).sum(axis=0) - len(counts) * psi(prior)
        loss = psi(totals + prior.sum()).sum() - len(counts) * psi(prior.sum())
        factor = np.full(prior.size, gain.sum() / (prior.size * loss)) if symmetric else gain / loss
        prior = np.clip(prior * factor, 1e-6, 1e3)
    return prior


def log_evidence_of_words(word_topic: np.ndarray, eta: float) -> float:
    """log p(w | z) of counts (V, K) under a symmetric prior (Griffiths and Steyvers 2004, eq. 2)."""
    num_words, num_topics = word_topic.shape
    constant = num_topics * (gammaln(num_words * eta) - num_words * gammaln(eta))
    used = word_topic[word_topic > 0]
    zeros = word_topic.size - used.size
    words = gammaln(used + eta).sum() + zeros * gammaln(eta)
    return float(constant + words - gammaln(word_topic.sum(axis=0) + num_words * eta).sum())
