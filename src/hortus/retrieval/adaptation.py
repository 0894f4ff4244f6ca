"""Does adapting pay? Gates chosen on three quarters of the questions and scored on the rest, a hundred
times over.

The rows of a hundred splits overlap, so the spread over splits divided by sqrt(splits) is no standard
error. Errors here are Nadeau and Bengio's (2003) corrected ones, (1/S + n_test / n_train) · variance over
splits, for accuracies and for the differences between gates on the same test rows. The published spread, 2
· deviation over splits / sqrt(n_test), is neither.

Legend: N rows, S splits, R relations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hortus.errors import ConfigError, DataError, nearest
from hortus.retrieval.gates import GATES, Evidence, choose
from hortus.retrieval.thresholds import sort_rows, split_thresholds

__all__ = ["GateScore", "compare_gates", "frontier", "random_splits", "split_decisions"]


@dataclass(frozen=True)
class GateScore:
    """A gate on unseen questions, means over the splits.

    gain: accuracy less price times share retrieved, above the better of always and never retrieving.
    """

    gate: str
    accuracy: float
    accuracy_error: float
    share_retrieved: float
    gain: float
    gain_error: float


def random_splits(num_rows: int, splits: int, train_share: float, seed: int) -> np.ndarray:
    """(S, N) which rows are for choosing: the same number in every split, drawn without regard to relation.

    >>> random_splits(8, 2, 0.75, 0).sum(axis=1).tolist()
    [6, 6]
    """
    if splits < 2 or not 0 < train_share < 1:
        raise ConfigError(f"splits={splits}, train_share={train_share}", allowed="2 or more; between 0 and 1")
    size = round(train_share * num_rows)
    if not 0 < size < num_rows:
        raise DataError(f"{num_rows} questions cannot be split", do="give more questions")
    draws = np.random.default_rng(seed).random((splits, num_rows)).argsort(axis=1).argsort(axis=1)
    return draws < size


def split_decisions(rows: Evidence, training: np.ndarray, price: float = 0.0) -> np.ndarray:
    """(S, N) what the popularity gate of each split decides, all splits searched together.

    Args:
        training: (S, N) which rows each split may see.
    """
    gain = rows.retrieved - rows.parametric
    by_relation = sort_rows(rows.relation, rows.popularity)
    together = sort_rows(np.zeros(len(rows), dtype=np.int64), rows.popularity)
    limits = split_thresholds(by_relation, gain, training, price)
    pooled = split_thresholds(together, gain, training, price)
    names = np.searchsorted(by_relation.names, rows.relation)
    seen = np.stack([np.bincount(names[mask], minlength=len(by_relation.names)) > 0 for mask in training])
    decided: np.ndarray = rows.popularity < np.where(seen, limits, pooled)[:, names]
    return decided


def compare_gates(
    rows: Evidence,
    gates: Sequence[str] | None = None,
    *,
    splits: int = 100,
    train_share: float = 0.75,
    price: float = 0.0,
    seed: int = 633,
) -> list[GateScore]:
    """Every gate under the same splits.

    Args:
        gates: names of `GATES`; None is all that the evidence allows.
        price: what a retrieval costs, in right answers.

    Raises:
        ConfigError: an unknown gate, or one that needs confidences that are not there.

    >>> draw = np.random.default_rng(0)
    >>> popularity = draw.lognormal(5, 2, 400)
    >>> known = (draw.random(400) < popularity / (popularity + 150)).astype(float)
    >>> found = (draw.random(400) < 0.6).astype(float)
    >>> rows = Evidence(np.full(400, "color"), popularity, known, found)
    >>> scores = {score.gate: score for score in compare_gates(rows, splits=20)}
    >>> scores["popularity"].gain > 0, scores["oracle"].accuracy > scores["popularity"].accuracy
    (True, True)
    """
    names = list(GATES) if gates is None else list(gates)
    if gates is None and rows.confidence is None:
        names.remove("confidence")
    for name in names:
        if name not in GATES:
            raise ConfigError(f"unknown gate {name!r}", do=nearest(name, GATES))
        if name == "confidence" and rows.confidence is None:
            raise ConfigError("gate 'confidence' without confidences", do="probe with confidence=True")
    training = random_splits(len(rows), splits, train_share, seed)
    worth = {}
    for name in dict.fromkeys(["never", "always", *names]):
        decided = (
            split_decisions(rows, training, price)
            if name == "popularity"
            else np.stack([choose(name, rows, mask, price) for mask in training])
        )
        right = np.where(decided, rows.retrieved, rows.parametric)
        # Means over each split's test rows.
        tests = (~training).sum(axis=1)
        worth[name] = ((right * ~training).sum(1) / tests, (decided & ~training).sum(1) / tests)
    value = {name: accuracy - price * share for name, (accuracy, share) in worth.items()}
    better = max(("never", "always"), key=lambda name: float(value[name].mean()))
    ratio = (1 - train_share) / train_share
    scores = []
    for name in names:
        accuracy, share = worth[name]
        gain = value[name] - value[better]
        errors = [corrected_error(values, ratio) for values in (accuracy, gain)]
        scores.append(
            GateScore(
                name, float(accuracy.mean()), errors[0], float(share.mean()), float(gain.mean()), errors[1]
            )
        )
    return scores


def corrected_error(values: np.ndarray, ratio: float) -> float:
    """Standard error of the mean over overlapping splits; `ratio` is test rows to training rows.

    >>> round(corrected_error(np.array([1.0, 2.0, 3.0]), 1 / 3), 4)
    0.8165
    """
    return float(np.sqrt((1 / len(values) + ratio) * values.var(ddof=1)))


def frontier(
    rows: Evidence, *, splits: int = 20, train_share: float = 0.75, seed: int = 633, points: int = 21
) -> list[tuple[float, float]]:
    """(share retrieved, accuracy) on unseen questions as retrieving gets dearer: the popularity gate's
    curve."""
    training = random_splits(len(rows), splits, train_share, seed)
    curve = []
    for price in np.linspace(-1, 1, points):
        decided = split_decisions(rows, training, float(price))
        right = np.where(decided, rows.retrieved, rows.parametric)
        total = (~training).sum()
        curve.append((float((decided & ~training).sum() / total), float((right * ~training).sum() / total)))
    return sorted(set(curve))
