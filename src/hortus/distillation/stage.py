"""The recipe stages `distill`, `proof`, `on_device` and `ablation`.

distill     FOLDER/model: a student of the recipe's encoder, or of the model of its stage `pretrain`
proof       FOLDER/TASK/MODEL-SEED/model: teacher, student and fresh weights, finetuned
on_device   FOLDER/page: both in a browser
ablation    FOLDER/VARIANT/model: one student for each variant of the loss and the initialisation
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from hortus.distillation.config import DistillationConfig
from hortus.distillation.distilling import distill
from hortus.distillation.on_device import study
from hortus.distillation.proof import finetuned, prove
from hortus.distillation.proof_config import AblationConfig, OnDeviceConfig, ProofConfig
from hortus.errors import ConfigError, DeviceError, nearest
from hortus.recipe import Stage, StageContext, StageResult
from hortus.report import Block, Curves, Table, Text

__all__ = ["ABLATION", "DISTILL", "ON_DEVICE", "PROOF"]


def _teacher(context: StageContext) -> tuple[Path, Path]:
    """The teacher's folder and the data that go with it.

    Raises:
        ConfigError: the recipe trains neither.
    """
    if "encoder" in context.inputs:
        return context.inputs["encoder"] / "model", context.inputs["encoder"] / "texts.jsonl"
    if "pretrain" in context.inputs:
        return context.inputs["pretrain"] / "model", context.inputs["shards"]
    raise ConfigError("no teacher", allowed="a stage `encoder`, or `pretrain`, before this one")


def run_distill(config: DistillationConfig, context: StageContext) -> StageResult:
    """Distil the recipe's model on the texts that it was pretrained on."""
    teacher, data = _teacher(context)
    began = time.process_time()
    result = distill(teacher, data, context.folder, config, resume=context.resume)
    training = result.training
    best = training.best or {}
    numbers = {
        "teacher_parameters": result.teacher_parameters,
        "student_parameters": result.student_parameters,
        "steps": training.steps,
        **{name: best.get(f"validation_{name}") for name in ("soft", "hard", "cosine")},
        "cpu_minutes": (time.process_time() - began) / 60,
        "model": str(result.model),
    }
    stopped = f"stopped by {training.stopped} at step {training.steps}" if training.interrupted else None
    blocks: list[Block] = [
        Table("The student", ["what", "value"], [[name, value] for name, value in numbers.items()])
    ]
    for name in ("soft", "hard", "cosine"):
        points = [(r["step"], r[name]) for r in training.history if r.get(name) is not None]
        if points:
            series = {name: ([step for step, _ in points], [value for _, value in points])}
            blocks.append(Curves(f"{name.capitalize()} loss", "step", "a token", series))
    return StageResult(numbers, blocks, stopped)


def run_proof(config: ProofConfig, context: StageContext) -> StageResult:
    """Finetune teacher and student on the labelled tasks."""
    began = time.process_time()
    proof = prove(
        _teacher(context)[0],
        context.inputs["distill"] / "model",
        context.inputs["labelled"],
        context.folder,
        config,
        _say,
    )
    numbers = proof.numbers() | {"test accuracy": proof.rows()}
    return StageResult(numbers | {"cpu_minutes": (time.process_time() - began) / 60}, proof.blocks())


def run_ablation(config: AblationConfig, context: StageContext) -> StageResult:
    """Distil and finetune one student for each variant."""
    teacher, data = _teacher(context)
    tasks = json.loads((context.inputs["labelled"] / "tasks.json").read_text(encoding="utf-8"))
    task = config.scored_on or tasks[0]
    if task not in tasks:
        raise ConfigError(f"scored_on={task!r} is no task", do=nearest(task, tasks))
    rows: list[dict[str, Any]] = []
    for name in config.variants:
        began = time.process_time()
        folder = context.folder / name.replace(" ", "-")
        shutil.rmtree(folder, ignore_errors=True)
        best = distill(teacher, data, folder, config.variant(name)).training.best or {}
        seeds = config.finetuning.seeds
        place = context.inputs["labelled"] / task
        scores = [
            finetuned(folder / "model", place, folder / task, config.finetuning, seed) for seed in seeds
        ]
        rows.append(
            {
                "variant": name,
                "held-out loss at hidden words": best.get("validation_hard"),
                "held-out KL": best.get("validation_soft"),
                f"accuracy, {task}": sum(scores) / len(scores),
                "cpu minutes": (time.process_time() - began) / 60,
            }
        )
        _say(json.dumps(rows[-1]))
    for row in rows:
        row["difference"] = row[f"accuracy, {task}"] - rows[0][f"accuracy, {task}"]
    table = Table("Ablation", list(rows[0]), [list(row.values()) for row in rows])
    return StageResult({"ablation": rows}, [table])


def run_on_device(config: OnDeviceConfig, context: StageContext) -> StageResult:
    """Write the page of the proof's first finetuned pair and measure it."""
    tasks, proof = context.inputs["labelled"], context.inputs["proof"]
    names = json.loads((tasks / "tasks.json").read_text(encoding="utf-8"))
    task = config.task or names[0]
    if task not in names:
        raise ConfigError(f"task={task!r} is none of the proof's", do=nearest(task, names))
    pair = [sorted((proof / task).glob(f"{name}-*"))[0] / "model" for name in ("teacher", "student")]
    with (tasks / task / "test.jsonl").open(encoding="utf-8") as file:
        texts = [json.loads(line)["text"] for line, _ in zip(file, range(50), strict=False)]
    try:
        table, lacking = study(pair[0], pair[1], context.folder / "page", config.runtime, texts)
    except DeviceError as error:  # a package that is not here is no reason to lose the report
        return StageResult({"page": None}, [Text("On device", f"Not made: {error}")])
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    blocks: list[Block] = [table, *([Text("In a browser", lacking)] if lacking else [])]
    return StageResult({"page": str(context.folder / "page"), "on device": rows}, blocks)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


DISTILL = Stage(DistillationConfig, run_distill, uses=("encoder", "pretrain", "shards"))
PROOF = Stage(ProofConfig, run_proof, needs=("labelled", "distill"), uses=("encoder", "pretrain", "shards"))
ON_DEVICE = Stage(OnDeviceConfig, run_on_device, needs=("labelled", "proof"))
ABLATION = Stage(AblationConfig, run_ablation, needs=("labelled", "encoder"))
