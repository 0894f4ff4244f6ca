"""The singular Bayesian information criterion over any partially ordered family of models.

Drton and Plummer 2017, "A Bayesian information criterion for singular models" (JRSS-B 79). For models
M_1..M_I ordered by inclusion, with maximised log-likelihoods l_i and learning coefficients (lambda_ij, m_ij)
of M_i when the truth is a generic point of M_j inside it,

    log L'_ij = l_i - lambda_ij log n + (m_ij - 1) log log n
    L_i       = sum_{j<=i} L'_ij P_j L_j / sum_{k<=i} P_k L_k,        sBIC(M_i) = log L_i  (to be maximised).

Each model's equation is one quadratic whose coefficients come from strictly smaller models:

    P_i L_i^2 + b_i L_i - c_i = 0,   b_i = sum_{j<i} P_j L_j - P_i L'_ii,   c_i = sum_{j<i} P_j L_j L'_ij.

What differs from the published programs: they solve it in doubles after subtracting a maximum (models far
below the best become -inf) or in decimals of 50 000 digits. Here the positive root is taken in log space,
without cancellation, so differences of 1e6 between log-likelihoods are exact to double precision.

Axes: I models.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hortus.errors import ConfigError, DataError

__all__ = ["SBICResult", "sbic"]

LOG_2, LOG_4 = np.log(2.0), np.log(4.0)


@dataclass(frozen=True, eq=False)
class SBICResult:
    """What `sbic` returns.

    Attributes:
        values: (I,) sBIC of each model, a log marginal likelihood up to O(1); the largest is the best.
        weights: (I,) posterior probabilities of the models, proportional to P_i exp(sBIC_i).
        log_marginals: (I, I) log L'_ij; NaN where the column is not a submodel of the row.
    """

    values: np.ndarray
    weights: np.ndarray
    log_marginals: np.ndarray

    @property
    def best(self) -> int:
        """The index of the model with the largest sBIC (the first of equals)."""
        return int(np.argmax(self.values))


def sbic(
    log_likelihoods: Any,
    learning_coefficients: Any,
    multiplicities: Any,
    sample_size: float,
    prior: Any = None,
) -> SBICResult:
    """Compute sBIC and posterior weights of a partially ordered family of models.

    Args:
        log_likelihoods: (I,) maximised log-likelihoods.
        learning_coefficients: (I, I) lambda_ij, row = fitted model, column = true submodel, NaN where the
            column is not contained in the row. Every model contains itself, and inclusion must be transitive.
        multiplicities: (I, I) m_ij, or a scalar such as 1 for all.
        sample_size: n > 1 (for LDA: the number of tokens).
        prior: (I,) positive prior weights of the models; uniform when None.

    Raises:
        DataError: a log-likelihood that is not finite, or a relation that is not a partial order.
        ConfigError: shapes that do not agree, n <= 1, or a prior weight that is not positive.

    >>> result = sbic([-100, -97], [[1.0, np.nan], [1.5, 2.0]], 1, 100)
    >>> result.values.round(6).tolist()
    [-104.60517, -104.534793]
    """
    likelihoods, coefficients, multiplicity, log_prior = _checked(
        log_likelihoods, learning_coefficients, multiplicities, sample_size, prior
    )
    log_n = np.log(float(sample_size))
    log_marginals = likelihoods[:, None] - coefficients * log_n + (multiplicity - 1) * np.log(log_n)
    nested = _partial_order(coefficients)

    weighted = np.full(len(likelihoods), -np.inf)  # log(P_i L_i), filled from the smallest model upwards
    # A model has strictly more submodels than each of its own submodels: the count is a topological order.
    for i in np.argsort(nested.sum(axis=1), kind="stable"):
        smaller = nested[i].copy()
        smaller[i] = False
        own = log_prior[i] + log_marginals[i, i]
        below = weighted[smaller]
        weighted[i] = _positive_root(
            own, _log_sum(below), log_prior[i] + _log_sum(below + log_marginals[i, smaller])
        )
    weights = np.exp(weighted - weighted.max())
    return SBICResult(weighted - log_prior, weights / weights.sum(), log_marginals)


def _positive_root(own: float, below: float, constant: float) -> float:
    """log of the positive root x of x^2 + (e^below - e^own) x - e^constant = 0, free of cancellation.

    Where the linear coefficient is positive, the textbook root subtracts two nearly equal numbers; the
    conjugate form 2 e^constant / (b + sqrt(...)) adds them.
    """
    if below == -np.inf:
        return own
    gap = abs(own - below)
    log_slope = max(own, below) + np.log(-np.expm1(-gap)) if gap > 0 else -np.inf
    half_root = 0.5 * np.logaddexp(2 * log_slope, constant + LOG_4)
    denominator = np.logaddexp(log_slope, half_root)
    return float(denominator - LOG_2 if own > below else LOG_2 + constant - denominator)


def _log_sum(terms: np.ndarray) -> float:
    if terms.size == 0:
        return -np.inf
    top = terms.max()
    return float(top + np.log(np.exp(terms - top).sum()))


def _checked(
    log_likelihoods: Any, learning_coefficients: Any, multiplicities: Any, sample_size: float, prior: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    likelihoods = np.asarray(log_likelihoods, dtype=np.float64)
    coefficients = np.asarray(learning_coefficients, dtype=np.float64)
    if likelihoods.ndim != 1 or likelihoods.size == 0:
        raise ConfigError(f"log_likelihoods has shape {likelihoods.shape}", allowed="one number per model")
    square = (likelihoods.size, likelihoods.size)
    multiplicity = np.asarray(multiplicities, dtype=np.float64)
    for name, array in (("learning_coefficients", coefficients), ("multiplicities", multiplicity)):
        if array.shape != square and not (array.ndim == 0 and name == "multiplicities"):
            raise ConfigError(f"{name} has shape {array.shape}", allowed=f"{square}: row fitted, column true")
    if not np.isfinite(likelihoods).all():
        where = np.flatnonzero(~np.isfinite(likelihoods)).tolist()
        raise DataError(f"log_likelihoods of models {where} are not finite", do="refit or leave them out")
    if not sample_size > 1:
        raise ConfigError(f"sample_size={sample_size}", allowed="more than 1 (tokens, for LDA)")
    weights = np.ones(likelihoods.size) if prior is None else np.asarray(prior, dtype=np.float64)
    if weights.shape != likelihoods.shape or not (np.isfinite(weights) & (weights > 0)).all():
        raise ConfigError(
            "prior must hold one positive weight per model", do="leave a model out to exclude it"
        )
    return likelihoods, coefficients, np.broadcast_to(multiplicity, square), np.log(weights / weights.mean())


def _partial_order(coefficients: np.ndarray) -> np.ndarray:
    """(I, I) bool: the column's model is contained in the row's."""
    nested = np.isfinite(coefficients)
    if not nested.diagonal().all():
        raise DataError("learning_coefficients has NaN on its diagonal", do="give lambda_ii of every model")
    if (nested & nested.T & ~np.eye(len(nested), dtype=bool)).any():
        raise DataError("two models contain each other", do="keep one of them, or set NaN above the diagonal")
    steps = nested.astype(np.float64)
    if ((steps @ steps > 0) & ~nested).any():
        raise DataError(
            "inclusion is not transitive: a submodel of a submodel is missing from a row",
            do="give lambda_ij for all models j inside model i, not only its direct parents",
        )
    return nested
