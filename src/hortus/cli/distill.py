"""hortus distill: a teacher and data in, a smaller model that answers alike out."""

from __future__ import annotations

import json as json_format
import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from hortus.distillation.config import DistillationConfig
from hortus.errors import ConfigError


def distill(
    teacher: str,
    *,
    data: Path,
    output: Path,
    validation: Path | None = None,
    report: Path | None = None,
    on_device: Path | None = None,
    resume: Annotated[bool, Parameter(negative=())] = False,
    json: Annotated[bool, Parameter(name="--json", negative=())] = False,
    config: Annotated[DistillationConfig | None, Parameter(name="*")] = None,
) -> int:
    """Make a smaller model of a larger one: fewer layers, perhaps narrower, trained to answer as it does.

    Parameters
    ----------
    teacher
        A folder or a hub id: bert, distilbert, bloom or t5.
    data
        Rows of text (jsonl, csv, tsv, parquet; with --task the task's rows), or token shards of a corpus.
    output
        Where model/ (the student), run/ and, as asked for, logits/, proof/ and report.html go.
    validation
        Rows to choose the best checkpoint by (default: a share of the data's).
    report
        A YAML file with the sections `labelled` and `proof`: finetune both models on these tasks, and print
        what was kept and what was won.
    on_device
        The folder of the npm package onnxruntime-web: with --task classify or answer also write page/, which
        runs teacher and student in a browser, and measure it.
    resume
        Go on from the last good checkpoint.
    json
        Print one JSON object.
    config
        The student, the loss and training.
    """
    from hortus.distillation import distill as train

    settings = config if config is not None else DistillationConfig()
    if on_device is not None and settings.task not in ("classify", "answer"):
        raise ConfigError(f"--on-device with task={settings.task}", allowed="--task classify or answer")
    if on_device is not None:
        from hortus.distillation.on_device import runtime_files, study

        runtime_files(on_device)  # before hours of training
    result = train(teacher, data, output, settings, validation=validation, resume=resume)
    training = result.training
    numbers: dict[str, Any] = {
        "model": str(result.model),
        "teacher_parameters": result.teacher_parameters,
        "student_parameters": result.student_parameters,
        "steps": training.steps,
        "stopped": training.stopped,
        "best": training.best,
        "seconds": training.seconds,
        "energy_kwh": training.energy_kwh,
    }
    if report is not None and not training.interrupted:
        from hortus.distillation.reporting import report_on

        numbers["report"] = report_on(teacher, result.model, report, output)
    if on_device is not None and not training.interrupted:
        from hortus.objectives.rows import read_rows

        columns = [settings.text_column] if settings.task == "classify" else ["question", "context"]
        read = [[str(row[name]) for name in columns] for row in read_rows(data, settings, columns)[:50]]
        inputs = read if settings.task == "answer" else [text for (text,) in read]
        table, lacking = study(result.teacher, result.model, output / "page", on_device, inputs)
        numbers["on_device"] = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
        if lacking:
            print(lacking, file=sys.stderr)
    if json:
        print(json_format.dumps(numbers))
        return 0
    small, large = result.student_parameters, result.teacher_parameters
    print(f"{small:,} parameters, {small / large:.0%} of the teacher's {large:,}")
    for name, value in (training.best or {}).items():
        if name.startswith("validation_"):
            print(f"{name.replace('_', ' ')}: {value:.4f}")
    for name, value in numbers.get("report", {}).get("figures", {}).items():
        print(f"{name}: {value:.4g}")
    for row in numbers.get("on_device", []):
        print(", ".join(f"{name} {value}" for name, value in row.items()))
    print(f"{training.steps} steps, ended by {training.stopped}; model: {result.model}")
    return 0
