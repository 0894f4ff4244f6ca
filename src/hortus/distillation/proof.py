"""What a student keeps and what it wins: teacher and student finetuned alike, measured side by side.

    kept        student's score / teacher's score
    gain kept   (student - fresh) / (teacher - fresh), fresh: the teacher's shape finetuned from new weights

Averages are given over all tasks and without saturated ones, on which the teacher is within two standard
errors of the largest class or of a full score: those say nothing of a student (WNLI in the paper's table).
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hortus.device import EnergyMeter
from hortus.distillation.proof_config import ProofConfig
from hortus.language import LanguageModel
from hortus.models import build_network, family, save_network
from hortus.objectives.finetune import finetune
from hortus.objectives.finetune_config import FinetuneConfig
from hortus.report import Block, Table

__all__ = ["ModelFigures", "Proof", "TaskScores", "accuracy", "finetuned", "measure_model", "prove"]


@dataclass(frozen=True)
class ModelFigures:
    """Size and speed of one model. Milliseconds a batch, by texts at once; kWh for 1,000 texts."""

    parameters: int
    disk_bytes: int
    milliseconds: dict[int, float]
    energy_kwh: float


@dataclass(frozen=True)
class TaskScores:
    """Test accuracies of one task, by model and in the order of the seeds."""

    task: str
    largest_class: float
    num_rows: int
    scores: Mapping[str, Sequence[float]]

    def mean(self, model: str) -> float:
        """Over the seeds."""
        return statistics.fmean(self.scores[model])

    @property
    def saturated(self) -> bool:
        """Whether the teacher is within two standard errors of the largest class or of 1."""
        score = self.mean("teacher")
        error = (max(score * (1 - score), 1 / self.num_rows) / self.num_rows) ** 0.5
        return score < self.largest_class + 2 * error or score > 1 - 2 * error


@dataclass(frozen=True)
class Proof:
    """Figures by model and scores by task."""

    models: Mapping[str, ModelFigures]
    tasks: Sequence[TaskScores]

    def averages(self, saturated: bool = True) -> dict[str, float]:
        """Mean score of each model over the tasks; `kept` and, with fresh weights, `gain kept`.

        Args:
            saturated: False leaves saturated tasks out; the result is empty where no other is left.
        """
        tasks = [task for task in self.tasks if saturated or not task.saturated]
        if not tasks:
            return {}
        means = {name: statistics.fmean(task.mean(name) for task in tasks) for name in tasks[0].scores}
        means["kept"] = means["student"] / means["teacher"]
        if "fresh" in means and means["teacher"] != means["fresh"]:
            gain = means["teacher"] - means["fresh"]
            means["gain kept"] = (means["student"] - means["fresh"]) / gain
        return means

    def rows(self) -> list[dict[str, Any]]:
        """The quality table: tasks, then averages with and without saturated tasks."""
        rows = []
        for task in self.tasks:
            row: dict[str, Any] = {"task": task.task + (" (saturated)" if task.saturated else "")}
            row |= {"largest class": task.largest_class}
            for name, scores in task.scores.items():
                row |= {name: task.mean(name), f"± {name}": statistics.pstdev(scores)}
            row["kept"] = task.mean("student") / task.mean("teacher")
            rows.append(row)
        for title, whole in (("average", True), ("average, none saturated", False)):
            if means := self.averages(whole):
                rows.append({"task": title} | {name: means.get(name) for name in rows[0] if name != "task"})
        return rows

    def numbers(self) -> dict[str, Any]:
        """The essentials as plain values."""
        teacher, student = self.models["teacher"], self.models["student"]
        speed = {
            f"speed at batch {size}": teacher.milliseconds[size] / student.milliseconds[size]
            for size in teacher.milliseconds
        }
        return self.averages() | {"size": student.parameters / teacher.parameters} | speed

    def blocks(self) -> list[Block]:
        """For the report."""
        sizes = list(next(iter(self.models.values())).milliseconds)
        columns = ["model", "parameters", "bytes on disk", *(f"ms at batch {size}" for size in sizes)]
        figures = [
            [name, one.parameters, one.disk_bytes, *one.milliseconds.values(), one.energy_kwh]
            for name, one in self.models.items()
        ]
        rows = self.rows()
        return [
            Table("Size and speed", [*columns, "kWh for 1,000 texts (estimate)"], figures),
            Table("Test accuracy", list(rows[0]), [list(row.values()) for row in rows]),
            Table("Kept", ["what", "value"], [[name, value] for name, value in self.numbers().items()]),
        ]


def prove(
    teacher: Path,
    student: Path,
    tasks: Path,
    folder: Path,
    config: ProofConfig,
    say: Callable[[str], None] = lambda line: None,
) -> Proof:
    """Finetune teacher, student and fresh weights on every task with every seed, and time the first two.

    Args:
        tasks: a folder as the recipe stage `labelled` leaves it.
        folder: where the finetuned models go: TASK/MODEL-SEED.

    Raises:
        DataError: rows that do not fit.
    """
    names = json.loads((tasks / "tasks.json").read_text(encoding="utf-8"))
    scores: dict[str, dict[str, list[float]]] = {task: {} for task in names}
    for task in names:
        for seed in config.seeds:
            starts = {"teacher": teacher, "student": student}
            if config.fresh:
                starts["fresh"] = _fresh(teacher, folder / "fresh", seed)
            for name, start in starts.items():
                place = folder / task / f"{name}-{seed}"
                score = finetuned(start, tasks / task, place, config, seed)
                scores[task].setdefault(name, []).append(score)
                say(f"{task}, seed {seed}, {name}: {score:.4f}")
    models = {
        name: measure_model(folder / names[0] / f"{name}-{config.seeds[0]}", config)
        for name in ("teacher", "student")
    }
    results = []
    for task in names:
        rows = _labels(tasks / task / "test.jsonl")
        largest = max(rows.count(label) for label in set(rows)) / len(rows)
        results.append(TaskScores(task, largest, len(rows), scores[task]))
    return Proof(models, results)


def finetuned(start: Path, task: Path, folder: Path, config: ProofConfig, seed: int) -> float:
    """Finetune on TASK/train.jsonl, keep the model in the folder, give its accuracy on TASK/test.jsonl."""
    given = {field.name: getattr(config, field.name) for field in dataclasses.fields(FinetuneConfig)}
    settings = FinetuneConfig(**given | {"seed": seed})
    shutil.rmtree(folder / "work", ignore_errors=True)
    finetune(start, "classify", task / "train.jsonl", folder / "work", settings)
    (folder / "work" / "model").replace(_emptied(folder / "model"))
    shutil.rmtree(folder / "work")
    return accuracy(LanguageModel.load(folder / "model", device="cpu"), task / "test.jsonl")


def _emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def _fresh(teacher: Path, folder: Path, seed: int) -> Path:
    """The teacher's shape with weights drawn by the seed."""
    model = LanguageModel.load(teacher, device="cpu", dtype="float32")
    torch.manual_seed(seed)
    written = family(model.network.model_type).write_config(model.network.config)
    save_network(build_network(written), folder, model.card, extra=model.tokenizer.save)
    return folder


