"""hortus run, hortus report: carry out a recipe and say what came out."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from hortus.artifact import read_config
from hortus.errors import ArtifactError
from hortus.launch import write_launch_file
from hortus.recipe import RunResult, read_recipe, read_records, run_recipe


def run(
    recipe: Path,
    *,
    set: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    resume: Annotated[bool, Parameter(negative=())] = False,
    until: str | None = None,
    launch: Literal["torchrun", "slurm"] | None = None,
    nodes: int = 1,
    processes: int = 1,
    json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> int:
    """Carry out a recipe: run every stage that is not cached and write report.html.

    Parameters
    ----------
    recipe
        The YAML file.
    set
        Replace a setting, e.g. --set training.steps=200 (again for more).
    resume
        Let an interrupted stage go on from its last good checkpoint.
    until
        The last stage to run.
    launch
        Write a file that runs the recipe on many devices instead of running it.
    nodes
        Machines, for --launch.
    processes
        Devices of each machine, for --launch.
    json
        Print one JSON object instead of the table.
    """
    if launch is not None:
        print(write_launch_file(launch, recipe, set, nodes=nodes, processes=processes))
        return 0
    result = run_recipe(read_recipe(recipe, set), resume=resume, until=until)
    if int(os.environ.get("RANK", "0")) > 0:  # the first process of a torchrun speaks for all
        return 0
    if json:
        _print_json(result)
    else:
        _print_result(result)
    return 0


def _print_json(result: RunResult) -> None:
    value = {
        "numbers": result.numbers,
        "seconds": result.seconds,
        "cached": result.cached,
        "report": str(result.report),
        "stopped": result.stopped,
    }
    print(json.dumps(value, ensure_ascii=False))


def _print_result(result: RunResult) -> None:
    console = Console()
    table = Table("stage", "seconds", "numbers")
    for name, numbers in result.numbers.items():
        seconds = "cached" if name in result.cached else f"{result.seconds[name]:.1f}"
        table.add_row(name, seconds, _one_line(numbers))
    console.print(table)
    for numbers in result.numbers.values():
        for title, rows in numbers.items():
            if isinstance(rows, list) and rows and isinstance(rows[0], dict):
                _print_rows(console, title, rows)
    print(f"report: {result.report}")
    for numbers in result.numbers.values():
        if "model" in numbers and Path(numbers["model"]).is_dir():
            print(f"next:   {_next_command(numbers['model'])}")


def _next_command(folder: str) -> str:
    """What to do with the model in that folder."""
    commands = {
        "hacnet": f"hortus affinity predict --model {folder} --protein protein.pdb --ligands poses.sdf",
        "lda": f"hortus topics report {folder}",
        "vcnet": f"hortus counterfactual explain {folder} --data rows.csv",
    }
    language = f'hortus generate {folder} "Hello"   |   hortus chat {folder}'
    return commands.get(read_config(folder)["model_type"], language)


def _print_rows(console: Console, title: str, rows: list[dict[str, Any]]) -> None:
    table = Table(*rows[0], title=title)
    for row in rows:
        table.add_row(*(f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values()))
    console.print(table)


def _one_line(numbers: Mapping[str, Any]) -> str:
    plain = {k: v for k, v in numbers.items() if isinstance(v, int | float | str)}
    return ", ".join(f"{k} {v:,.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in plain.items())


def report(folder: Path, *, json: Annotated[bool, Parameter(name="--json", negative=())] = False) -> int:
    """Print where a run stands: its finished stages, their numbers, and the report's path.

    Parameters
    ----------
    folder
        The run's folder.
    json
        Print one JSON object instead of the table.
    """
    records = read_records(folder)
    if not records:
        raise ArtifactError(f"{folder} holds no finished stage", do="run: hortus run RECIPE")
    result = RunResult(
        numbers={name: record["numbers"] for name, record in records.items()},
        seconds={name: record["seconds"] for name, record in records.items()},
        cached=(),
        report=folder / "report.html",
    )
    if json:
        _print_json(result)
    else:
        _print_result(result)
    return 0
