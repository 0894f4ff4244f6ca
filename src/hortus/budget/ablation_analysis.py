"""What a grid of scores says of each factor: means, errors, significance, and the verdict in words.

A score is taken as mean + setting + seed + rest. The rest's variance, from all settings at once, gives the
error of every comparison: with S settings and K seeds it has (S-1)(K-1) degrees of freedom, far more than the
seeds of two settings alone. Two levels are compared over the settings that differ in nothing else, by
Student's t; Holm's rule keeps the chance of any false claim among all comparisons at 5 %.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Effect", "Grid", "effects", "verdict"]

LEVEL = 0.05


@dataclass(frozen=True)
class Grid:
    """Scores of settings, lower is better.

    Args:
        settings: label of each factor's level, one mapping a setting.
        scores: (S, K), a column a seed.
    """

    settings: Sequence[Mapping[str, str]]
    scores: np.ndarray

    @property
    def residual_deviation(self) -> float:
        """Standard deviation of what neither setting nor seed explains."""
        scores = self.scores
        rest = scores - scores.mean(1, keepdims=True) - scores.mean(0, keepdims=True) + scores.mean()
        return math.sqrt(float((rest**2).sum()) / self.freedom)

    @property
    def freedom(self) -> int:
        """Degrees of freedom of `residual_deviation`."""
        settings, seeds = self.scores.shape
        return max(1, (settings - 1) * (seeds - 1))


@dataclass(frozen=True)
class Effect:
    """A level against the first one of its factor, over all settings alike but for it."""

    factor: str
    level: str
    base: str
    difference: float
    """Score of the level minus that of the base; below 0 the level is better."""
    standard_error: float
    probability: float
    """Of a difference as large by chance, after Holm's correction."""
    pairs: int
    agreeing: int
    """Pairs of settings in which the sign is that of the mean."""

    @property
    def significant(self) -> bool:
        """Whether the difference is more than chance at 5 % over all comparisons."""
        return self.probability < LEVEL


def effects(grid: Grid, factors: Mapping[str, Sequence[str]]) -> list[Effect]:
    """Every level of every factor against the factor's first.

    >>> grid = Grid([{"x": "a"}, {"x": "b"}], np.array([[1.0, 2.0, 3.0], [2.0, 3.0, 4.01]]))
    >>> effect, = effects(grid, {"x": ["a", "b"]})
    >>> round(effect.difference, 3), effect.significant
    (1.003, True)
    """
    from scipy.stats import t

    found, seeds = [], grid.scores.shape[1]
    for factor, (base, *levels) in factors.items():
        for level in levels:
            pairs = _pairs(grid.settings, factor, base, level)
            differences = np.array([grid.scores[j].mean() - grid.scores[i].mean() for i, j in pairs])
            error = grid.residual_deviation * math.sqrt(2 / (seeds * len(pairs)))
            mean = float(differences.mean())
            chance = 2 * float(t.sf(abs(mean) / error, grid.freedom)) if error else float(mean == 0)
            agreeing = int((np.sign(differences) == np.sign(mean)).sum())
            found.append(Effect(factor, level, base, mean, error, chance, len(pairs), agreeing))
    return _corrected(found)


def _pairs(
    settings: Sequence[Mapping[str, str]], factor: str, base: str, level: str
) -> list[tuple[int, int]]:
    places = {tuple(sorted(setting.items())): index for index, setting in enumerate(settings)}
    pairs = []
    for index, setting in enumerate(settings):
        other = places.get(tuple(sorted({**setting, factor: level}.items())))
        if setting[factor] == base and other is not None:
            pairs.append((index, other))
    return pairs


def _corrected(found: list[Effect]) -> list[Effect]:
    """Holm's step-down correction."""
    order = sorted(range(len(found)), key=lambda i: found[i].probability)
    corrected, largest = list(found), 0.0
    for rank, index in enumerate(order):
        one = found[index]
        largest = max(largest, min(1.0, one.probability * (len(found) - rank)))
        corrected[index] = Effect(**{**one.__dict__, "probability": largest})
    return corrected


def verdict(factor: str, found: Sequence[Effect], unit: str, published: Mapping[str, float]) -> str:
    """One factor in words.

    Args:
        found: the factor's effects.
        unit: of the score.
        published: published scores by level, higher is better, or none.
    """
    base = found[0].base
    scores = {base: 0.0} | {effect.level: effect.difference for effect in found}
    best = min(scores, key=lambda level: scores[level])
    sentences = [_sentence(effect, unit) for effect in found]
    real = [effect for effect in found if effect.significant]
    if not real:
        opening = f"{factor}: no level differs from {base} by more than chance"
    elif best == base:
        opening = f"{factor}: keep {base}"
    elif any(effect.level == best for effect in real):
        opening = f"{factor}: choose {best}"
    else:
        opening = f"{factor}: {best} is lowest, but not beyond chance"
    text = f"{opening}. {' '.join(sentences)}"
    if published:
        text += " " + _beside(scores, published)
    return text


def _sentence(effect: Effect, unit: str) -> str:
    word = "better" if effect.difference < 0 else "worse"
    chance = "p < 0.001" if effect.probability < 0.001 else f"p = {effect.probability:.2g}"
    size = f"{abs(effect.difference):.4f} ± {effect.standard_error:.4f} {unit}"
    where = f"in {effect.agreeing} of {effect.pairs} settings"
    if not effect.significant:
        return f"{effect.level} is within chance of {effect.base} ({size} {word}, {chance})."
    return f"{effect.level} is {size} {word} than {effect.base} ({chance}; {where})."


def _beside(scores: Mapping[str, float], published: Mapping[str, float]) -> str:
    both = [level for level in scores if level in published]
    here = sorted(both, key=lambda level: scores[level])
    there = sorted(both, key=lambda level: -published[level])
    same = "the same order" if here == there else "another order"
    return f"Published, best first: {', '.join(there)}; here {same}: {', '.join(here)}."
