"""What may change at call time: immutable columns, bounds, directions; and making a candidate obey.

N rows, P number columns, Q category columns
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hortus.counterfactual.columns import CategoryColumn, NumberColumn, check_names
from hortus.counterfactual.encoding import MISSING, Rows, TableEncoder
from hortus.errors import ConfigError, nearest

__all__ = ["Bounds", "Directions", "Limits", "build_limits"]

Bounds = Mapping[str, Sequence[Any]]
Directions = Mapping[str, str]


@dataclass
class Limits:
    """The cells that candidates may take.

    Args:
        fixed_numbers, fixed_codes: (P,) and (Q,), columns that keep their value.
        lower, upper: (N, P) or (1, P), in the user's units.
        allowed: for each category column the categories it may move to, (N, K) or (1, K), or None for all.
        reasons: {row: why no value is left}.
    """

    fixed_numbers: np.ndarray
    fixed_codes: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    allowed: list[np.ndarray | None]
    reasons: dict[int, str]

    def project(self, candidate: Rows, original: Rows, rows: np.ndarray) -> Rows:
        """The candidate inside the limits; what is fixed or empty in the original is the original's.

        Args:
            candidate, original: the same M rows.
            rows: (M,) their positions among the N rows.
        """
        numbers = np.clip(candidate.numbers, _take(self.lower, rows), _take(self.upper, rows))
        keep = np.isnan(original.numbers) | self.fixed_numbers
        numbers = np.where(keep, original.numbers, numbers)
        keep = (original.codes == MISSING) | self.fixed_codes
        return Rows(numbers, np.where(keep, original.codes, candidate.codes))

    def snap_back(self, candidate: Rows, original: Rows, rows: np.ndarray, threshold: np.ndarray) -> Rows:
        """The candidate with changes of less than `threshold` (P,) undone where the limits allow it."""
        small = np.abs(candidate.numbers - original.numbers) < threshold
        inside = (original.numbers >= _take(self.lower, rows)) & (original.numbers <= _take(self.upper, rows))
        return Rows(np.where(small & inside, original.numbers, candidate.numbers), candidate.codes)

    def broken(self, candidate: Rows, original: Rows, rows: np.ndarray) -> np.ndarray:
        """(M,) whether a row breaks a limit: a fixed cell changed, or a value outside."""
        numbers, codes = candidate.changed(original)
        wrong = (numbers & self.fixed_numbers).any(1) | (codes & self.fixed_codes).any(1)
        lower, upper = _take(self.lower, rows), _take(self.upper, rows)
        outside = (candidate.numbers < lower) | (candidate.numbers > upper)
        wrong |= (outside & ~self.fixed_numbers).any(1)
        for place, allowed in enumerate(self.allowed):
            if allowed is not None and not self.fixed_codes[place]:
                chosen = candidate.codes[:, place]
                wrong |= (chosen >= 0) & ~allowed[rows if len(allowed) > 1 else 0, np.maximum(chosen, 0)]
        return wrong


def _take(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return values if len(values) == 1 else values[rows]


def build_limits(
    encoder: TableEncoder,
    original: Rows,
    *,
    immutable: Collection[str] = (),
    bounds: Bounds | None = None,
    direction: Directions | None = None,
) -> Limits:
    """Read the arguments of `explain`.

    Args:
        immutable: columns that keep their value.
        bounds: {number column: (low, high)}, None for an open end, or {category column: its allowed values}.
        direction: {column: "increase" or "decrease"}, for number columns and ordered categories.

    Raises:
        ConfigError: an unknown column, category or direction; low above high; bounds outside the training
            range; a direction for unordered categories; every column immutable.
    """
    bounds, direction = bounds or {}, direction or {}
    for names, where in ((immutable, "immutable"), (bounds, "bounds"), (direction, "direction")):
        check_names(names, encoder.names, where)
    fixed_numbers = np.array([column.name in immutable for column in encoder.numbers], dtype=bool)
    fixed_codes = np.array([column.name in immutable for column in encoder.categories], dtype=bool)
    if fixed_numbers.all() and fixed_codes.all():
        raise ConfigError(
            "every column is immutable", allowed="at least one that may change", do="shorten immutable"
        )
    one_row = (1, len(encoder.numbers))
    limits = Limits(fixed_numbers, fixed_codes, np.full(one_row, -np.inf), np.full(one_row, np.inf), [], {})
    for place, column in enumerate(encoder.numbers):
        if column.name in bounds:
            limits.lower[0, place], limits.upper[0, place] = _number_bounds(column, bounds[column.name])
    limits.allowed = [
        _allowed_categories(category, bounds[category.name]) if category.name in bounds else None
        for category in encoder.categories
    ]
    _apply_directions(encoder, original, direction, limits)
    _find_contradictions(encoder, original, limits)
    return limits


def _number_bounds(column: NumberColumn, value: Sequence[Any]) -> tuple[float, float]:
    where = f"bounds of {column.name!r}"
    try:
        low, high = (
            open_end if end is None else float(end)
            for end, open_end in zip(value, (-math.inf, math.inf), strict=True)
        )
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{where} are {value!r}", allowed="a pair (low, high) of numbers, None for an open end"
        ) from error
    if not low <= high:
        raise ConfigError(f"{where} contradict each other: {low:g} to {high:g}", allowed="low at most high")
    if column.decimals is not None:
        # Values are rounded, so bounds between two of them mean the inner ones.
        unit = 10.0**column.decimals
        low, high = (
            math.ceil(low * unit - 1e-9) / unit if math.isfinite(low) else low,
            (math.floor(high * unit + 1e-9) / unit if math.isfinite(high) else high),
        )
    if low > column.high or high < column.low or low > high:
        raise ConfigError(
            f"{where}, {low:g} to {high:g}, hold no value of the training range",
            allowed=f"{column.low:g} to {column.high:g}",
        )
    return low, high


def _allowed_categories(column: CategoryColumn, values: Sequence[Any]) -> np.ndarray:
    if isinstance(values, str) or not len(values):
        raise ConfigError(f"bounds of {column.name!r} are {values!r}", allowed="a list of its categories")
    for value in values:
        if value not in column.categories:
            known = nearest(str(value), map(str, column.categories))
            raise ConfigError(
                f"bounds of {column.name!r} name {value!r}, which is no category of it", do=known
            )
    return np.array([[category in values for category in column.categories]])


def _apply_directions(encoder: TableEncoder, original: Rows, direction: Directions, limits: Limits) -> None:
    for name, way in direction.items():
        if way not in ("increase", "decrease"):
            raise ConfigError(f"direction of {name!r} is {way!r}", allowed="increase, decrease")
    numbers = [p for p, column in enumerate(encoder.numbers) if column.name in direction]
    if numbers:
        limits.lower = np.repeat(limits.lower, len(original), 0)
        limits.upper = np.repeat(limits.upper, len(original), 0)
    for place in numbers:
        own = original.numbers[:, place]
        if direction[encoder.numbers[place].name] == "increase":
            limits.lower[:, place] = np.fmax(limits.lower[:, place], own)
        else:
            limits.upper[:, place] = np.fmin(limits.upper[:, place], own)
    for place, category in enumerate(encoder.categories):
        if category.name not in direction:
            continue
        if not category.ordered:
            raise ConfigError(
                f"direction names {category.name!r}, whose categories have no order",
                do="make it an ordered pandas category before fit, or use bounds",
            )
        order, own = np.arange(len(category.categories)), original.codes[:, place, None]
        onward = order >= own if direction[category.name] == "increase" else (order <= own) | (own < 0)
        allowed = limits.allowed[place]
        limits.allowed[place] = onward if allowed is None else onward & allowed


def _find_contradictions(encoder: TableEncoder, original: Rows, limits: Limits) -> None:
    own = original.numbers
    known = ~np.isnan(own)
    empty = (limits.lower > limits.upper) & known & ~limits.fixed_numbers
    outside = ((own < limits.lower) | (own > limits.upper)) & known & limits.fixed_numbers
    for place, column in enumerate(encoder.numbers):
        for row in np.flatnonzero(empty[:, place]):
            limits.reasons[int(row)] = f"no value is left for {column.name} inside bounds and direction"
        for row in np.flatnonzero(outside[:, place]):
            limits.reasons[int(row)] = f"{column.name} is immutable and outside its bounds"
    for place, category in enumerate(encoder.categories):
        allowed = limits.allowed[place]
        if allowed is None:
            continue
        codes = original.codes[:, place]
        for row in np.flatnonzero(~allowed.any(1) & (codes != MISSING)) if len(allowed) > 1 else ():
            limits.reasons[int(row)] = f"no category is left for {category.name} inside bounds and direction"
        if limits.fixed_codes[place]:
            row_of = np.arange(len(codes)) if len(allowed) > 1 else 0
            inside = allowed[row_of, np.maximum(codes, 0)]
            for row in np.flatnonzero((codes >= 0) & ~inside):
                limits.reasons[int(row)] = f"{category.name} is immutable and outside its bounds"
