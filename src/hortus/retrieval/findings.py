"""The paper's four findings as differences with errors, over models of several sizes and seeds.

Every seed is a world of its own, so questions are independent rows: a difference is a mean over all
questions of all seeds, its error their deviation / sqrt(n), and it is also given seed by seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hortus.errors import DataError
from hortus.evaluation.statistics import mean_and_error
from hortus.retrieval.adaptation import compare_gates
from hortus.retrieval.config import AdaptConfig
from hortus.retrieval.results import Results

__all__ = ["Finding", "find", "head_and_tail"]


@dataclass(frozen=True)
class Finding:
    """A difference that a finding claims; it holds where it is above two of its errors in the mean.

    Args:
        by_seed: the same difference in every seed alone.
    """

    claim: str
    difference: float
    error: float
    by_seed: tuple[float, ...]

    @property
    def holds(self) -> bool:
        """Whether it is above zero by more than two of its errors."""
        return self.difference > 2 * self.error

    def to_mapping(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {"holds": self.holds}


def head_and_tail(popularity: np.ndarray, head: float, tail: float) -> tuple[np.ndarray, np.ndarray]:
    """(N,) masks of the most and the least popular questions; equal popularities stay together.

    >>> head, tail = head_and_tail(np.array([1, 2, 3, 4]), 0.25, 0.5)
    >>> head.tolist(), tail.tolist()
    ([False, False, False, True], [True, True, False, False])
    """
    ordered = np.sort(popularity)
    lowest = ordered[max(0, round(tail * len(ordered)) - 1)]
    highest = ordered[min(len(ordered) - 1, len(ordered) - round(head * len(ordered)))]
    return popularity >= highest, popularity <= lowest


def find(results: Sequence[Results], config: AdaptConfig) -> list[Finding]:
    """The findings over the models whose worlds have the config's exponent.

    Raises:
        DataError: there are none, or fewer than two sizes.
    """
    mine = [one for one in results if one.exponent == config.exponent]
    sizes = sorted({(one.parameters, one.model) for one in mine})
    if len(sizes) < 2:
        raise DataError(
            f"{len(sizes)} sizes of models on worlds of exponent {config.exponent}", allowed="two or more"
        )
    names = [name for _, name in sizes]
    by_size = {name: sorted((r for r in mine if r.model == name), key=lambda r: r.seed) for name in names}
    small, large = by_size[names[0]], by_size[names[-1]]
    findings = [
        _unpaired(f"accuracy rises with popularity: head against tail, {name}", rows, config)
        for name, rows in by_size.items()
    ]
    gain = [big.parametric - little.parametric for little, big in _same_questions(small, large)]
    masks = [head_and_tail(one.popularity, config.head, config.tail) for one in large]
    findings += [
        _mean(f"size helps the head: {names[-1]} against {names[0]}", gain, [h for h, _ in masks]),
        _mean(f"size helps the tail: {names[-1]} against {names[0]}", gain, [t for _, t in masks]),
        _contrast("size helps the head more than the tail", gain, masks),
    ]
    for name, rows in by_size.items():
        help_ = [one.retrieved - one.parametric for one in rows]
        masks = [head_and_tail(one.popularity, config.head, config.tail) for one in rows]
        findings += [
            _mean(f"retrieval helps the tail: {name}", help_, [t for _, t in masks]),
            _mean(f"retrieval hurts the head: {name}", [-one for one in help_], [h for h, _ in masks]),
        ]
    return findings + [_adaptive(name, rows, config) for name, rows in by_size.items()]


def _same_questions(first: Sequence[Results], second: Sequence[Results]) -> list[tuple[Results, Results]]:
    pairs = list(zip(first, second, strict=True))
    for one, other in pairs:
        if one.seed != other.seed or one.ids.tolist() != other.ids.tolist():
            raise DataError("two sizes answered different questions", do="probe all sizes on the same worlds")
    return pairs


def _mean(claim: str, values: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> Finding:
    chosen = [one[mask] for one, mask in zip(values, masks, strict=True)]
    mean, error = mean_and_error(np.concatenate(chosen))
    return Finding(claim, mean, error, tuple(float(one.mean()) for one in chosen))


def _contrast(
    claim: str, values: Sequence[np.ndarray], masks: Sequence[tuple[np.ndarray, np.ndarray]]
) -> Finding:
    """The mean over the head less the mean over the tail."""
    head = _mean("", values, [h for h, _ in masks])
    tail = _mean("", values, [t for _, t in masks])
    by_seed = tuple(a - b for a, b in zip(head.by_seed, tail.by_seed, strict=True))
    return Finding(claim, head.difference - tail.difference, float(np.hypot(head.error, tail.error)), by_seed)


def _unpaired(claim: str, rows: Sequence[Results], config: AdaptConfig) -> Finding:
    masks = [head_and_tail(one.popularity, config.head, config.tail) for one in rows]
    return _contrast(claim, [one.parametric for one in rows], masks)


def _adaptive(name: str, rows: Sequence[Results], config: AdaptConfig) -> Finding:
    """The popularity gate above the better of always and never, on unseen questions."""
    gains, errors = [], []
    for one in rows:
        (score,) = compare_gates(
            one.evidence,
            ["popularity"],
            splits=config.splits,
            train_share=config.train_share,
            price=config.price,
            seed=config.seed,
        )
        gains.append(score.gain)
        errors.append(score.gain_error)
    error = float(np.sqrt(np.sum(np.square(errors))) / len(errors))
    return Finding(f"adapting beats always and never: {name}", float(np.mean(gains)), error, tuple(gains))
