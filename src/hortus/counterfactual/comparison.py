"""Comparing methods by cross-validation, without a leak: all that is fitted sees the training part only.

Duplicate rows are dropped first, so that no held-out row is in training. Validity is measured three times: by
the predictor that is explained, and by two others that were trained apart, a tuned MLP and gradient boosting.
A row without a counterfactual fails validity and is left out of all measures of the counterfactuals.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedKFold

from hortus.counterfactual import metrics, realism
from hortus.counterfactual.config import METHODS
from hortus.counterfactual.encoding import Rows, TableEncoder
from hortus.counterfactual.judges import Judges
from hortus.counterfactual.methods import fit_method
from hortus.counterfactual.search import Table
from hortus.counterfactual.tables import as_frame, read_labels
from hortus.errors import ConfigError, DataError, nearest

__all__ = ["Evaluation", "Part", "evaluate", "evaluate_method", "parts_of", "summarize"]

_ROWS_OF_SLOW_MEASURES = 200
Say = Callable[[str], None]


@dataclass(frozen=True)
class Part:
    """One split: training and held-out rows, with their class numbers."""

    train: pd.DataFrame
    train_classes: np.ndarray
    test: pd.DataFrame
    test_classes: np.ndarray


@dataclass
class Evaluation:
    """What `evaluate` found.

    Args:
        splits: one row for each method and split.
        table: means over the splits, and their standard errors in columns ending in _se.
        explained: {method: the explanations of the first split}, with the rows they belong to.
        rows: the held-out rows that were explained in the first split.
    """

    splits: pd.DataFrame
    table: pd.DataFrame
    rows: pd.DataFrame
    explained: dict[str, pd.DataFrame] = field(default_factory=dict)


def parts_of(frame: pd.DataFrame, target: str, splits: int, seed: int) -> Iterator[Part]:
    """Stratified folds of the distinct rows.

    Raises:
        DataError: no such column; a class with fewer rows than splits; an unlabelled row.
    """
    if target not in frame.columns:
        raise DataError(f"target {target!r} is no column", do=nearest(target, map(str, frame.columns)))
    distinct = frame.drop_duplicates().reset_index(drop=True)
    table, labels = as_frame(distinct.drop(columns=target)), distinct[target]
    _, numbers = read_labels(labels, len(table), "evaluate")
    fewest = np.bincount(numbers).min()
    if not 2 <= splits <= fewest:
        raise DataError(
            f"{splits} splits, but the rarest class has {fewest} distinct rows", allowed=f"from 2 to {fewest}"
        )
    folds = StratifiedKFold(splits, shuffle=True, random_state=seed)
    for train, test in folds.split(table, numbers):
        yield Part(table.iloc[train], numbers[train], table.iloc[test], numbers[test])


def evaluate(
    frame: pd.DataFrame,
    target: str,
    methods: Sequence[str] = ("vcnet", "gradient", "nearest"),
    *,
    immutable: Sequence[str] = (),
    splits: int = 5,
    rows: int = 200,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    say: Say = lambda line: None,
) -> Evaluation:
    """Cross-validate methods on a table with a target column of classes.

    Args:
        methods: of vcnet, posthoc, counternet, gradient, nearest, dice.
        immutable: columns that never change.
        splits: number of folds.
        rows: at most so many rows of each held-out part are explained.
        options: arguments of `VCNet` and of the post-hoc model, such as {"preset": "adult"}.
        say: takes lines about the progress.

    Raises:
        ConfigError: an unknown method.
        DataError: see `parts_of`.
    """
    for method in methods:
        if method not in METHODS:
            raise ConfigError(f"methods names {method!r}", do=nearest(method, METHODS))
    records, explained, first_rows = [], {}, frame.iloc[:0]
    for number, part in enumerate(parts_of(frame, target, splits, seed)):
        judges = Judges.fit(part.train, part.train_classes, seed=seed + 1000 + number)
        fitted: dict[str, Any] = {}
        for method in methods:
            say(f"split {number + 1} of {splits}: {method}")
            record, answer, asked = evaluate_method(
                method,
                part,
                judges,
                fitted,
                immutable=immutable,
                rows=rows,
                seed=seed + number,
                options=options,
            )
            records.append({"method": method, "split": number, **record})
            if number == 0:
                explained[method], first_rows = answer, asked
    table = pd.DataFrame(records)
    return Evaluation(table, summarize(table), first_rows, explained)


def evaluate_method(
    method: str,
    part: Part,
    judges: Judges,
    fitted: dict[str, Any],
    *,
    immutable: Sequence[str] = (),
    rows: int = 200,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
) -> tuple[dict[str, float], pd.DataFrame, pd.DataFrame]:
    """Fit one method on a split's training part and measure it on the held-out part.

    Args:
        fitted: what other methods of the split fitted and this one may use; added to.

    Returns:
        The measures by name, the explanations, and the rows that were explained.
    """
    began = time.perf_counter()
    explainer = fit_method(
        method, part.train, part.train_classes, fitted, immutable=tuple(immutable), seed=seed, options=options
    )
    fit_seconds = time.perf_counter() - began
    asked = part.test.iloc[:rows]
    began = time.perf_counter()
    answer = explainer.explain(asked)
    seconds = time.perf_counter() - began
    predicted = np.searchsorted(explainer.classes_, explainer.predict(part.test))
    record = {
        "accuracy": float((predicted == part.test_classes).mean()),
        "mlp_accuracy": judges.mlp_accuracy(part.test, part.test_classes),
        "fit_seconds": fit_seconds,
        "milliseconds_per_row": 1000 * seconds / len(asked),
    }
    record |= _measure(explainer, part, judges, asked, answer, tuple(immutable), fitted)
    if method in ("vcnet", "posthoc"):
        record["diversity"] = _diversity(explainer, asked.iloc[:_ROWS_OF_SLOW_MEASURES])
    return record, answer, asked


def _measure(
    explainer: Any,
    part: Part,
    judges: Judges,
    asked: pd.DataFrame,
    answer: pd.DataFrame,
    immutable: tuple[str, ...],
    fitted: dict[str, Any],
) -> dict[str, float]:
    encoder = judges.encoder
    before_table = _table(asked, encoder)
    before_scores = _scores(explainer, before_table)
    source = before_scores.argmax(1)
    # Two classes: the other one. More: the most probable of the others, as `explain` takes it.
    others = before_scores.copy()
    others[np.arange(len(others)), source] = -1
    goal = others.argmax(1)
    valid = answer["hortus_valid"].to_numpy()
    record = {"validity": float(valid.mean())}
    after_frame = answer[list(asked.columns)]
    for name, predicted in judges.predict(after_frame).items():
        record[f"validity_{name}"] = float((valid & (predicted == goal)).mean())
    if not valid.any():
        return record
    before, goal, source = before_table.rows.take(valid), goal[valid], source[valid]
    after_table = _table(after_frame[valid], encoder)
    after = after_table.rows
    x, moved = encoder.matrix(before), encoder.matrix(after)
    train_table = _table(part.train, encoder)
    train, seen = encoder.matrix(train_table.rows), _scores(explainer, train_table).argmax(1)
    gain_before = before_scores[valid][np.arange(len(goal)), goal]
    gain_after = _scores(explainer, after_table)[np.arange(len(goal)), goal]
    # Methods that explain the same predictor share its autoencoders.
    key = f"autoencoders {hash(seen.tobytes())}"
    if key not in fitted:
        fitted[key] = realism.AutoencoderScores(train, seen)
    im1, im2 = fitted[key].score(moved, goal, source)
    record |= {
        "proximity_l1": metrics.proximity_l1(x, moved),
        "proximity_l0": metrics.proximity_l0(x, moved),
        "sparsity": metrics.sparsity(before, after),
        "prediction_gain": metrics.prediction_gain(gain_before, gain_after),
        "proximity_score": realism.proximity_score(moved, goal, train, seen),
        "laugel_proximity": realism.laugel_proximity(moved, goal, train, seen),
        "neighbour_share": realism.neighbour_share(moved, goal, train, seen),
        "local_outlier_factor": realism.local_outlier_factor(moved, goal, train, seen),
        "im1": im1,
        "im2": im2,
        "violations": metrics.violations(before, after, encoder, immutable),
    }
    return record | _stability(explainer, before_table.take(np.flatnonzero(valid)), after, goal, encoder)


def _stability(
    explainer: Any, table: Table, after: Rows, goal: np.ndarray, encoder: TableEncoder
) -> dict[str, float]:
    few = np.arange(min(len(after), _ROWS_OF_SLOW_MEASURES))
    table, after, goal = table.take(few), after.take(few), goal[few]

    def reached(rows: Rows) -> np.ndarray:
        frame = encoder.write(rows, table.frame, table.rows)
        judged: np.ndarray = _scores(explainer, _table(frame, encoder)).argmax(1) == goal
        return judged

    return {
        "redundancy": metrics.redundancy(table.rows, after, reached),
        "robustness": metrics.robustness(after, encoder, reached),
        "sensitivity": metrics.sensitivity(table.rows, after, reached),
    }


def _table(frame: pd.DataFrame, encoder: TableEncoder) -> Table:
    return Table(frame, encoder.read(frame, unseen="ignore"))


def _scores(explainer: Any, table: Table) -> np.ndarray:
    # All encoders were fitted on the same training part, so their rows are the same.
    scores: np.ndarray = explainer._outcomes(table.rows, table)
    return scores


def _diversity(explainer: Any, asked: pd.DataFrame, n: int = 4) -> float:
    answer = explainer.explain(asked, n=n, sample=True)
    encoder = explainer.encoder_
    matrix = encoder.matrix(encoder.read(answer[list(asked.columns)], unseen="ignore"))
    complete = answer["hortus_valid"].to_numpy().reshape(-1, n).all(1)
    if not complete.any():
        return float("nan")
    return metrics.diversity(matrix.reshape(-1, n, matrix.shape[1])[complete])


def summarize(splits: pd.DataFrame) -> pd.DataFrame:
    """Means over splits by method, in the order of the methods, with standard errors s / sqrt(splits).

    >>> splits = pd.DataFrame({"method": ["a", "a"], "split": [0, 1], "validity": [0.8, 1.0]})
    >>> summarize(splits).loc["a"].round(3).to_dict()
    {'validity': 0.9, 'validity_se': 0.1}
    """
    groups = splits.drop(columns="split").groupby("method", sort=False)
    means, errors = groups.mean(), groups.sem()
    columns = {}
    for name in means.columns:
        columns[name], columns[f"{name}_se"] = means[name], errors[name]
    return pd.DataFrame(columns)
