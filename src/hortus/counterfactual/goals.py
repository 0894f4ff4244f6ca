"""What a counterfactual is asked for: another class, a given class, a value or a range; as conditions.

N rows, K classes, C width of the condition (1 for two classes and for regression, else K)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hortus.errors import ConfigError, nearest

__all__ = ["ClassGoal", "Goal", "RangeGoal", "class_goal", "range_goal"]

# A single target value counts as reached within this share of the training range of the target.
TOLERANCE = 0.05


class Goal:
    """For each of N rows a condition for the decoder (N, C), and a judgement of outcomes.

    `mean_attempts` is how many attempts with the mean of the latent code are worth it.
    """

    condition: np.ndarray
    mean_attempts = 1

    def reached(self, rows: np.ndarray, outcome: np.ndarray) -> np.ndarray:
        """(M,) whether the outcomes of the rows at these positions are as asked."""
        raise NotImplementedError

    def score(self, rows: np.ndarray, outcome: np.ndarray) -> np.ndarray:
        """(M,) what is shown: the target's probability, or the predicted value."""
        raise NotImplementedError

    def correct(self, rows: np.ndarray, outcome: np.ndarray) -> None:
        """Learn from outcomes that were not as asked."""

    def describe(self, row: int) -> str:
        """The goal of one row in words."""
        raise NotImplementedError


class ClassGoal(Goal):
    """A class for each row.

    Args:
        target: (N,) class numbers.
        classes: (K,) labels.
    """

    def __init__(self, target: np.ndarray, classes: np.ndarray) -> None:
        self.target, self._classes = target, classes
        if len(classes) == 2:
            self.condition = target[:, None].astype(np.float64)
        else:
            self.condition = np.eye(len(classes))[target]

    def reached(self, rows: np.ndarray, outcome: np.ndarray) -> np.ndarray:
        reached: np.ndarray = outcome.argmax(1) == self.target[rows]
        return reached

    def score(self, rows: np.ndarray, outcome: np.ndarray) -> np.ndarray:
        score: np.ndarray = outcome[np.arange(len(outcome)), self.target[rows]]
        return score

    def describe(self, row: int) -> str:
        return f"the prediction {self._classes[self.target[row]]!s}"


class RangeGoal(Goal):
    """A range of values for each row, in the user's units.

    Args:
        low, high: (N,) what counts as reached.
        aim: (N,) what is asked of the decoder at first.
        lowest, highest: the training range of the target, by which conditions are scaled.
    """

    mean_attempts = 8

    def __init__(
        self, low: np.ndarray, high: np.ndarray, aim: np.ndarray, lowest: float, highest: float
    ) -> None:
        self.low, self.high, self.aim = low, high, aim
        self._span = (highest - lowest) or 1.0
        self.condition = ((aim - lowest) / self._span)[:, None]

    def reached(self, rows: np.ndarray, outcome: np.ndarray) -> np.ndarray:
        reached: np.ndarray = (outcome >= self.low[rows]) & (outcome <= self.high[rows])
        return reached

    def score(self, rows: np.ndarray, outcome: np.ndarray) -> np.ndarray:
        return outcome

    def correct(self, rows: np.ndarray, outcome: np.ndarray) -> None:
        # By as much as the prediction missed the aim.
        step = (self.aim[rows] - outcome) / self._span
        self.condition[rows, 0] = np.clip(self.condition[rows, 0] + step, -1.0, 2.0)

    def describe(self, row: int) -> str:
        return f"a prediction from {self.low[row]:g} to {self.high[row]:g}"


def class_goal(target: Any, outcome: np.ndarray, classes: np.ndarray) -> ClassGoal:
    """The classes asked for.

    Args:
        target: None for the most probable other class, a label, or a label for each row.
        outcome: (N, K) probabilities now.

    Raises:
        ConfigError: a label that training did not have; not one for each row.

    >>> class_goal(None, np.array([[0.2, 0.7, 0.1]]), np.array(["a", "b", "c"])).target
    array([0])
    """
    if target is None:
        others = outcome.copy()
        others[np.arange(len(outcome)), outcome.argmax(1)] = -1
        return ClassGoal(others.argmax(1), classes)
    labels = np.asarray(target)
    if labels.ndim == 0:
        labels = np.full(len(outcome), labels)
    if labels.shape != (len(outcome),):
        raise ConfigError(
            f"target has shape {labels.shape}",
            allowed=f"one class, or {len(outcome)} of them",
            do="one a row",
        )
    number_of = {label: number for number, label in enumerate(classes.tolist())}
    unknown = next((label for label in labels.tolist() if label not in number_of), None)
    if unknown is not None:
        known = nearest(str(unknown), map(str, number_of))
        raise ConfigError(f"target={unknown!r} is no class of the training data", do=known)
    return ClassGoal(np.array([number_of[label] for label in labels.tolist()], dtype=np.int64), classes)


def range_goal(target: Any, outcome: np.ndarray, lowest: float, highest: float) -> RangeGoal:
    """The values asked for.

    Args:
        target: a value, a value for each row (N,), a range (low, high) as a tuple with None for an open end,
            or a range for each row (N, 2). A value is reached within 5 % of the training range.
        outcome: (N,) predictions now.
        lowest, highest: training range of the target.

    Raises:
        ConfigError: no target; low above high; a range outside the training range.
    """
    if target is None:
        raise ConfigError(
            "target=None does not say which value is wanted", do="give a value, or a range as (low, high)"
        )
    num_rows = len(outcome)
    low, high = _read_range(target, num_rows, TOLERANCE * (highest - lowest))
    if (low > high).any():
        raise ConfigError(f"target={target!r} contradicts itself", allowed="low at most high")
    if (low > highest).any() or (high < lowest).any():
        raise ConfigError(
            f"target={target!r} is outside of what training saw", allowed=f"{lowest:g} to {highest:g}"
        )
    inner_low, inner_high = np.maximum(low, lowest), np.minimum(high, highest)
    middle = (inner_low + inner_high) / 2
    # Of a wide range the near end is asked for, with room for the decoder to miss: a smaller change.
    room = np.minimum(TOLERANCE * 2 * (highest - lowest), (inner_high - inner_low) / 2)
    aim = np.where(outcome < low, inner_low + room, np.where(outcome > high, inner_high - room, middle))
    return RangeGoal(low, high, aim, lowest, highest)


def _read_range(target: Any, num_rows: int, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(target, tuple):
        ends: Sequence[Any] = target
        if len(ends) != 2:
            raise ConfigError(f"target={target!r}", allowed="a tuple (low, high), None for an open end")
        low, high = (-np.inf if ends[0] is None else ends[0]), (np.inf if ends[1] is None else ends[1])
        return np.full(num_rows, float(low)), np.full(num_rows, float(high))
    try:
        values = np.asarray(target, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"target={target!r} is no number", allowed="a value or a range") from error
    if values.shape == (num_rows, 2):
        return values[:, 0].copy(), values[:, 1].copy()
    if values.ndim == 0 or values.shape == (num_rows,):
        wanted = np.broadcast_to(values, num_rows)
        return wanted - tolerance, wanted + tolerance
    raise ConfigError(
        f"target has shape {values.shape}", allowed=f"a value, {num_rows} values, or {num_rows} ranges"
    )
