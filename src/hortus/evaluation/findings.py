"""The two questions of the T0 paper's section 6, with errors: is training on prompts better than none, and
are more prompts better than one?

Of each held-out dataset the models answer the same documents under the same prompts. A difference has two
sources of error, which are added in squares: the documents (paired bootstrap over the tables, averaged over
seeds) and the seeds (standard deviation of the seeds' differences over sqrt(their number)). A finding counts
beyond two standard errors.

Legend: P prompts, N documents, K seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hortus.evaluation.statistics import mean_and_error, paired_bootstrap, prompt_statistic

__all__ = ["Difference", "average_difference", "seeded_difference"]


@dataclass(frozen=True)
class Difference:
    """A difference over several seeds, with its standard error and each seed's own value."""

    value: float
    standard_error: float
    by_seed: tuple[float, ...]

    @property
    def counts(self) -> bool:
        """Whether it is beyond two standard errors."""
        return abs(self.value) > 2 * self.standard_error


def seeded_difference(
    first: Sequence[np.ndarray], second: Sequence[np.ndarray], over: str, draws: int
) -> Difference:
    """Second minus first, K tables (P, N) each; a single first table (the base model) serves every seed.

    Args:
        over: mean, median or iqr (of the prompts' scores).

    >>> base, trained = np.zeros((2, 40)), np.ones((2, 40))
    >>> difference = seeded_difference([base], [trained, trained], "mean", 100)
    >>> difference.value, difference.counts
    (1.0, True)
    """
    statistic: Callable[[np.ndarray], float] = prompt_statistic(over)
    firsts = list(first) * (len(second) // len(first))
    by_seed = tuple(statistic(b) - statistic(a) for a, b in zip(firsts, second, strict=True))
    documents = [paired_bootstrap(a, b, over=over, draws=draws) for a, b in zip(firsts, second, strict=True)]
    # The same documents in every seed: their errors do not average out.
    of_documents = float(np.mean([one.standard_error for one in documents]))
    return Difference(float(np.mean(by_seed)), math.hypot(of_documents, _error(by_seed)), by_seed)


def average_difference(differences: Mapping[str, Difference]) -> Difference:
    """The mean over datasets, whose documents are independent while their seeds are the same models."""
    parts = list(differences.values())
    by_seed = tuple(float(np.mean(values)) for values in zip(*(part.by_seed for part in parts), strict=True))
    squares = sum(max(part.standard_error**2 - _error(part.by_seed) ** 2, 0.0) for part in parts)
    return Difference(
        float(np.mean(by_seed)), math.hypot(math.sqrt(squares) / len(parts), _error(by_seed)), by_seed
    )


def _error(values: Sequence[float]) -> float:
    return mean_and_error(values)[1] if len(values) > 1 else 0.0
