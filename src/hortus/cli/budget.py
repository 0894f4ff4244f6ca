"""`hortus budget`: plan a run from a budget, fit scaling laws, run ablation grids."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import cyclopts
from cyclopts import Parameter

from hortus.budget.config import FitConfig, PlanConfig

if TYPE_CHECKING:
    from hortus.budget.fitting import Fit
    from hortus.budget.planning import Plan

__all__ = ["app", "fit", "plan"]

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


@app.command
def fit(
    runs: Annotated[list[Path], Parameter(negative=())],
    /,
    *,
    config: Annotated[FitConfig | None, Parameter(name="*")] = None,
    output: Path | None = None,
    json: Json = False,
) -> int:
    """Fit a scaling law to finished runs: constants and the best size by budget, with intervals.

    Parameters
    ----------
    runs
        Folders of runs (what hortus pretrain or a recipe wrote), or .csv and .jsonl tables with the columns
        parameters, tokens, loss and, where several rows are one run, run.
    config
        How it is fitted, and what is predicted.
    output
        Folder for law.json, which `hortus budget plan --law` reads, and fit.html.
    json
        Print one JSON object.
    """
    from hortus.budget.fitting import fit_runs
    from hortus.budget.runs import read_runs

    settings = config if config is not None else FitConfig()
    fitted = fit_runs(read_runs(runs, settings.loss), settings)
    if output is not None:
        _write_fit(fitted, output)
    if json:
        print(json_format.dumps(_plain_fit(fitted)))
    else:
        _print_fit(fitted, output)
    return 0


def _plain_fit(fitted: Fit) -> dict[str, Any]:
    found = fitted.to_json()
    if fitted.config.extrapolate is not None:
        found["prediction"] = vars(fitted.predict(fitted.config.extrapolate))
    return found


def _write_fit(fitted: Fit, folder: Path) -> None:
    import time

    from hortus.artifact import write_json
    from hortus.budget.fit_page import fit_sections
    from hortus.report import write_report

    write_json(folder / "law.json", _plain_fit(fitted))
    environment = {"runs": len(fitted.runs), "written": time.strftime("%Y-%m-%d %H:%M %Z")}
    write_report(folder / "fit.html", "A scaling law", fit_sections(fitted), environment)


def _print_fit(fitted: Fit, output: Path | None) -> None:
    from hortus.budget.fit_page import allocation_rows, constant_rows, prediction_rows

    share = f"{fitted.config.confidence:.0%}"
    print(f"loss = E + A/N^alpha + B/D^beta, {fitted.law.origin}; {share} intervals")
    for name, value, low, high in constant_rows(fitted):
        print(f"{name:10s} {value:10.4g}   {low:.4g} to {high:.4g}")
    for name, *numbers in allocation_rows(fitted):
        shown = (
            "not shown by these runs"
            if numbers[0] is None
            else "{:10.3f}   {:.3f} to {:.3f}".format(*numbers)
        )
        print(f"N ~ C^a by {name:10s} {shown}")
    if fitted.config.extrapolate is not None:
        predicted = fitted.predict(fitted.config.extrapolate)
        for name, value, low, high in prediction_rows(predicted):
            print(f"{name:10s} {value:10.4g}   {low:.4g} to {high:.4g}")
        if predicted.warning:
            print(f"careful: {predicted.warning}")
    if output is not None:
        print(f"page: {output / 'fit.html'}")
        print(f"next: hortus budget plan --gpu-hours HOURS --law {output / 'law.json'}")


@app.command
def ablate(
    recipe: Path,
    *,
    set: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    processes: int | None = None,
    address: str | None = None,
    resume: Annotated[bool, Parameter(negative=())] = False,
    json: Json = False,
) -> int:
    """Train a grid of small decoders on an equal budget and say what each factor does.

    Parameters
    ----------
    recipe
        A recipe with a stage `ablate`, such as recipes/ablations.yaml.
    set
        Replace a setting, e.g. --set ablate.training.steps=200 (again for more).
    processes
        Models trained at a time on this machine.
    address
        Ray cluster to train on instead.
    resume
        Go on after an interruption: finished models are kept, a broken-off one goes on.
    json
        Print one JSON object.
    """
    from hortus.budget.ablation_run import run_ablation

    result = run_ablation(recipe, set, processes=processes, address=address, resume=resume)
    if json:
        print(json_format.dumps(result))
    else:
        _print_ablation(result)
    return 0


def _print_ablation(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for title in ("levels", "settings by score"):
        table = Table(*map(str, result[title][0]), title=title)
        for row in result[title]:
            table.add_row(*(f"{v:.4f}" if isinstance(v, float) else str(v or "") for v in row.values()))
        console.print(table)
    for line in result["verdicts"]:
        print(f"{line}\n")
    print(f"report: {result['report']}")
