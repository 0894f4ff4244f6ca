"""Measures of counterfactuals, each with its formula.

x is a row and x' its counterfactual in the encoded space of `TableEncoder.matrix` (numbers scaled on the
training part, one-hot categories); f is the predictor, t the target class. Means are over the given rows.

    N rows, D columns of the matrix, T training rows
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hortus.counterfactual.encoding import Rows, TableEncoder

__all__ = [
    "diversity",
    "prediction_gain",
    "proximity_l0",
    "proximity_l1",
    "redundancy",
    "robustness",
    "sensitivity",
    "sparsity",
    "validity",
    "violations",
]

SAME = 1e-6  # the published tolerance of "unchanged"
Judge = Callable[[Rows], np.ndarray]


def validity(predicted: np.ndarray, target: np.ndarray) -> float:
    """Share of rows whose counterfactual gets the target: mean[f(x') = t].

    >>> validity(np.array([1, 0]), np.array([1, 1]))
    0.5
    """
    return float(np.mean(predicted == target))


def proximity_l1(before: np.ndarray, after: np.ndarray) -> float:
    """mean sum_j |x_j - x'_j|; another category costs 2."""
    return float(np.abs(before - after).sum(1).mean())


def proximity_l0(before: np.ndarray, after: np.ndarray) -> float:
    """mean #{j : |x_j - x'_j| > 1e-6} over encoded columns; a category counts 2 (the published sparsity)."""
    return float((np.abs(before - after) > SAME).sum(1).mean())


def sparsity(before: Rows, after: Rows) -> float:
    """Mean number of columns of the table, not of the encoding, that changed."""
    numbers, codes = after.changed(before)
    return float((numbers.sum(1) + codes.sum(1)).mean())


def prediction_gain(before: np.ndarray, after: np.ndarray) -> float:
    """mean[P(t given x') - P(t given x)], from the probabilities of the target (N,)."""
    return float(np.mean(after - before))


def diversity(candidates: np.ndarray) -> float:
    """Mean over rows of the mean pairwise L1 distance among their n counterfactuals (N, n, D); 0 for n = 1.

    >>> diversity(np.array([[[0.0], [1.0]]]))
    1.0
    """
    num = candidates.shape[1]
    if num < 2:
        return 0.0
    pairs = np.abs(candidates[:, :, None] - candidates[:, None]).sum(-1)
    return float(pairs.sum((1, 2)).mean() / (num * (num - 1)))


def violations(before: Rows, after: Rows, encoder: TableEncoder, immutable: tuple[str, ...]) -> float:
    """Mean number of immutable columns that changed, bit for bit."""
    numbers, codes = after.changed(before)
    fixed_numbers = [column.name in immutable for column in encoder.numbers]
    fixed_codes = [column.name in immutable for column in encoder.categories]
    return float((numbers[:, fixed_numbers].sum(1) + codes[:, fixed_codes].sum(1)).mean())


def redundancy(before: Rows, after: Rows, reached: Judge) -> float:
    """Mean number of changed columns that could go back, one alone, with the target kept.

    Args:
        reached: rows -> (N,) whether each has its target.
    """
    count = np.zeros(len(before))
    for block in ("numbers", "codes"):
        changed = after.changed(before)[block == "codes"]
        for place in np.flatnonzero(changed.any(0)):
            reverted = after.copy()
            getattr(reverted, block)[:, place] = getattr(before, block)[:, place]
            count += changed[:, place] & reached(reverted)
    return float(count.mean())


def robustness(
    after: Rows,
    encoder: TableEncoder,
    reached: Judge,
    *,
    deviation: float = 0.05,
    draws: int = 10,
    seed: int = 0,
) -> float:
    """Recourse invalidation rate: share of noisy x' without the target, lower is better.

    Gaussian noise of `deviation` times the training range is added to the numbers, kept in that range.
    """
    generator, lost = np.random.default_rng(seed), []
    low = np.array([column.low for column in encoder.numbers])
    high = np.array([column.high for column in encoder.numbers])
    for _ in range(draws):
        noise = generator.normal(0, deviation, after.numbers.shape) * encoder.spans
        noisy = np.clip(after.numbers + noise, low, high)
        lost.append(1 - reached(Rows(noisy, after.codes)).mean())
    return float(np.mean(lost))


def sensitivity(before: Rows, after: Rows, reached: Judge, *, threshold: float = 1.0) -> float:
    """Share of x' that keep the target when number changes below `threshold` original units are undone."""
    small = np.abs(after.numbers - before.numbers) < threshold
    undone = Rows(np.where(small, before.numbers, after.numbers), after.codes)
    return float(reached(undone).mean())
