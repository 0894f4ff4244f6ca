"""`hortus counterfactual`: fit a self-explaining predictor, explain rows, compare methods."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import cyclopts
from cyclopts import Parameter

from hortus.counterfactual.config import METHODS
from hortus.errors import ConfigError, DataError, nearest

__all__ = ["app", "evaluate", "explain", "fit"]

app = cyclopts.App(
    name="counterfactual", help="Predict tables, and say for each row what would change its prediction."
)
Names = Annotated[list[str] | None, Parameter(consume_multiple=True, negative=())]
Flag = Annotated[bool, Parameter(negative=())]


@app.command
def fit(
    *,
    data: str,
    target: str,
    output: Path,
    immutable: Names = None,
    task: str = "auto",
    preset: str = "default",
    epochs: int | None = None,
    seed: int = 0,
    json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> None:
    """Train a VCNet on a CSV file and write it as a folder.

    Parameters
    ----------
    data
        CSV file with a header line, or breast-cancer, the table that scikit-learn brings.
    target
        Column to predict.
    output
        Folder of the model.
    immutable
        Columns that can never change.
    task
        classification, regression, or auto: more than 20 different numbers are regression.
    preset
        Hyper-parameters: default, adult, compas, give_me_some_credit, demo.
    epochs
        Passes over the table (default: the preset's).
    seed
        Seed of training.
    json
        Print one JSON object.
    """
    from hortus.artifact import ModelCard
    from hortus.counterfactual.stage import read_table
    from hortus.counterfactual.vcnet import VCNet, VCNetRegressor

    table, y = _split_target(read_table(data), target)
    kind = VCNetRegressor if _is_regression(task, y) else VCNet
    model = kind(
        preset=preset, immutable=tuple(immutable or ()), epochs=epochs, random_state=seed, verbose=True
    )
    model.fit(table, y)
    model.card = ModelCard(
        name=f"{kind.__name__} for {target}",
        kind=model.kind,
        data=f"{Path(data).name}: {len(table)} rows, {table.shape[1]} columns.",
        **model.training_.footprint,
    )
    model.save(output)
    columns = model.columns_
    if json:
        found = {"model": str(output), "rows": len(table), "columns": columns.to_dict("records")}
        _print_json(found | {"training_score": float(model.score(table, y))})
        return
    print(columns.to_string(index=False))
    print(f"score on the training rows: {model.score(table, y):.3f}")
    print(f"next: hortus counterfactual explain {output} --data {data} --output counterfactuals.csv")


@app.command
def explain(
    model: Path,
    *,
    data: str,
    output: Path | None = None,
    target: str | None = None,
    immutable: Names = None,
    bounds: Names = None,
    direction: Names = None,
    n: int = 1,
    sample: Flag = False,
    json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> None:
    """Write for every row of a CSV file what would change its prediction.

    Parameters
    ----------
    model
        Folder of `hortus counterfactual fit`.
    data
        CSV file with the model's columns, in any order; others are an error, but for the target's.
    output
        CSV file to write (default: to stdout).
    target
        Class wanted (default: the most probable other), or for regression a value or a range LOW:HIGH.
    immutable
        Columns that keep their value, besides those fixed in training.
    bounds
        NAME=LOW:HIGH for numbers (either end may be empty), NAME=A|B|C for categories.
    direction
        NAME=increase or NAME=decrease.
    n
        Different counterfactuals for each row.
    sample
        Draw them, for variety.
    json
        Print counts as one JSON object (needs --output).
    """
    import hortus
    from hortus.artifact import replacing_file
    from hortus.counterfactual.stage import read_table

    if json and output is None:
        raise ConfigError("--json without --output", do="give --output, the file for the rows")
    fitted = hortus.load(str(model))
    if getattr(fitted, "kind", "") != "vcnet":
        raise ConfigError(f"{model} is no VCNet", do="give a folder of hortus counterfactual fit")
    frame = read_table(data)
    # A file with the target still in it is the usual case.
    frame = (
        frame[[name for name in frame.columns if name in fitted.encoder_.names]]
        if _has_extra(frame, fitted)
        else frame
    )
    answer = fitted.explain(
        frame,
        target=_read_target(target, fitted),
        immutable=tuple(immutable or ()),
        bounds=_read_bounds(bounds or [], fitted),
        direction=dict(_pair(item, "direction") for item in direction or []),
        n=n,
        sample=sample,
    )
    if output is None:
        answer.to_csv(sys.stdout)
        return
    with replacing_file(output) as temporary:
        answer.to_csv(temporary)
    valid = int(answer["hortus_valid"].sum())
    if json:
        _print_json({"output": str(output), "rows": len(answer), "valid": valid})
    else:
        print(f"{output}: {len(answer)} rows, {valid} with a counterfactual")


@app.command
def evaluate(
    *,
    data: str,
    target: str,
    methods: Names = None,
    immutable: Names = None,
    splits: int = 5,
    rows: int = 200,
    row: int = 0,
    preset: str = "default",
    epochs: int | None = None,
    seed: int = 0,
    output: Path | None = None,
    json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> None:
    """Compare methods by cross-validation; print the table and write a report page.

    Parameters
    ----------
    data
        CSV file with a header line, or breast-cancer.
    target
        Column of classes to predict.
    methods
        Of vcnet, posthoc, counternet, gradient, nearest, dice (which needs the package dice-ml).
    immutable
        Columns that can never change.
    splits
        Parts of the cross-validation.
    rows
        At most so many held-out rows are explained in each.
    row
        Position of the row that the report shows by every method.
    preset
        Hyper-parameters.
    epochs
        Passes over the table (default: the preset's).
    seed
        Seed of splits and training.
    output
        Folder for report.html and results.csv.
    json
        Print one JSON object.
    """
    from hortus.artifact import replacing_file
    from hortus.counterfactual.cards import MEASURES, report_blocks
    from hortus.counterfactual.comparison import evaluate as compare
    from hortus.counterfactual.stage import read_table
    from hortus.device import describe_machine
    from hortus.report import write_report

    chosen = tuple(methods or ("vcnet", "posthoc", "counternet", "gradient", "nearest"))
    for method in chosen:
        if method not in METHODS:
            raise ConfigError(f"--methods {method!r} is not known", do=nearest(method, METHODS))
    frame = read_table(data)
    evaluation = compare(
        frame,
        target,
        chosen,
        immutable=tuple(immutable or ()),
        splits=splits,
        rows=rows,
        seed=seed,
        options={"preset": preset, "epochs": epochs},
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )
    if output is not None:
        with replacing_file(output / "results.csv") as temporary:
            evaluation.splits.to_csv(temporary, index=False)
        sections = report_blocks(evaluation, target, row=row)
        write_report(output / "report.html", f"Counterfactuals for {target}", sections, describe_machine())
    if json:
        table = {str(method): _numbers(line) for method, line in evaluation.table.iterrows()}
        _print_json({"methods": table, "report": str(output / "report.html") if output else None})
        return
    shown = evaluation.table[[name for name in MEASURES if name in evaluation.table.columns]]
    print(shown.T.round(3).to_string())
    if output is not None:
        print(f"report: {output / 'report.html'}")


def _split_target(frame: Any, target: str) -> tuple[Any, Any]:
    if target not in frame.columns:
        raise DataError(f"--target {target!r} is no column", do=nearest(target, map(str, frame.columns)))
    return frame.drop(columns=target), frame[target]


def _is_regression(task: str, y: Any) -> bool:
    if task not in ("auto", "classification", "regression"):
        raise ConfigError(f"--task {task!r}", allowed="auto, classification, regression")
    if task != "auto":
        return task == "regression"
    return y.dtype.kind in "iuf" and y.nunique() > 20


def _has_extra(frame: Any, fitted: Any) -> bool:
    """Whether the file holds the model's columns and exactly one more: the target."""
    extra = [name for name in frame.columns if name not in fitted.encoder_.names]
    return len(extra) == 1


def _read_target(text: str | None, fitted: Any) -> Any:
    if text is None:
        return None
    if hasattr(fitted, "classes_"):
        label = next((label for label in fitted.classes_.tolist() if str(label) == text), None)
        if label is None:
            known = nearest(text, map(str, fitted.classes_))
            raise ConfigError(f"--target {text!r} is no class of the model", do=known)
        return label
    low, mark, high = text.partition(":")
    if not mark:
        return _number(text, "--target")
    return (_open_number(low, "--target"), _open_number(high, "--target"))


def _pair(item: str, flag: str) -> tuple[str, str]:
    name, mark, value = item.partition("=")
    if not mark or not name:
        raise ConfigError(f"--{flag} {item!r}", allowed="NAME=VALUE")
    return name, value


def _read_bounds(items: list[str], fitted: Any) -> dict[str, Any]:
    categories = {column.name: column.categories for column in fitted.encoder_.categories}
    bounds: dict[str, Any] = {}
    for item in items:
        name, value = _pair(item, "bounds")
        if name in categories:
            by_text = {str(category): category for category in categories[name]}
            bounds[name] = [by_text.get(part, part) for part in value.split("|")]
        else:
            low, mark, high = value.partition(":")
            if not mark:
                raise ConfigError(f"--bounds {item!r}", allowed="NAME=LOW:HIGH, either end may be empty")
            bounds[name] = (_open_number(low, "--bounds"), _open_number(high, "--bounds"))
    return bounds


def _open_number(text: str, flag: str) -> float | None:
    return _number(text, flag) if text else None


def _number(text: str, flag: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ConfigError(f"{flag} {text!r} is no number", allowed="a number, or LOW:HIGH") from error


def _numbers(line: Any) -> dict[str, float | None]:
    return {str(name): None if value != value else float(value) for name, value in line.items()}


def _print_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False))
