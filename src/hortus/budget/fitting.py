"""A scaling law from one's own runs, by the three ways of Hoffmann et al. 2022, section 3.

- envelope: at each of many budgets the run with the lowest loss on its training curve; its size by budget is
  a power law;
- profiles: at each of several budgets a parabola of the loss in log N; its lowest point by budget is one;
- parametric: E + A/N^α + B/D^β on each run's last point, by the Huber loss of log loss, minimised by L-BFGS
  from a grid of starts.

Intervals come from fits to resampled runs. A prediction's band holds, besides, the fit's own residuals, for
a new run scatters as the old ones did. Points along a curve are pessimistic where the learning rate had not
yet fallen; the parametric fit does not use them.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hortus.budget.config import FitConfig
from hortus.budget.laws import Law
from hortus.budget.runs import Run
from hortus.errors import DataError
from hortus.registry import require

__all__ = ["Fit", "Prediction", "fit_runs"]

_FEWEST_RUNS = 6
_ENVELOPE_BUDGETS, _PROFILES = 200, 9
_STARTS = 12  # of the grid, the best ones, are followed to their end
_FAR = 10  # times the largest budget seen


@dataclass(frozen=True)
class Prediction:
    """The compute-optimal model of a budget: value, and the interval it lies in."""

    flops: float
    parameters: tuple[float, float, float]
    tokens: tuple[float, float, float]
    loss: tuple[float, float, float]
    warning: str = ""


@dataclass(frozen=True)
class Fit:
    """A fitted law with intervals.

    `allocations` is, by way, the exponent a of N ∝ C^a with its interval, None where the runs do not show it.
    """

    law: Law
    intervals: dict[str, tuple[float, float]]
    allocations: dict[str, tuple[float, float, float] | None]
    residuals: np.ndarray
    resampled: tuple[Law, ...]
    runs: tuple[Run, ...]
    config: FitConfig

    def predict(self, flops: float) -> Prediction:
        """Size, tokens and loss of a budget, with a warning where it is far outside of what was seen."""
        size, tokens = self.law.optimum(flops)
        optima = np.array([(*law.optimum(flops), law.loss(*law.optimum(flops))) for law in self.resampled])
        random = np.random.default_rng(self.config.seed)
        optima[:, 2] *= np.exp(random.choice(self.residuals, len(optima)))
        low, high = (np.quantile(optima, edge, axis=0) for edge in _edges(self.config.confidence))
        stretched = self.law.stretched(flops) or 0.0
        warning = ""
        if stretched > _FAR:
            warning = (
                f"{flops:.3g} FLOP is {stretched:,.0f} times the largest budget among the runs: the band "
                "says how the fit scatters, not whether the law still holds there"
            )
        values = (size, tokens, self.law.loss(size, tokens))
        bands = [
            (float(value), float(below), float(above))
            for value, below, above in zip(values, low, high, strict=True)
        ]
        return Prediction(flops, bands[0], bands[1], bands[2], warning)

    def to_json(self) -> dict[str, Any]:
        """What `hortus budget plan --law FILE` reads, and the intervals."""
        return {
            "law": dataclasses.asdict(self.law),
            "intervals": self.intervals,
            "allocations": self.allocations,
            "runs": [
                {
                    "run": run.name,
                    "parameters": run.parameters,
                    "tokens": run.tokens[-1],
                    "loss": run.losses[-1],
                }
                for run in self.runs
            ],
        }


def fit_runs(runs: Sequence[Run], config: FitConfig) -> Fit:
    """Fit the law to runs.

    Raises:
        DataError: fewer than six runs, or all of one size or length.
        DeviceError: SciPy is not installed.
    """
    require("scipy", extra="budget")
    sizes = {run.parameters for run in runs}
    lengths = {run.tokens[-1] for run in runs}
    if len(runs) < _FEWEST_RUNS or len(sizes) < 2 or len(lengths) < 2:
        raise DataError(
            f"{len(runs)} runs of {len(sizes)} sizes and {len(lengths)} lengths",
            allowed=f"{_FEWEST_RUNS} runs or more, of several sizes and several lengths",
            do="train more",
        )
    points = _last_points(runs)
    constants = _parametric(points, config.huber_delta, _starts())
    random = np.random.default_rng(config.seed)
    resampled, exponents = [], []
    for _ in range(config.bootstrap):
        drawn = [runs[place] for place in random.integers(0, len(runs), len(runs))]
        if len({run.parameters for run in drawn}) < 2:
            continue
        resampled.append(_parametric(_last_points(drawn), config.huber_delta, [constants]))
        exponents.append((_envelope(drawn), _profiles(drawn)))
    most = max(run.flops[-1] for run in runs)
    law = _law(constants, len(runs), most)
    predicted = np.array([math.log(law.loss(n, d)) for n, d, _ in points])
    laws = tuple(_law(one, len(runs), most) for one in resampled)
    return Fit(
        law=law,
        intervals={name: _interval([getattr(one, name) for one in laws], config) for name in _CONSTANTS},
        allocations={
            "envelope": _with_interval(_envelope(runs), [one for one, _ in exponents], config),
            "profiles": _with_interval(_profiles(runs), [one for _, one in exponents], config),
            "parametric": _with_interval(_allocation(law), [_allocation(one) for one in laws], config),
        },
        residuals=np.log(points[:, 2]) - predicted,
        resampled=laws,
        runs=tuple(runs),
        config=config,
    )


_CONSTANTS = ("irreducible", "scale_parameters", "scale_tokens", "exponent_parameters", "exponent_tokens")


def _last_points(runs: Sequence[Run]) -> np.ndarray:
    """(runs, 3): N, D and loss."""
    return np.array([(run.parameters, run.tokens[-1], run.losses[-1]) for run in runs])


def _starts() -> list[np.ndarray]:
    """log A, log B, log E, α, β."""
    grid = itertools.product(
        (0.0, 5.0, 10.0), (0.0, 5.0, 10.0), (-1.0, 0.5), (0.2, 0.6, 1.0), (0.2, 0.6, 1.0)
    )
    return [np.array(start) for start in grid]


def _parametric(points: np.ndarray, delta: float, starts: Sequence[np.ndarray]) -> np.ndarray:
    """The constants with the least Huber loss, log A, log B, log E, α, β."""
    from scipy.optimize import minimize

    log_size, log_tokens, log_loss = np.log(points).T
    best = None
    values = [_huber(start, log_size, log_tokens, log_loss, delta)[0] for start in starts]
    for place in np.argsort(values)[:_STARTS]:
        start = starts[place]
        found = minimize(
            _huber,
            start,
            (log_size, log_tokens, log_loss, delta),
            jac=True,
            method="L-BFGS-B",
            bounds=[(-20, 60), (-20, 60), (-10, 5), (0.01, 3), (0.01, 3)],
            options={"maxiter": 2000, "ftol": 1e-14, "gtol": 1e-10},
        )
        if best is None or found.fun < best.fun:
            best = found
    assert best is not None
    return best.x


def _huber(
    constants: np.ndarray, log_size: np.ndarray, log_tokens: np.ndarray, log_loss: np.ndarray, delta: float
) -> tuple[float, np.ndarray]:
    """Sum of Huber_δ(logsumexp(a - α log N, b - β log D, e) - log L), in units of δ², and its gradient."""
    a, b, e, alpha, beta = constants
    terms = np.stack([a - alpha * log_size, b - beta * log_tokens, np.full_like(log_size, e)])
    top = terms.max(0)
    weights = np.exp(terms - top)
    total = weights.sum(0)
    weights /= total
    off = (top + np.log(total) - log_loss) / delta
    slope = np.clip(off, -1, 1) / delta
    value = np.where(np.abs(off) <= 1, off**2 / 2, np.abs(off) - 0.5).sum()
    by_term = weights * slope
    gradient = np.array([*by_term.sum(1), -(by_term[0] * log_size).sum(), -(by_term[1] * log_tokens).sum()])
    return float(value), gradient


def _law(constants: np.ndarray, runs: int, most: float) -> Law:
    a, b, e, alpha, beta = (float(value) for value in constants)
    return Law(
        name="fitted",
        origin=f"fitted to {runs} runs of at most {most:.3g} FLOP",
        irreducible=math.exp(e),
        scale_parameters=math.exp(a),
        scale_tokens=math.exp(b),
        exponent_parameters=alpha,
        exponent_tokens=beta,
        most_flops=most,
    )


def _allocation(law: Law) -> float:
    return law.exponent_tokens / (law.exponent_parameters + law.exponent_tokens)


def _loss_at(run: Run, flops: float) -> float | None:
    """The curve's loss at a budget, linear in log C; None where the curve does not reach it."""
    if not run.flops[0] <= flops <= run.flops[-1] * (1 + 1e-9):
        return None
    return float(np.interp(math.log(flops), np.log(run.flops), run.losses))


