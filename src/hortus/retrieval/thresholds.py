"""Where to stop retrieving: the best popularity threshold of each relation (Mallen et al. 2023, section 5).

    acc(t) = mean of (c_ret if popularity < t else c_par),   t* = argmax acc(t)

The search is exact: rows sorted by popularity, prefix sums of c_ret - c_par, every cut between neighbouring
distinct values tried, O(n log n). Among equal cuts the smallest threshold wins: ties retrieve less, as
published. What differs: the published search tries ten equal-width bins of log popularity
(`choose_bin_thresholds`), whose edges also see the test rows.

Legend: N rows, R relations, S splits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hortus.errors import ConfigError, DataError

__all__ = [
    "POOLED",
    "SortedRows",
    "choose_bin_thresholds",
    "choose_thresholds",
    "retrieves",
    "sort_rows",
    "split_thresholds",
]

POOLED = ""
"""The name under which the threshold of all relations together stands."""


@dataclass(frozen=True)
class SortedRows:
    """Rows by relation and popularity: `order` sorts them; `bounds[r]` : `bounds[r + 1]` are relation r's
    rows; `last` says of each row whether the next one of its relation is more popular."""

    names: np.ndarray
    order: np.ndarray
    bounds: np.ndarray
    popularity: np.ndarray
    last: np.ndarray


def choose_thresholds(
    relation: Sequence[Any] | np.ndarray,
    popularity: Sequence[float] | np.ndarray,
    correct_parametric: Sequence[float] | np.ndarray,
    correct_retrieved: Sequence[float] | np.ndarray,
    *,
    price: float = 0.0,
    min_rows: int = 1,
    shrink: float = 0.0,
) -> dict[Any, float]:
    """The threshold of each relation: retrieve if and only if popularity < threshold.

    Args:
        relation: (N,) names.
        popularity: (N,) 0 or more.
        correct_parametric, correct_retrieved: (N,) scores between 0 and 1 without and with a passage.
        price: what a retrieval costs, in right answers; acc(t) - price * share retrieved is maximised.
        min_rows: relations with fewer rows take the threshold of all rows together.
        shrink: that many further rows, spread over all rows, vote in each relation: thresholds of rare
            relations move towards the common one.

    Returns:
        Relation -> -inf (never), inf (always), or the middle of two neighbouring distinct popularities; of
        thresholds that are equally good the smallest.

    Raises:
        DataError: the lengths differ, or a value is not finite or a popularity negative.

    >>> choose_thresholds(["color"] * 4, [10, 20, 30, 40], [0, 0, 1, 1], [1, 1, 0, 1])
    {'color': 25.0}
    >>> choose_thresholds(["color"] * 2, [10, 20], [1, 1], [1, 1])
    {'color': -inf}
    """
    names, popularity, gain = _checked(relation, popularity, correct_parametric, correct_retrieved)
    if shrink < 0 or min_rows < 0:
        raise ConfigError(f"shrink={shrink}, min_rows={min_rows}", allowed="0 or more")
    everywhere = np.ones((1, len(gain)), dtype=bool)
    pooled = None
    if min_rows > 1:
        rows = sort_rows(np.zeros(len(gain), dtype=np.int64), popularity)
        pooled = float(split_thresholds(rows, gain, everywhere, price)[0, 0])
    if shrink:
        return {
            name: _shrunken(names == name, popularity, gain, price, shrink)
            if pooled is None or (names == name).sum() >= min_rows
            else pooled
            for name in dict.fromkeys(names.tolist())
        }
    rows = sort_rows(names, popularity)
    found = split_thresholds(rows, gain, everywhere, price)[0]
    counts = np.diff(rows.bounds)
    return {
        name: float(value) if pooled is None or count >= min_rows else pooled
        for name, value, count in zip(rows.names.tolist(), found, counts, strict=True)
    }


def _checked(
    relation: Any, popularity: Any, correct_parametric: Any, correct_retrieved: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Names, popularity and the gain of retrieving, as arrays of one length."""
    names = np.asarray(relation)
    numbers = [np.asarray(a, dtype=np.float64) for a in (popularity, correct_parametric, correct_retrieved)]
    lengths = [len(names), *map(len, numbers)]
    if len(set(lengths)) > 1:
        raise DataError(f"columns of {', '.join(map(str, lengths))} rows", allowed="one value a row each")
    if not lengths[0]:
        raise DataError("no rows to choose thresholds from", do="give answered questions with popularity")
    if not all(np.isfinite(values).all() for values in numbers) or (numbers[0] < 0).any():
        raise DataError(
            "a popularity or score is negative, infinite or not a number",
            do="set rows of unknown popularity aside (hortus.retrieval.set_aside)",
        )
    return names, numbers[0], numbers[2] - numbers[1]


def sort_rows(names: np.ndarray, popularity: np.ndarray) -> SortedRows:
    """Sort (N,) rows by name and popularity."""
    known, index = np.unique(names, return_inverse=True)
    order = np.lexsort((popularity, index))
    bounds = np.searchsorted(index[order], np.arange(len(known) + 1))
    values = popularity[order]
    last = np.append(values[1:] > values[:-1], True)
    last[bounds[1:] - 1] = True
    return SortedRows(known, order, bounds, values, last)


