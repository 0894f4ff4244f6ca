"""What a Monte Carlo study says: tables and figures for its report, and the strengths that recommendations
use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from hortus.report import Block, Curves, Table
from hortus.topics.config import SimulateConfig
from hortus.topics.criteria import CRITERIA

__all__ = ["strengths", "study_blocks"]


def strengths(config: SimulateConfig, summary: pd.DataFrame) -> dict[str, Any]:
    """The summary in the form that `hortus.topics.recommendation` reads."""
    settings = []
    for (true, documents, _), cell in summary.groupby(
        ["num_topics", "documents", "length_factor"], sort=False
    ):
        criteria = {
            row["criterion"]: {
                name: round(float(row[name]), 4) for name in ("mean", "spread", "bias", "error")
            }
            for _, row in cell.iterrows()
            if row["criterion"] in CRITERIA
        }
        settings.append(
            {
                "documents": int(documents),
                "words": round(float(cell["words"].iloc[0])),
                "mean_length": round(float(cell["mean_length"].iloc[0]), 1),
                "true_topics": int(true),
                "replications": int(cell["replications"].iloc[0]),
                "criteria": criteria,
            }
        )
    truth = "Dirichlet draws" if config.truth.folder is None else config.truth.folder.name
    numbers = config.select.numbers
    study = (
        f"truth: {truth}; candidates {', '.join(map(str, numbers))}; {config.select.restarts} restarts of "
        f"{config.select.model.num_sweeps} sweeps"
    )
    return {"study": study, "settings": settings}


def study_blocks(
    config: SimulateConfig, summary: pd.DataFrame, results: Sequence[dict[str, Any]]
) -> list[tuple[str, list[Block]]]:
    """Sections: chosen numbers of topics, recovery, curves, convergence."""
    recovered = [name for name in summary.columns if name.startswith("recovered_")]
    settings = list(summary.groupby(["num_topics", "documents", "length_factor"], sort=False))
    choices: list[Block] = []
    recovery: list[Block] = []
    for (true, documents, factor), cell in settings:
        length = cell["mean_length"].iloc[0]
        title = f"{true} true topics, {documents} documents of {length:.0f} tokens (length x {factor:g})"
        columns = ["mean", "spread", "bias", "error"]
        choices.append(_table(title, cell[cell["criterion"] != "true K"], columns))
        recovery.append(_table(title, cell, ["mean", *recovered]))
    return [
        ("Chosen number of topics", choices),
        ("Share of the true topics found again", recovery),
        ("Mean curves", _curves(results)),
        ("Convergence", [_convergence(results)]),
    ]


def _table(title: str, cell: pd.DataFrame, columns: Sequence[str]) -> Table:
    rows = [
        [row["criterion"], *(round(float(row[name]), 3) for name in columns)] for _, row in cell.iterrows()
    ]
    return Table(title, ["criterion", *(name.replace("_", " ") for name in columns)], rows)


def _curves(results: Sequence[dict[str, Any]]) -> list[Block]:
    """Each criterion's mean over replications, scaled to [0, 1] within its setting, one line a setting."""
    blocks: list[Block] = []
    for name in [name for name in results[0]["table"]["columns"] if name in CRITERIA]:
        series: dict[str, tuple[Sequence[float], Sequence[float]]] = {}
        for label, group in _by_setting(results).items():
            place = group[0]["table"]["columns"].index(name)
            rows = [[row[place] for row in result["table"]["data"]] for result in group]
            mean = np.mean(np.array(rows, dtype=float), axis=0)
            finite = np.isfinite(mean)
            if not finite.any():
                continue
            low, high = mean[finite].min(), mean[finite].max()
            scaled = (mean[finite] - low) / (high - low or 1.0)
            numbers = np.array(group[0]["table"]["index"])[finite]
            series[label] = (numbers.tolist(), scaled.tolist())
        direction = "largest" if CRITERIA[name].largest else "smallest"
        blocks.append(
            Curves(f"{CRITERIA[name].title} (picks the {direction})", "topics", "scaled to 0..1", series)
        )
    return blocks


def _convergence(results: Sequence[dict[str, Any]]) -> Block:
    """Mean over a setting's fits of (log-likelihood - its last value) / tokens, in nats."""
    series: dict[str, tuple[Sequence[float], Sequence[float]]] = {}
    for label, group in _by_setting(results).items():
        gaps = []
        for result in group:
            for trace in result["traces"].values():
                values = np.array([value for _, value in trace])
                gaps.append((values - values[-1]) / result["tokens"])
        sweeps = [sweep for sweep, _ in next(iter(group[0]["traces"].values()))]
        if len({len(gap) for gap in gaps}) == 1:
            series[label] = (sweeps, np.mean(gaps, axis=0).tolist())
    return Curves("Log-likelihood per token below its last value", "sweep", "nats", series)


def _by_setting(results: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        cell = result["setting"]
        label = f"K {cell['num_topics']}, D {cell['documents']}, length x {cell['length_factor']:g}"
        groups.setdefault(label, []).append(result)
    return groups