def _budgets(runs: Sequence[Run], count: int) -> np.ndarray:
    """Budgets that at least two runs reach."""
    ends = sorted(run.flops[-1] for run in runs)
    return np.geomspace(min(run.flops[0] for run in runs), ends[-2], count)


def _envelope(runs: Sequence[Run]) -> float | None:
    """Exponent of the best run's size by budget; None where one size is best throughout."""
    best: list[tuple[float, float]] = []
    for flops in _budgets(runs, _ENVELOPE_BUDGETS):
        losses = [(loss, run.parameters) for run in runs if (loss := _loss_at(run, flops)) is not None]
        if len({size for _, size in losses}) > 1:
            best.append((flops, min(losses)[1]))
    return _power([flops for flops, _ in best], [size for _, size in best])


def _profiles(runs: Sequence[Run]) -> float | None:
    """Exponent of the parabolas' lowest points; None where fewer than two budgets have one."""
    lowest: list[tuple[float, float]] = []
    ends = {round(math.log(run.flops[-1]), 1): run.flops[-1] for run in runs}
    shared = [flops for flops in ends.values() if sum(_loss_at(run, flops) is not None for run in runs) > 2]
    for flops in sorted({*shared, *_budgets(runs, _PROFILES)}):
        points = [
            (math.log(run.parameters), loss) for run in runs if (loss := _loss_at(run, flops)) is not None
        ]
        if len({x for x, _ in points}) < 3:
            continue
        xs, ys = np.array(points).T
        curve, slope, _ = np.polyfit(xs, ys, 2)
        vertex = -slope / (2 * curve) if curve > 0 else math.inf
        if xs.min() <= vertex <= xs.max():
            lowest.append((flops, math.exp(vertex)))
    return _power([flops for flops, _ in lowest], [size for _, size in lowest])


def _power(xs: Sequence[float], ys: Sequence[float]) -> float | None:
    if len(set(ys)) < 2 or len(set(xs)) < 2:
        return None
    return float(np.polyfit(np.log(xs), np.log(ys), 1)[0])


def _edges(confidence: float) -> tuple[float, float]:
    return (1 - confidence) / 2, (1 + confidence) / 2


def _interval(values: Sequence[float], config: FitConfig) -> tuple[float, float]:
    low, high = np.quantile(values, _edges(config.confidence))
    return float(low), float(high)


def _with_interval(
    value: float | None, resampled: Sequence[float | None], config: FitConfig
) -> tuple[float, float, float] | None:
    known = [one for one in resampled if one is not None]
    if value is None or not known:
        return None
    return (value, *_interval(known, config))
