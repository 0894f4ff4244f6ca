"""Counterfactuals in words, in the user's units, and the report blocks of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from hortus.counterfactual.comparison import Evaluation
from hortus.counterfactual.tables import RESERVED
from hortus.report import Block, Curves, Samples, Table, Text

__all__ = ["MEASURES", "changes_in_words", "report_blocks"]

# Name in the results -> heading, and which way is better.
MEASURES = {
    "accuracy": "accuracy ↑",
    "mlp_accuracy": "tuned MLP's accuracy",
    "validity": "validity ↑",
    "validity_mlp": "validity by another MLP ↑",
    "validity_boosting": "validity by boosting ↑",
    "proximity_l1": "L1 proximity ↓",
    "proximity_l0": "L0 proximity ↓",
    "sparsity": "columns changed ↓",
    "prediction_gain": "prediction gain ↑",
    "proximity_score": "proximity score ↓",
    "laugel_proximity": "Laugel's proximity ↓",
    "neighbour_share": "5-neighbour share ↑",
    "local_outlier_factor": "outlier factor ↓",
    "im1": "IM1 ↓",
    "im2": "IM2 ↓",
    "diversity": "diversity ↑",
    "violations": "immutable violations ↓",
    "redundancy": "redundant changes ↓",
    "robustness": "lost under noise ↓",
    "sensitivity": "kept after snapping ↑",
    "milliseconds_per_row": "ms per row ↓",
    "fit_seconds": "fit, s",
}

_ABOUT = (
    "Means over splits, ± one standard error. Duplicates were dropped; encoders, predictors and judges saw "
    "the training part only. Validity counts every row; the other measures count rows with a counterfactual."
)


def changes_in_words(before: pd.Series, after: pd.Series) -> str:
    """What to change, as a sentence.

    Args:
        before: a row of the input.
        after: its line of `explain`.

    >>> before = pd.Series({"age": 30, "job": "clerk"})
    >>> after = pd.Series({"age": 34, "job": "nurse", "hortus_valid": True, "hortus_probability": 0.8125,
    ...                    "hortus_reason": ""})
    >>> changes_in_words(before, after)
    'change age from 30 to 34 and job from clerk to nurse; probability of the target 0.81'
    """
    if not after["hortus_valid"]:
        return f"no counterfactual: {after['hortus_reason']}"
    parts = [
        f"{name} from {_shown(before[name])} to {_shown(after[name])}"
        for name in before.index
        if not str(name).startswith(RESERVED) and not _same(before[name], after[name])
    ]
    if not parts:
        return f"nothing to change: {after['hortus_reason']}"
    listed = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
    if "hortus_prediction" in after:
        return f"change {listed}; prediction then {_shown(after['hortus_prediction'])}"
    return f"change {listed}; probability of the target {after['hortus_probability']:.2f}"


def _same(before: Any, after: Any) -> bool:
    return bool(before == after) or (pd.isna(before) and pd.isna(after))


def _shown(value: Any) -> str:
    if pd.isna(value):
        return "empty"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def report_blocks(
    evaluation: Evaluation, target: str, *, row: int = 0, cards: int = 3
) -> list[tuple[str, Sequence[Block]]]:
    """Sections of a report: the table, the trade-offs, one row by every method, and further cards.

    Args:
        row: position, among the explained rows of the first split, of the row that every method shows.
        cards: how many rows of the first method follow.
    """
    table = evaluation.table
    names = [name for name in MEASURES if name in table.columns]
    lines = [
        [MEASURES[name], *(_mean_and_error(table, method, name) for method in table.index)] for name in names
    ]
    quality: list[Block] = [Text("", _ABOUT), Table("", ["measure", *table.index], lines)]
    return [
        ("Quality", quality),
        ("Trade-offs", _trade_offs(table)),
        ("One row, every method", [_one_row(evaluation, target, row)]),
        ("More rows", [_more_rows(evaluation, target, cards)]),
    ]


def _mean_and_error(table: pd.DataFrame, method: Any, name: str) -> str:
    mean, error = table.loc[method, name], table.loc[method, f"{name}_se"]
    if pd.isna(mean):
        return "–"
    return f"{mean:.3f} ± {error:.3f}"


def _trade_offs(table: pd.DataFrame) -> list[Block]:
    pairs = [
        ("proximity_l1", "validity"),
        ("proximity_l1", "proximity_score"),
        ("sparsity", "neighbour_share"),
    ]
    blocks: list[Block] = []
    for across, up in pairs:
        if across in table.columns and up in table.columns:
            series = {
                str(method): ([float(line[across])], [float(line[up])]) for method, line in table.iterrows()
            }
            title = f"{MEASURES[up][:-2].capitalize()} against {MEASURES[across][:-2]}"
            blocks.append(Curves(title, MEASURES[across], MEASURES[up], series))
    return blocks


def _described(before: pd.Series, target: str) -> str:
    return f"row {before.name}: " + ", ".join(f"{name} {_shown(value)}" for name, value in before.items())


def _one_row(evaluation: Evaluation, target: str, row: int) -> Block:
    row = min(row, len(evaluation.rows) - 1)
    before = evaluation.rows.iloc[row]
    items = [
        (method, changes_in_words(before, answer.iloc[row]))
        for method, answer in evaluation.explained.items()
    ]
    return Samples(f"To change {target} of {_described(before, target)}", items)


def _more_rows(evaluation: Evaluation, target: str, cards: int) -> Block:
    method, answer = next(iter(evaluation.explained.items()))
    items = [
        (
            _described(evaluation.rows.iloc[place], target),
            changes_in_words(evaluation.rows.iloc[place], answer.iloc[place]),
        )
        for place in range(min(cards, len(answer)))
    ]
    return Samples(f"By {method}", items)
