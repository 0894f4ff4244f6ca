"""What scores say: accuracy with intervals, confusion, calibration, marginal means, paired tests.

A result is a tile, a short list: (row, state, predicted, gold, confidence, score). `state` is right, wrong or
none, where there is no prompt for the row or no known answer; `score` is 0 to 1, or None with state none.

Intervals of accuracies are Wilson's (1927), for on twenty rows the normal one is a point at 0 and 1; those of
graded scores are the mean and 1.96 standard errors. All prompts answer the same rows, so the error of a mean
over prompts is that of each row's mean (`hortus.evaluation.spread_of`), and two prompts are compared by
resampling rows (`paired_bootstrap`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from hortus.evaluation import Comparison, paired_bootstrap, spread_of
from hortus.evaluation.statistics import mean_and_error, wilson_interval

__all__ = ["Tile", "compare", "marginal_means", "pairwise_tests", "summarize"]

Tile = Sequence[Any]
"""(row, state, predicted, gold, confidence, score)."""

ROW, STATE, PREDICTED, GOLD, CONFIDENCE, SCORE = range(6)
_Z = 1.959964
_BINS = 5
_MOST_LABELS = 30
_MOST_PAIRED = 8
METHOD = (
    "Differences are means over the rows that both prompts answered, second minus first. Interval and "
    "probability are from 2,000 resamplings of rows (paired bootstrap, two-sided); `adjusted` is the "
    "probability after Holm's correction for the number of pairs."
)


def interval(scores: Sequence[float]) -> tuple[float, float, float, float | None]:
    """Mean, low, high and standard error of scores between 0 and 1.

    >>> interval([1.0, 1.0])[0], round(interval([1.0, 1.0])[1], 2)
    (1.0, 0.34)
    """
    mean, error = mean_and_error(scores)
    if all(score in (0.0, 1.0) for score in scores) or math.isnan(error):
        low, high = wilson_interval(sum(scores), len(scores))
    else:
        low, high = max(0.0, mean - _Z * error), min(1.0, mean + _Z * error)
    return mean, low, high, None if math.isnan(error) else error


def summarize(tiles: Sequence[Tile], labels: Sequence[str] = ()) -> dict[str, Any]:
    """One prompt's results as numbers.

    Args:
        labels: the answers, where they are the same for every row; then there is a confusion matrix.

    >>> tiles = [(0, "right", "a", "a", 0.9, 1.0), (1, "wrong", "a", "b", 0.6, 0.0)]
    >>> tiles.append((2, "none", None, None, None, None))
    >>> summary = summarize(tiles, ["a", "b"])
    >>> summary["accuracy"], summary["none"], summary["confusion"]["counts"]
    (0.5, 1, [[1, 0], [1, 0]])
    """
    scored = [tile for tile in tiles if tile[SCORE] is not None]
    summary: dict[str, Any] = {"count": len(scored), "none": len(tiles) - len(scored)}
    if not scored:
        empty = dict.fromkeys(("accuracy", "low", "high", "error", "confusion", "calibration", "coverage"))
        return summary | empty
    mean, low, high, error = interval([tile[SCORE] for tile in scored])
    summary |= {"accuracy": mean, "low": low, "high": high, "error": error}
    sure = [tile for tile in scored if tile[CONFIDENCE] is not None]
    return summary | {
        "confusion": _confusion(scored, labels) if 0 < len(labels) <= _MOST_LABELS else None,
        "calibration": _calibration(sure) if sure else None,
        "coverage": _coverage(sure) if sure else None,
    }


def _confusion(tiles: Sequence[Tile], labels: Sequence[str]) -> dict[str, Any]:
    place = {label: number for number, label in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels)), dtype=int)
    for tile in tiles:
        if tile[GOLD] in place and tile[PREDICTED] in place:
            counts[place[tile[GOLD]], place[tile[PREDICTED]]] += 1
    return {"labels": list(labels), "counts": counts.tolist()}


def _calibration(tiles: Sequence[Tile]) -> dict[str, Any]:
    """Bins of confidence, and the expected calibration error (Guo et al. 2017, equation 3)."""
    confidence = np.array([tile[CONFIDENCE] for tile in tiles])
    right = np.array([tile[SCORE] for tile in tiles])
    number = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    bins, error = [], 0.0
    for one in range(_BINS):
        members = number == one
        if members.any():
            mean, accuracy = float(confidence[members].mean()), float(right[members].mean())
            error += members.mean() * abs(mean - accuracy)
            bins.append(
                {
                    "low": one / _BINS,
                    "high": (one + 1) / _BINS,
                    "count": int(members.sum()),
                    "confidence": mean,
                    "accuracy": accuracy,
                }
            )
    return {"bins": bins, "error": float(error)}


def _coverage(tiles: Sequence[Tile]) -> list[list[float]]:
    """[threshold, share of rows at or above it, their accuracy], at most about twenty points."""
    ordered = sorted(((tile[CONFIDENCE], tile[SCORE]) for tile in tiles), reverse=True)
    right = np.cumsum([score for _, score in ordered])
    step = max(1, len(ordered) // 20)
    points = []
    for number in range(len(ordered), 0, -step):
        threshold = ordered[number - 1][0]
        # Rows of equal confidence are answered together.
        at_least = sum(confidence >= threshold for confidence, _ in ordered)
        points.append([threshold, at_least / len(ordered), float(right[at_least - 1]) / at_least])
    return points


def curve(tiles: Sequence[Tile], points: Sequence[int]) -> list[list[float]]:
    """[rows, accuracy, low, high] after each number of rows, where any of them has a score."""
    found = []
    for number in points:
        scores = [tile[SCORE] for tile in tiles[:number] if tile[SCORE] is not None]
        if scores:
            found.append([number, *interval(scores)[:3]])
    return found


def marginal_means(
    prompts: Sequence[Mapping[str, Any]],
    tiles: Mapping[str, Sequence[Tile]],
    texts: Mapping[str, Sequence[str]] | None = None,
) -> list[dict[str, Any]]:
    """For each variable the mean score of all prompts with each wording, with its error over rows.

    Args:
        prompts: with `id` and `wordings` (variable -> number of the wording).
        texts: variable -> its wordings.
    """
    names = list(dict.fromkeys(name for prompt in prompts for name in prompt["wordings"]))
    marginals = []
    for name in names:
        groups: dict[int, list[str]] = {}
        for prompt in prompts:
            if name in prompt["wordings"]:
                groups.setdefault(prompt["wordings"][name], []).append(prompt["id"])
        wordings = [
            {
                "wording": number,
                "text": _wording(texts, name, number),
                "cards": len(ids),
                **_spread(ids, tiles),
            }
            for number, ids in sorted(groups.items())
        ]
        marginals.append({"variable": name, "wordings": wordings})
    return marginals


def _wording(texts: Mapping[str, Sequence[str]] | None, name: str, number: int) -> str:
    wordings = (texts or {}).get(name, ())
    return wordings[number] if number < len(wordings) else f"wording {number + 1}"


def _spread(ids: Sequence[str], tiles: Mapping[str, Sequence[Tile]]) -> dict[str, Any]:
    scores = [scores_of(tiles.get(one, ())) for one in dict.fromkeys(ids)]
    table = score_array([one for one in scores if one])
    if not table.size:
        return dict.fromkeys(("mean", "error", "low", "high"))
    spread = spread_of(table)
    error = spread.standard_error
    if math.isnan(error):
        return {"mean": spread.mean, "error": None, "low": None, "high": None}
    low, high = max(0.0, spread.mean - _Z * error), min(1.0, spread.mean + _Z * error)
    return {"mean": spread.mean, "error": error, "low": low, "high": high}


def scores_of(tiles: Sequence[Tile]) -> dict[int, float]:
    """Row -> score, of the rows that have one."""
    return {tile[ROW]: float(tile[SCORE]) for tile in tiles if tile[SCORE] is not None}


def score_array(scores: Sequence[Mapping[int, float]]) -> np.ndarray:
    """(prompts, rows) scores, NaN where a prompt has none."""
    rows = sorted({row for one in scores for row in one})
    return np.array([[one.get(row, np.nan) for row in rows] for one in scores])


def compare(first: Sequence[Tile], second: Sequence[Tile]) -> tuple[int, Comparison] | None:
    """The second's mean score minus the first's on the rows that both have, and how many those are."""
    one, other = scores_of(first), scores_of(second)
    rows = sorted(one.keys() & other.keys())
    if len(rows) < 2:
        return None
    table = np.array([[one[row] for row in rows]]), np.array([[other[row] for row in rows]])
    return len(rows), paired_bootstrap(*table)


def pairwise_tests(tiles: Mapping[str, Sequence[Tile]]) -> list[dict[str, Any]]:
    """Every pair of prompts, with Holm's correction (1979) of the probabilities; of many, each with the best.

    >>> tiles = {"a": [(row, "", "", "", None, 0.0) for row in range(9)],
    ...          "b": [(row, "", "", "", None, 1.0) for row in range(9)]}
    >>> [(test["first"], test["difference"], test["adjusted"]) for test in pairwise_tests(tiles)]
    [('a', 1.0, 0.0)]
    """
    tests: list[dict[str, Any]] = []
    means = {prompt: np.mean([*scores_of(mine).values()] or [0.0]) for prompt, mine in tiles.items()}
    best = max(means, key=lambda prompt: means[prompt], default="")
    for first, second in combinations(tiles, 2):
        if len(tiles) > _MOST_PAIRED and best not in (first, second):
            continue
        found = compare(tiles[first], tiles[second])
        if found is not None:
            rows, comparison = found
            tests.append({"first": first, "second": second, "rows": rows, **numbers_of(comparison)})
    tests.sort(key=lambda test: test["probability"])
    least = 0.0
    for number, test in enumerate(tests):
        least = max(least, min(1.0, test["probability"] * (len(tests) - number)))
        test["adjusted"] = least
    return tests


def numbers_of(comparison: Comparison) -> dict[str, float]:
    """Difference, interval and probability."""
    return {
        "difference": comparison.difference,
        "low": comparison.low,
        "high": comparison.high,
        "probability": comparison.probability,
    }
