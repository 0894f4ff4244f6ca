"""Errors of scores: over documents, over prompts, and between two models on the same documents.

A prompt's accuracy has the standard error sd / sqrt(n) over its documents. All prompts of a task answer the
same documents, so the error of their mean is that of each document's mean over the prompts: treating the
prompts as independent samples would understate it. Comparisons resample documents, with all their prompts
and both models together (paired bootstrap; Efron and Tibshirani 1993, chapter 16).

Legend: P prompts, N documents, R resamplings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from hortus.errors import DataError

__all__ = [
    "Comparison",
    "Spread",
    "bootstrap_error",
    "mean_and_error",
    "paired_bootstrap",
    "prompt_statistic",
    "score_table",
    "spread_of",
    "wilson_interval",
]

_Z = 1.959964  # of the standard normal distribution, two-sided 5 %


@dataclass(frozen=True)
class Spread:
    """Scores of several prompts as one picture; `standard_error` is that of the mean, over documents."""

    num_prompts: int
    mean: float
    standard_error: float
    median: float
    lower_quartile: float
    upper_quartile: float
    lowest: float
    highest: float

    @property
    def interquartile_range(self) -> float:
        return self.upper_quartile - self.lower_quartile

    def to_mapping(self) -> dict[str, float]:
        return asdict(self) | {"interquartile_range": self.interquartile_range}


@dataclass(frozen=True)
class Comparison:
    """A second model's score minus a first one's, with the error of the difference.

    `low` and `high` are the 2.5 and 97.5 percentiles; `probability` is the share of resamplings in which the
    second is not better, twice the smaller tail at most 1 (two-sided).
    """

    difference: float
    standard_error: float
    low: float
    high: float
    probability: float

    @property
    def beyond_two_errors(self) -> bool:
        """Whether the difference is larger than two of its standard errors."""
        return abs(self.difference) > 2 * self.standard_error


def mean_and_error(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Mean, and sample standard deviation over sqrt(n); the error of a single value is NaN.

    >>> mean, error = mean_and_error([0, 1, 1, 0])
    >>> mean, round(error, 4)
    (0.5, 0.2887)
    """
    array = np.asarray(values, dtype=np.float64)
    error = array.std(ddof=1) / np.sqrt(len(array)) if len(array) > 1 else float("nan")
    return float(array.mean()), float(error)


def wilson_interval(right: float, total: int) -> tuple[float, float]:
    """The 95 % score interval of a share (Wilson 1927), within 0 and 1.

    >>> [round(bound, 3) for bound in wilson_interval(8, 10)]
    [0.49, 0.943]
    """
    share, square = right / total, _Z * _Z
    middle = (share + square / (2 * total)) / (1 + square / total)
    half = _Z * math.sqrt(share * (1 - share) / total + square / (4 * total * total)) / (1 + square / total)
    return max(0.0, middle - half), min(1.0, middle + half)


def score_table(variants: Sequence[Mapping[int, float]]) -> np.ndarray:
    """(P, N): every prompt's score of every document, NaN where a prompt did not apply to it.

    >>> score_table([{7: 1.0, 9: 0.0}, {9: 1.0}]).tolist()
    [[1.0, 0.0], [nan, 1.0]]
    """
    indices = sorted({index for scores in variants for index in scores})
    return np.array([[scores.get(index, np.nan) for index in indices] for scores in variants])


def spread_of(table: np.ndarray) -> Spread:
    """Mean, median and quartiles of the prompts' means.

    Args:
        table: (P, N), NaN where a prompt did not apply.

    >>> spread = spread_of(np.array([[1.0, 0.0, 1.0, 1.0], [1.0, 0.0, 0.0, 0.0]]))
    >>> spread.mean, spread.median, spread.interquartile_range
    (0.5, 0.5, 0.25)
    """
    means = np.nanmean(table, axis=1)
    low, middle, high = np.percentile(means, [25, 50, 75])
    # A document's deviations from its prompts' own means: no error from prompts of unequal difficulty.
    _, error = mean_and_error(np.nanmean(table - means[:, None], axis=0))
    return Spread(
        len(means),
        float(means.mean()),
        error,
        float(middle),
        float(low),
        float(high),
        float(means.min()),
        float(means.max()),
    )


def bootstrap_error(
    statistic: Callable[[np.ndarray], float], num_documents: int, draws: int, seed: int
) -> float:
    """Standard deviation of `statistic(indices)` over resampled documents; NaN without draws."""
    if draws < 2:
        return float("nan")
    draw = np.random.default_rng(seed)
    values = [statistic(draw.integers(num_documents, size=num_documents)) for _ in range(draws)]
    return float(np.std(values, ddof=1))


def paired_bootstrap(
    first: np.ndarray, second: np.ndarray, *, over: str = "mean", draws: int = 2000, seed: int = 1234
) -> Comparison:
    """Compare two models' (P, N) tables over the same documents; the numbers of prompts may differ.

    Args:
        over: mean, median or iqr (interquartile range) of the prompts.

    Raises:
        DataError: the tables have different documents.

    >>> worse, better = np.zeros((1, 50)), np.tile([0.0, 1.0], 25)[None]
    >>> comparison = paired_bootstrap(worse, better)
    >>> comparison.difference, comparison.beyond_two_errors
    (0.5, True)
    """
    if first.shape[1] != second.shape[1]:
        raise DataError(
            f"{first.shape[1]} documents against {second.shape[1]}",
            allowed="two evaluations of the same documents",
            do="evaluate both models with the same tasks and limit",
        )
    num_documents = first.shape[1]
    weights = np.random.default_rng(seed).multinomial(
        num_documents, np.full(num_documents, 1 / num_documents), size=draws
    )
    statistic = prompt_statistic(over)
    observed = statistic(second) - statistic(first)
    differences = _over_prompts(second, weights, over) - _over_prompts(first, weights, over)
    tail = min(float((differences <= 0).mean()), float((differences >= 0).mean()))
    low, high = np.percentile(differences, [2.5, 97.5])
    return Comparison(observed, float(differences.std(ddof=1)), float(low), float(high), min(1.0, 2 * tail))


def _over_prompts(table: np.ndarray, weights: np.ndarray, over: str) -> np.ndarray:
    """(P, N) scores and (R, N) multiplicities of the documents -> (R,) statistic of the prompts."""
    known = ~np.isnan(table)
    totals = np.maximum(weights @ known.T.astype(np.float64), 1e-12)
    means = weights @ np.where(known, table, 0.0).T / totals  # (R, P)
    return _STATISTICS[over](means)


def _interquartile_range(means: np.ndarray) -> np.ndarray:
    low, high = np.percentile(means, [25, 75], axis=1)
    result: np.ndarray = high - low
    return result


# (R, P) scores of the prompts -> (R,)
_STATISTICS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mean": lambda means: means.mean(axis=1),
    "median": lambda means: np.median(means, axis=1),
    "iqr": _interquartile_range,
}


def prompt_statistic(over: str) -> Callable[[np.ndarray], float]:
    """The mean, median or iqr of a (P, N) table's prompts, as a function of the table."""
    return lambda table: float(_over_prompts(table, np.ones((1, table.shape[1])), over)[0])
