"""`hortus budget`: plan a run from a budget, count a shape, fit scaling laws, run ablation grids."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import cyclopts
from cyclopts import Parameter

from hortus.budget.config import PlanConfig

if TYPE_CHECKING:
    from hortus.budget.planning import Plan

__all__ = ["app", "plan"]

app = cyclopts.App(name="budget", help="Plan a run from a budget; fit scaling laws; run ablations.")

Json = Annotated[bool, Parameter(name="--json", negative=())]


@app.command
def plan(
    *,
    config: Annotated[PlanConfig, Parameter(name="*")],
    output: Path | None = None,
    show: int = 16,
    json: Json = False,
) -> int:
    """Choose size, shape and tokens of a decoder for a budget; say what it takes and why not another.

    Parameters
    ----------
    config
        The budget, the devices and the limits.
    output
        Folder for plan.html, plan.json, recipe.yaml and, for a pipeline, megatron.txt.
    show
        Candidates in the table and on the page, the nearest in size first.
    json
        Print one JSON object.
    """
    from hortus.budget.planning import plan as make

    made = make(config)
    if output is not None:
        _write(made, output, show)
    if json:
        print(json_format.dumps(_plain(made, show)))
    else:
        _print(made, output, show)
    return 0


def _plain(plan: Plan, most: int) -> dict[str, Any]:
    from hortus.budget.page import CANDIDATE_COLUMNS, candidate_row, cost_rows, warnings
    from hortus.budget.running import megatron_arguments, recipe

    shape = plan.chosen.shape
    found: dict[str, Any] = {
        "chosen": {
            "num_layers": shape.num_layers,
            "hidden_size": shape.hidden_size,
            "num_heads": shape.num_heads,
            "parameters": plan.chosen.parameters,
            "tokens": plan.chosen.tokens,
        },
        "costs": {name: value for name, value in cost_rows(plan)},
        "warnings": warnings(plan),
        "candidates": [
            dict(zip(CANDIDATE_COLUMNS, candidate_row(one), strict=True)) for one in plan.candidates[:most]
        ],
        "recipe": recipe(plan),
    }
    if plan.chosen.layout.pipeline_parallel > 1:
        found["megatron"] = megatron_arguments(plan)
    return found


def _write(plan: Plan, folder: Path, most: int) -> None:
    import time

    import yaml

    from hortus.artifact import replacing_file, write_json
    from hortus.budget.page import plan_sections
    from hortus.config import to_mapping
    from hortus.report import write_report

    found = _plain(plan, most)
    write_json(folder / "plan.json", found)
    with replacing_file(folder / "recipe.yaml") as temporary:
        temporary.write_text(yaml.safe_dump(found["recipe"], sort_keys=False), encoding="utf-8")
    if "megatron" in found:
        with replacing_file(folder / "megatron.txt") as temporary:
            temporary.write_text("\n".join(found["megatron"]) + "\n", encoding="utf-8")
    environment = {name: str(value) for name, value in to_mapping(plan.config).items() if value is not None}
    environment["written"] = time.strftime("%Y-%m-%d %H:%M %Z")
    write_report(folder / "plan.html", "A plan", plan_sections(plan, most), environment)


def _print(plan: Plan, output: Path | None, most: int) -> None:
    from hortus.budget.page import cost_rows, warnings
    from hortus.report import format_number

    for one in plan.candidates[:most]:
        size, tokens = one.parameters / 1e9, one.tokens / 1e9
        print(
            f"{one.name:20s} {size:7.4g}B {one.memory.total / 1e9:5.1f} GB {one.step_seconds:7.2f} s "
            f"{one.teraflops:6.1f} TFLOP/s {tokens:6.4g}B tokens, loss {one.loss:.3f}: {one.verdict}"
        )
    print()
    for name, value in cost_rows(plan):
        print(f"{name:36s} {format_number(value) if isinstance(value, int | float) else value}")
    for line in warnings(plan):
        print(line)
    if output is not None:
        print(f"page: {output / 'plan.html'}")
        print(f"next: hortus run {output / 'recipe.yaml'} --set corpus.sources=[YOUR_TEXT]")
