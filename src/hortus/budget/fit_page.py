"""A fitted law as rows for the terminal and blocks of a report."""

from __future__ import annotations

import math
from typing import Any

from hortus.budget.fitting import Fit, Prediction
from hortus.report import Block, Curves, Table, Text

__all__ = ["allocation_rows", "constant_rows", "fit_sections", "prediction_rows"]

_SYMBOLS = {
    "irreducible": "E",
    "scale_parameters": "A",
    "scale_tokens": "B",
    "exponent_parameters": "alpha",
    "exponent_tokens": "beta",
}


def constant_rows(fitted: Fit) -> list[tuple[str, float, float, float]]:
    """Symbol, value, low and high of each constant."""
    return [(symbol, getattr(fitted.law, name), *fitted.intervals[name]) for name, symbol in _SYMBOLS.items()]


def allocation_rows(fitted: Fit) -> list[list[Any]]:
    """Way, exponent, low and high."""
    return [[way, *(found or (None, None, None))] for way, found in fitted.allocations.items()]


def prediction_rows(predicted: Prediction) -> list[tuple[str, float, float, float]]:
    """What, value, low and high."""
    return [
        ("parameters", *predicted.parameters),
        ("tokens", *predicted.tokens),
        ("loss", *predicted.loss),
    ]


def fit_sections(fitted: Fit) -> list[tuple[str, list[Block]]]:
    """The page: constants, allocations, the frontier with its band, the runs."""
    edges = ["value", "low", "high"]
    ways = Table("Exponent a of N ∝ C^a", ["way", *edges], allocation_rows(fitted))
    blocks: list[Block] = [Table(fitted.law.origin, ["constant", *edges], constant_rows(fitted)), ways]
    sections: list[tuple[str, list[Block]]] = [("The law", blocks), ("The frontier", [_frontier(fitted)])]
    if fitted.config.extrapolate is not None:
        predicted = fitted.predict(fitted.config.extrapolate)
        title = f"The best model of {predicted.flops:.3g} FLOP"
        shown: list[Block] = [Table(title, ["what", *edges], prediction_rows(predicted))]
        if predicted.warning:
            shown.append(Text("", f"Careful: {predicted.warning}."))
        sections.append(("Prediction", shown))
    rows = [
        [run.name, int(run.parameters), int(run.tokens[-1]), run.losses[-1], residual]
        for run, residual in zip(fitted.runs, fitted.residuals, strict=True)
    ]
    columns = ["run", "parameters", "tokens", "loss", "residual of log loss"]
    sections.append(("Runs", [Table("", columns, rows)]))
    return sections


def _frontier(fitted: Fit) -> Curves:
    """Training curves of the largest runs, and the least loss by budget up to ten times the largest."""
    most = fitted.law.most_flops or 1.0
    least = min(run.flops[0] for run in fitted.runs)
    budgets = [least * (10 * most / least) ** (step / 30) for step in range(31)]
    bands = [fitted.predict(flops).loss for flops in budgets]
    xs = [math.log10(flops) for flops in budgets]
    series: dict[str, tuple[list[float], list[float]]] = {
        name: (xs, [band[place] for band in bands])
        for place, name in enumerate(("best by the law", "low", "high"))
    }
    for run in sorted(fitted.runs, key=lambda run: -run.flops[-1])[:5]:
        series[f"{run.parameters:.3g} parameters"] = ([math.log10(c) for c in run.flops], list(run.losses))
    return Curves("Loss by budget", "log10 of FLOP", "loss, nats a token", series)
