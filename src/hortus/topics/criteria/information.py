"""Criteria that charge the plug-in log-likelihood l_K for parameters: AIC, BIC twice, sBIC.

* AIC = l - d; BIC = l - (d / 2) log n, with d = (V - 1) K + D (K - 1) and n tokens: the topic proportions of
  the documents are parameters, as in the comparison's code;
* BIC, phi only = l - ((V - 1) K / 2) log D: proportions not counted, the documents are the sample;
* sBIC: `hortus.topics.sbic` with the learning coefficients of LDA.

All are log-likelihoods after the charge: the largest is chosen. K topics, D documents, V words, n tokens.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hortus.topics.learning_coefficients import coefficient_matrices, num_parameters
from hortus.topics.singular import SBICResult, sbic

__all__ = ["aic", "bic", "bic_topics_only", "sbic_of_topics"]


def aic(log_likelihoods: Any, num_words: int, num_documents: int, num_topics: Any) -> np.ndarray:
    """l - d, (I,), for I models.

    >>> aic([-1240.0], 8, 6, [1]).tolist()
    [-1247.0]
    """
    return np.asarray(log_likelihoods) - num_parameters(num_words, num_documents, num_topics)


def bic(
    log_likelihoods: Any, num_words: int, num_documents: int, num_topics: Any, num_tokens: float
) -> np.ndarray:
    """l - (d / 2) log n, (I,).

    >>> bic([-1240.0, -1195.0], 8, 6, [1, 2], 600).round(6).tolist()
    [-1262.389254, -1258.969297]
    """
    charge = num_parameters(num_words, num_documents, num_topics) / 2 * np.log(num_tokens)
    return np.asarray(log_likelihoods) - charge


def bic_topics_only(log_likelihoods: Any, num_words: int, num_documents: int, num_topics: Any) -> np.ndarray:
    """l - ((V - 1) K / 2) log D, (I,).

    >>> bic_topics_only([-10.0], 3, 1, [4]).tolist()
    [-10.0]
    """
    charge = (num_words - 1) * np.asarray(num_topics) / 2 * np.log(num_documents)
    return np.asarray(log_likelihoods) - charge


def sbic_of_topics(
    log_likelihoods: Any,
    num_words: int,
    num_documents: int,
    num_topics: Any,
    num_tokens: float,
    convention: str = "exact",
    prior: Any = None,
) -> SBICResult:
    """sBIC of LDA models with the given numbers of topics, in any order.

    >>> result = sbic_of_topics([-1240.0, -1195.0, -1168.0, -1163.5], 8, 6, [1, 2, 3, 4], 600)
    >>> result.values.round(4).tolist()
    [-1262.3893, -1247.8808, -1242.2812, -1251.4968]
    """
    coefficients, multiplicities = coefficient_matrices(num_words, num_documents, num_topics, convention)
    return sbic(log_likelihoods, coefficients, multiplicities, num_tokens, prior)