def accuracy(model: LanguageModel, rows: Path) -> float:
    """Share of a file's texts whose label the model finds; texts that are too long are cut."""
    with rows.open(encoding="utf-8") as file:
        read = [json.loads(line) for line in file]
    found = model.classify([row["text"] for row in read], truncate=True, progress=False)
    return sum(one.label == row["label"] for one, row in zip(found, read, strict=True)) / len(read)


def _labels(path: Path) -> list[str]:
    with path.open(encoding="utf-8") as file:
        return [json.loads(line)["label"] for line in file]


@torch.inference_mode()
def measure_model(folder: Path, config: ProofConfig) -> ModelFigures:
    """Parameters, bytes on disk, latency and energy of a classifier in `folder`/model."""
    model = LanguageModel.load(folder / "model", device="cpu", dtype="float32")
    network: Any = model.network
    tokens = min(config.latency_tokens, network.config.max_positions)
    milliseconds, energy = {}, 0.0
    for size in config.latency_batches:
        ids, taken, meter = torch.randint(network.config.vocab_size, (size, tokens)), [], EnergyMeter()
        network(ids)
        meter.start()
        for _ in range(config.latency_repeats):
            began = time.perf_counter()
            network(ids)
            taken.append(time.perf_counter() - began)
        energy = meter.stop() / (size * config.latency_repeats) * 1000  # of the last size
        milliseconds[size] = 1000 * statistics.median(taken)
    return ModelFigures(
        sum(parameter.numel() for parameter in network.parameters()),
        (folder / "model" / "model.safetensors").stat().st_size,
        milliseconds,
        energy,
    )
