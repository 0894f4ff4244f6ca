"""The recipe stage `zero_shot`: base and prompted models on the tasks that the mixture holds out."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hortus.artifact import read_json, resolve_folder, write_json
from hortus.config import from_mapping, load_yaml
from hortus.errors import ConfigError
from hortus.evaluation.config import ZeroShotConfig
from hortus.evaluation.evaluator import evaluate
from hortus.evaluation.findings import Difference, average_difference, seeded_difference
from hortus.evaluation.statistics import spread_of
from hortus.evaluation.tasks import Task, prompted_task
from hortus.prompts import TaskConfig
from hortus.recipe import Stage, StageContext, StageResult
from hortus.report import Block, Table, Text

__all__ = ["STAGE"]

Tables = Mapping[str, Mapping[str, Sequence[np.ndarray]]]
"""Way of prompting ("base" for none) -> held-out dataset -> a (P, N) table a seed."""


def run(config: ZeroShotConfig, context: StageContext) -> StageResult:
    """Evaluate every model of the stage `prompted`, and its base, on the same rendered documents."""
    from hortus.language import LanguageModel

    folder = context.inputs["prompted"]
    listed = read_json(folder / "models.json")
    tasks = _held_out(load_yaml(folder / "mixture.yaml"), config.limit)
    places = {"base": [resolve_folder(listed["base"])]}
    for model in listed["models"]:
        places.setdefault(model["way"], []).append(folder / model["model"])
    tables: dict[str, dict[str, list[np.ndarray]]] = {}
    began = time.process_time()
    for way, models in places.items():
        tables[way] = {task.name: [] for task in tasks}
        for number, place in enumerate(models):
            model = LanguageModel.load(place, device=config.device)
            result = evaluate(model, tasks, cache=context.folder / "answers.sqlite")
            write_json(context.folder / f"{way}-{number}.json", result.to_json())
            for task in tasks:
                tables[way][task.name].append(result.tasks[task.name].table(config.metric))
    findings = _findings(tables, config.draws)
    rows = _score_rows(tables)
    numbers = {
        "held_out": len(tasks),
        "documents": sum(len(variant.documents) for task in tasks for variant in task.variants),
        "cpu_minutes": (time.process_time() - began) / 60,
        "zero-shot accuracy on held-out tasks": rows,
        "findings": findings,
    }
    write_json(context.folder / "results.json", numbers)
    return StageResult(numbers, _blocks(rows, findings))


def _held_out(mixture: Mapping[str, Any], limit: int | None) -> list[Task]:
    listed = mixture.get("held_out") or []
    if not listed:
        raise ConfigError("the mixture holds nothing out to evaluate on", do="add held_out tasks to it")
    configs = [from_mapping(TaskConfig, one, f"held_out[{number}]") for number, one in enumerate(listed)]
    return [prompted_task(config, limit=limit) for config in configs]


def _score_rows(tables: Tables) -> list[dict[str, Any]]:
    """One row a dataset and way of prompting; several seeds as the mean of their numbers."""
    rows = []
    for name in tables["base"]:
        for way, by_task in tables.items():
            spreads = [spread_of(table) for table in by_task[name]]
            rows.append(
                {
                    "task": name,
                    "trained on": "nothing" if way == "base" else f"{way} prompts",
                    "prompts": spreads[0].num_prompts,
                    "documents": by_task[name][0].shape[1],
                    "mean": float(np.mean([spread.mean for spread in spreads])),
                    "stderr": float(np.mean([spread.standard_error for spread in spreads])),
                    "median": float(np.mean([spread.median for spread in spreads])),
                    "iqr": float(np.mean([spread.interquartile_range for spread in spreads])),
                }
            )
    return rows


# question -> (the first, the second, which statistic over prompts)
_QUESTIONS = {
    "training on one prompt beats the base (mean)": ("base", "one", "mean"),
    "training on all prompts beats the base (mean)": ("base", "all", "mean"),
    "all prompts against one: median": ("one", "all", "median"),
    "all prompts against one: spread (iqr)": ("one", "all", "iqr"),
}


def _findings(tables: Tables, draws: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for question, (first, second, over) in _QUESTIONS.items():
        if first not in tables or second not in tables:
            continue
        differences = {
            name: seeded_difference(tables[first][name], tables[second][name], over, draws)
            for name in tables["base"]
        }
        rows += [_finding(question, name, one) for name, one in differences.items()]
        rows.append(_finding(question, "average", average_difference(differences)))
    return rows


def _finding(question: str, task: str, one: Difference) -> dict[str, Any]:
    verdict = ("higher" if one.value > 0 else "lower") if one.counts else "within two errors"
    return {
        "question": question,
        "task": task,
        "difference": one.value,
        "stderr": one.standard_error,
        "seeds": len(one.by_seed),
        "verdict": verdict,
    }


def _blocks(rows: list[dict[str, Any]], findings: list[dict[str, Any]]) -> list[Block]:
    counted = [row for row in findings if row["verdict"] != "within two errors"]
    averages = [row for row in findings if row["task"] == "average"]
    text = " ".join(
        f"{row['question']}: {row['difference']:+.4f} ± {row['stderr']:.4f}, {row['verdict']}."
        for row in averages
    )
    text += f"\n\nBeyond two standard errors: {len(counted)} of {len(findings)} differences."
    return [
        Text("Findings, averaged over the held-out datasets", text),
        Table("Zero-shot accuracy", list(rows[0]), [list(row.values()) for row in rows]),
        Table("Differences", list(findings[0]), [list(row.values()) for row in findings])
        if findings
        else Text("Differences", "One model alone has nothing to be compared with."),
    ]


STAGE = Stage(ZeroShotConfig, run, needs=("prompted",))
