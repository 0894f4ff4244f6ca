"""Finished runs as points of a scaling law: parameters, tokens and loss along the training.

A run is a folder somewhere under the given ones with `metrics.jsonl` (the Trainer's) and `scale.json` (what
pretraining writes beside it: parameters, tokens of a sample). A table is a .csv or .jsonl file with the
columns parameters, tokens, loss and, where several rows are one run, run.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hortus.artifact import read_json
from hortus.errors import DataError

__all__ = ["Run", "read_runs"]


@dataclass(frozen=True)
class Run:
    """One training: its size and its loss after so many tokens, ascending."""

    name: str
    parameters: float
    tokens: tuple[float, ...]
    losses: tuple[float, ...]

    @property
    def flops(self) -> tuple[float, ...]:
        """C = 6·N·D at each point."""
        return tuple(6 * self.parameters * tokens for tokens in self.tokens)


def read_runs(paths: Sequence[Path], loss: str = "validation_loss") -> list[Run]:
    """All runs in folders and tables.

    Args:
        loss: name of the loss in the records; a run that has none of it gives its training loss.

    Raises:
        DataError: a path is missing, or nothing in it can be read as a run.
    """
    runs: list[Run] = []
    for path in paths:
        found = _of_table(path) if path.is_file() else list(_of_folder(path, loss))
        if not found:
            raise DataError(
                f"{path} holds no run",
                allowed="folders with metrics.jsonl beside scale.json; .csv or .jsonl tables",
                do="train with hortus pretrain or a recipe's pretrain stage",
            )
        runs += found
    return runs


def _of_folder(folder: Path, loss: str) -> Iterable[Run]:
    if not folder.is_dir():
        raise DataError(f"{folder} does not exist", do="check the path")
    for scale_file in sorted(folder.rglob("scale.json")):
        scale = read_json(scale_file)
        records = _json_lines(scale_file.with_name("metrics.jsonl"))
        name = loss if any(record.get(loss) is not None for record in records) else "loss"
        points = {
            record["samples"] * scale["tokens_per_sample"]: record[name]
            for record in records
            if record.get(name) is not None and record["samples"]
        }
        if points:
            yield _run(str(scale_file.parent), scale["parameters"], points.items())


def _json_lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines; one that a killed run left torn is the last."""
    records = []
    for line in path.read_text("utf-8").splitlines() if path.is_file() else ():
        try:
            records.append(json.loads(line))
        except ValueError:
            break
    return records


def _run(name: str, parameters: float, points: Iterable[tuple[float, float]]) -> Run:
    tokens, losses = zip(*sorted(points), strict=True)
    return Run(name, float(parameters), tokens, losses)


def _of_table(path: Path) -> list[Run]:
    rows: Sequence[Mapping[str, Any]]
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    else:
        rows = _json_lines(path)
    grouped: dict[tuple[str, float], dict[float, float]] = {}
    for number, row in enumerate(rows, start=1):
        try:
            size, tokens, loss = (float(row[name]) for name in ("parameters", "tokens", "loss"))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{path}, row {number}: {error!r}", allowed="numbers in parameters, tokens and loss"
            ) from error
        if not all(0 < value < math.inf for value in (size, tokens, loss)):
            raise DataError(f"{path}, row {number}: {size}, {tokens}, {loss}", allowed="numbers above 0")
        grouped.setdefault((str(row.get("run") or f"row {number}"), size), {})[tokens] = loss
    return [_run(name, size, points.items()) for (name, size), points in grouped.items()]
