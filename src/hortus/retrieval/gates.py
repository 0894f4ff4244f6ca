"""Gates: rules that say for each question whether to retrieve, chosen on training rows alone.

    popularity   retrieve below a threshold of popularity, one a relation (the paper's rule, searched exactly)
    bins         the same by the published ten-bin search
    confidence   retrieve below a threshold of the log-probability of the model's own answer, one a relation
    logistic     retrieve where retrieving is the likelier to be right, by two logistic regressions over log
                 popularity, relation and, where it is known, confidence
    always, never, oracle    for comparison; the oracle knows which answer is right and is no rule

All of them weigh what a retrieval costs against a right answer (`price`): they compare on equal terms.

Legend: N rows, D features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hortus.retrieval.thresholds import POOLED, choose_bin_thresholds, choose_thresholds, retrieves

__all__ = ["GATES", "Evidence", "Logistic", "choose", "fit_logistic"]

_RIDGE = 1.0
_STEPS = 25


@dataclass(frozen=True)
class Evidence:
    """Answered questions: (N,) arrays, aligned.

    confidence: log-probability of the model's own answer without a passage, in nats; None where unknown.
    """

    relation: np.ndarray
    popularity: np.ndarray
    parametric: np.ndarray
    retrieved: np.ndarray
    confidence: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.relation)

    def take(self, rows: np.ndarray) -> Evidence:
        """Some of the rows, by mask or number."""
        confidence = None if self.confidence is None else self.confidence[rows]
        return Evidence(
            self.relation[rows],
            self.popularity[rows],
            self.parametric[rows],
            self.retrieved[rows],
            confidence,
        )


@dataclass(frozen=True, eq=False)
class Logistic:
    """Two regressions over the same features: the chances of being right without and with a passage.

    relations: those that have a column of their own.
    parametric, retrieved: (D + 1,) weights of the standardised features, the constant first.
    center, scale: (D,) means and standard deviations of the features.
    """

    relations: tuple[Any, ...]
    parametric: np.ndarray
    retrieved: np.ndarray
    center: np.ndarray
    scale: np.ndarray
    price: float
    with_confidence: bool

    def chances(self, rows: Evidence) -> tuple[np.ndarray, np.ndarray]:
        """(N,) and (N,) probabilities of a right answer without and with a passage."""
        features = (_features(rows, self.relations, self.with_confidence) - self.center) / self.scale
        features = np.column_stack([np.ones(len(features)), features])
        return _sigmoid(features @ self.parametric), _sigmoid(features @ self.retrieved)

    def __call__(self, rows: Evidence) -> np.ndarray:
        """(N,) whether to retrieve."""
        without, with_passage = self.chances(rows)
        decided: np.ndarray = with_passage - without > self.price
        return decided

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        arrays = {name: getattr(self, name).tolist() for name in _ARRAYS}
        return {"relations": list(self.relations), "with_confidence": self.with_confidence, **arrays}

    @classmethod
    def from_json(cls, values: Mapping[str, Any], price: float) -> Logistic:
        """What `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: not that.
        """
        arrays = {name: np.asarray(values[name], dtype=np.float64) for name in _ARRAYS}
        relations, with_confidence = tuple(map(str, values["relations"])), bool(values["with_confidence"])
        width = 1 + 2 * len(relations) + with_confidence
        if [one.shape for one in arrays.values()] != [(width + 1,), (width + 1,), (width,), (width,)]:
            raise ValueError(f"weights for {len(relations)} relations have other lengths than {width}")
        return cls(relations, **arrays, price=price, with_confidence=with_confidence)


_ARRAYS = ("parametric", "retrieved", "center", "scale")


def choose(kind: str, rows: Evidence, training: np.ndarray, price: float = 0.0) -> np.ndarray:
    """(N,) the decisions of a gate for all rows, chosen on the rows where `training` is true.

    Popularity thresholds of relations that the training rows lack are those of all rows together.

    >>> rows = Evidence(*(np.array(v) for v in (["a"] * 4, [1, 2, 3, 4], [0, 0, 1, 1], [1, 1, 0, 1])))
    >>> choose("popularity", rows, np.ones(4, dtype=bool)).tolist()
    [True, True, False, False]
    """
    return GATES[kind](rows, training, price)


def _by_popularity(rows: Evidence, training: np.ndarray, price: float) -> np.ndarray:
    return retrieves(
        _thresholds(rows.take(training), rows.popularity[training], price), rows.relation, rows.popularity
    )


def _by_confidence(rows: Evidence, training: np.ndarray, price: float) -> np.ndarray:
    assert rows.confidence is not None
    # A probability: between 0 and 1, and in the same order as its logarithm.
    chance = np.exp(rows.confidence)
    return retrieves(_thresholds(rows.take(training), chance[training], price), rows.relation, chance)


def _thresholds(rows: Evidence, values: np.ndarray, price: float) -> dict[Any, float]:
    found = choose_thresholds(rows.relation, values, rows.parametric, rows.retrieved, price=price)
    alike = np.full(len(rows), POOLED)
    return found | choose_thresholds(alike, values, rows.parametric, rows.retrieved, price=price)


def _by_bins(rows: Evidence, training: np.ndarray, price: float) -> np.ndarray:
    found = choose_bin_thresholds(
        rows.relation, rows.popularity, rows.parametric, rows.retrieved - price, training=training
    )
    return retrieves(found, rows.relation, rows.popularity)


def _by_logistic(rows: Evidence, training: np.ndarray, price: float) -> np.ndarray:
    return fit_logistic(rows.take(training), price)(rows)


def fit_logistic(rows: Evidence, price: float = 0.0) -> Logistic:
    """Two ridge-penalised logistic regressions: the chances of being right without and with a passage."""
    relations = tuple(dict.fromkeys(rows.relation.tolist()))
    with_confidence = rows.confidence is not None
    features = _features(rows, relations, with_confidence)
    center, scale = features.mean(0), features.std(0)
    scale = np.where(scale > 0, scale, 1.0)
    standard = np.column_stack([np.ones(len(features)), (features - center) / scale])
    parametric, retrieved = (_fit(standard, target) for target in (rows.parametric, rows.retrieved))
    return Logistic(relations, parametric, retrieved, center, scale, price, with_confidence)


def _features(rows: Evidence, relations: Sequence[Any], with_confidence: bool) -> np.ndarray:
    """(N, D): log popularity, confidence and relation, and log popularity within each relation."""
    logs = np.log1p(rows.popularity)
    columns = [logs, *((rows.relation == name).astype(np.float64) for name in relations)]
    columns += [logs * (rows.relation == name) for name in relations]
    if with_confidence:
        assert rows.confidence is not None
        columns.append(np.maximum(rows.confidence, -50.0))
    return np.column_stack(columns)


def _fit(features: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Newton's method (iteratively reweighted least squares); the constant is not penalised."""
    weights = np.zeros(features.shape[1])
    penalty = np.full(len(weights), _RIDGE)
    penalty[0] = 1e-9
    for _ in range(_STEPS):
        chances = _sigmoid(features @ weights)
        gradient = features.T @ (chances - target) + penalty * weights
        curvature = (features * (chances * (1 - chances))[:, None]).T @ features + np.diag(penalty)
        step = np.linalg.solve(curvature, gradient)
        weights = weights - step
        if np.abs(step).max() < 1e-8:
            break
    return weights


def _sigmoid(values: np.ndarray) -> np.ndarray:
    chances: np.ndarray = 0.5 * (1 + np.tanh(0.5 * values))
    return chances


GATES: dict[str, Any] = {
    "never": lambda rows, training, price: np.zeros(len(rows), dtype=bool),
    "always": lambda rows, training, price: np.ones(len(rows), dtype=bool),
    "popularity": _by_popularity,
    "bins": _by_bins,
    "confidence": _by_confidence,
    "logistic": _by_logistic,
    "oracle": lambda rows, training, price: rows.retrieved - rows.parametric > price,
}
"""Kind -> function of evidence, training rows and price to decisions."""
