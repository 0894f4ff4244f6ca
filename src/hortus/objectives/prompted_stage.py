"""The recipe stage `prompted`: models finetuned on a mixture, by way of prompting and by seed.

FOLDER/all-0/model, FOLDER/one-0/model, ...     the models
FOLDER/models.json                              base model and models, for the stage `zero_shot`
FOLDER/mixture.yaml                             the mixture, held-out tasks included
"""

from __future__ import annotations

import time
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from hortus.artifact import replacing_file, write_json
from hortus.config import to_mapping
from hortus.objectives.finetune import finetune
from hortus.objectives.finetune_config import FinetuneConfig
from hortus.objectives.prompted_config import PromptedConfig, PromptedMixtureConfig
from hortus.objectives.prompted_preparation import open_mixtures
from hortus.prompts import TaskConfig, load_templates
from hortus.prompts.catalogue import expand_catalogue
from hortus.prompts.sampling import keyed
from hortus.recipe import Stage, StageContext, StageResult
from hortus.report import Block, Curves, Table
from hortus.training import TrainingResult

__all__ = ["STAGE", "one_prompt"]


def one_prompt(task: TaskConfig, seed: int) -> TaskConfig:
    """The task with one template of its original task, drawn by the seed."""
    chosen = load_templates(task.templates).select(
        task.template_names, without=task.without, original_only=True
    )
    draw = np.random.default_rng(keyed(seed, task.name))
    return replace(task, template_names=(chosen[int(draw.integers(len(chosen)))].name,))


def run(config: PromptedConfig, context: StageContext) -> StageResult:
    """Finetune the base model once for each way of prompting and each seed."""
    mixture = expand_catalogue(config.mixture.placed())
    base = config.model or str(context.inputs["pretrain"] / "model")
    _write_yaml(context.folder / "mixture.yaml", mixture)
    given = {field.name: getattr(config, field.name) for field in fields(FinetuneConfig)}
    models: list[dict[str, Any]] = []
    results: dict[str, TrainingResult] = {}
    began = time.process_time()
    for seed in config.seeds:
        for way in config.prompts:
            name = f"{way}-{seed}"
            training = mixture.training
            if way == "one":
                training = tuple(one_prompt(task, seed) for task in training)
            chosen = replace(mixture, training=training, overlap_words=0)
            _write_yaml(context.folder / name / "mixture.yaml", chosen)
            result, _ = finetune(
                base,
                "prompted",
                context.folder / name / "mixture.yaml",
                context.folder / name,
                FinetuneConfig(**{**given, "seed": seed}),
                resume=context.resume,
            )
            if result.interrupted:
                return StageResult(stopped=f"{name} stopped by {result.stopped} at step {result.steps}")
            results[name] = result
            models.append({"name": name, "way": way, "seed": seed, "model": f"{name}/model"})
    write_json(context.folder / "models.json", {"base": base, "models": models})
    numbers = {
        "models": len(models),
        "steps": config.steps,
        "cpu_minutes": (time.process_time() - began) / 60,
        "model": str(context.folder / models[0]["model"]),
    }
    return StageResult(numbers, _blocks(mixture, config, results))


def _write_yaml(path: Path, mixture: PromptedMixtureConfig) -> None:
    with replacing_file(path) as temporary:
        temporary.write_text(
            yaml.safe_dump(to_mapping(mixture), sort_keys=False, allow_unicode=True), "utf-8"
        )


def _blocks(
    mixture: PromptedMixtureConfig, config: PromptedConfig, results: dict[str, TrainingResult]
) -> list[Block]:
    opened, _ = open_mixtures(mixture, config.validation_share)
    shares = [[name, round(100 * share, 2)] for name, share in opened.shares().items()]
    blocks: list[Block] = [Table("The mixture", ["task", "per cent"], shares)]
    if mixture.overlap_words and mixture.held_out:
        rows: list[list[Any]] = [
            [name, report.num_evaluation, report.num_overlapping, 100 * report.share]
            for name, report in opened.overlap(mixture.overlap_words).items()
        ]
        title = f"Held-out rows that share {mixture.overlap_words} words with training rows"
        blocks.append(Table(title, ["held out", "rows", "overlapping", "per cent"], rows))
    best = [
        [name, result.best["step"], result.best["validation_loss"], result.best.get("validation_exact")]
        for name, result in results.items()
        if result.best
    ]
    columns = ["model", "best step", "validation loss, nats a token", "answered exactly"]
    blocks.append(Table("Validation on the training tasks", columns, best))
    losses = {
        name: (
            [record["step"] for record in result.history if "validation_loss" in record],
            [record["validation_loss"] for record in result.history if "validation_loss" in record],
        )
        for name, result in results.items()
    }
    blocks.append(Curves("Validation loss", "step", "nats a token", losses))
    return blocks


def _files(config: PromptedConfig) -> list[Path]:
    mixture = config.mixture.placed()
    paths = [Path(task.data.source) for task in (*mixture.training, *mixture.held_out)]
    paths += [Path(task.templates) / "templates.yaml" for task in (*mixture.training, *mixture.held_out)]
    return [path for path in paths if path.is_file()]


STAGE = Stage(PromptedConfig, run, uses=("pretrain",), files=_files)