def split_thresholds(rows: SortedRows, gain: np.ndarray, training: np.ndarray, price: float) -> np.ndarray:
    """Thresholds of every relation for many choices of training rows at once.

    Args:
        gain: (N,) c_ret - c_par, in the order of the data.
        training: (S, N) which rows each choice may see, in the same order.

    Returns:
        (S, R).
    """
    seen = training[:, rows.order]
    gains = gain[rows.order]
    # Whole numbers as long as scores are right or wrong: sums are exact, so ties are ties.
    whole = bool((gains == np.rint(gains)).all())
    worth = np.where(seen, gains.astype(np.int32) if whole else gains, 0)
    found = np.empty((len(training), len(rows.names)))
    for number, (start, end) in enumerate(zip(rows.bounds[:-1], rows.bounds[1:], strict=True)):
        inside, last = slice(start, end), rows.last[start:end]
        totals = np.cumsum(worth[:, inside], axis=1)[:, last]
        if price:
            totals = totals - price * np.cumsum(seen[:, inside], axis=1)[:, last]
        found[:, number] = _cut(totals, rows.popularity[inside][last], seen[:, inside], last)
    return found


def _cut(totals: np.ndarray, values: np.ndarray, seen: np.ndarray, last: np.ndarray) -> np.ndarray:
    """(S,) thresholds from (S, G) gains of retrieving up to each of G distinct popularities."""
    best = totals.argmax(axis=1)  # the first of equal ones
    never = totals[np.arange(len(totals)), best] <= 0
    # Popularities that no training row has are no neighbours: look for the next one that is seen.
    first = np.concatenate([[0], np.flatnonzero(last)[:-1] + 1])
    present = np.add.reduceat(seen.astype(np.int32), first, axis=1) > 0
    later = present & (np.arange(len(values)) > best[:, None])
    following = later.argmax(axis=1)
    middle = (values[best] + values[following]) / 2
    # Neighbours so close that their middle is the lower one: the upper one cuts the same.
    middle = np.where(middle > values[best], middle, values[following])
    return np.where(never, -np.inf, np.where(later.any(axis=1), middle, np.inf))


def _shrunken(
    mine: np.ndarray, popularity: np.ndarray, gain: np.ndarray, price: float, shrink: float
) -> float:
    weights = mine + shrink / len(gain)
    rows = sort_rows(np.zeros(len(gain), dtype=np.int64), popularity)
    # Rounded, so that sums that differ by rounding alone are ties.
    totals = np.cumsum((weights * (gain - price))[rows.order])[rows.last].round(9)[None]
    values = rows.popularity[rows.last]
    return float(_cut(totals, values, np.ones((1, len(gain)), dtype=bool), rows.last)[0])


def choose_bin_thresholds(
    relation: Sequence[Any] | np.ndarray,
    popularity: Sequence[float] | np.ndarray,
    correct_parametric: Sequence[float] | np.ndarray,
    correct_retrieved: Sequence[float] | np.ndarray,
    *,
    training: np.ndarray | None = None,
    num_bins: int = 10,
) -> dict[Any, float]:
    """The published search: cuts at the edges of equal-width bins of log popularity, the first best one
    wins.

    Args:
        training: (N,) which rows the accuracy is taken over; the edges come from all rows, as published.
            A popularity below 1 counts as 1.

    >>> choose_bin_thresholds(["color"] * 4, [1, 10, 100, 1000], [0, 0, 1, 1], [1, 1, 0, 0], num_bins=3)
    {'color': 100.0}
    """
    names, popularity, gain = _checked(relation, popularity, correct_parametric, correct_retrieved)
    training = np.ones(len(names), dtype=bool) if training is None else training
    thresholds = {}
    for name in np.unique(names):
        mine = names == name
        logs = np.log(np.maximum(popularity[mine], 1))
        edges = np.linspace(logs.min(), logs.max(), num_bins + 1)
        bins = np.clip(np.searchsorted(edges, logs, side="right") - 1, 0, num_bins - 1)
        worth = np.bincount(bins, weights=gain[mine] * training[mine], minlength=num_bins)
        best = int(np.concatenate([[0.0], np.cumsum(worth)]).round(9).argmax())
        cut = float(np.exp(edges[best])) if 0 < best < num_bins else (-np.inf if best == 0 else np.inf)
        thresholds[name.item()] = cut
    return thresholds


def retrieves(
    thresholds: dict[Any, float], relation: Sequence[Any] | np.ndarray, popularity: np.ndarray
) -> np.ndarray:
    """(N,) whether each row is retrieved for; a relation without threshold takes the pooled one, else
    always.

    >>> retrieves({"color": 25.0}, ["color", "color"], np.array([10, 30])).tolist()
    [True, False]
    """
    default = thresholds.get(POOLED, np.inf)
    limits = np.array([thresholds.get(name, default) for name in np.asarray(relation).tolist()])
    return np.asarray(popularity) < limits
