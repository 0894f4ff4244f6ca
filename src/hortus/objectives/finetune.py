"""Finetuning: a model and examples in, a model that does the task out.

A task is one line in `TASKS`: a function that turns a network, its tokenizer and files into a `Preparation`.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hortus.artifact import ModelCard, resolve_folder
from hortus.errors import ConfigError, nearest
from hortus.models import load_network, save_network
from hortus.objectives.finetune_config import FinetuneConfig
from hortus.objectives.lora import add_adapters, merge_adapters, save_adapters
from hortus.registry import resolve
from hortus.tokenizer import Tokenizer
from hortus.training import Data, Task, Trainer, TrainingResult

__all__ = ["TASKS", "Preparation", "Prepare", "finetune"]

# --task -> the function that prepares it.
TASKS: dict[str, str] = {
    "lm": "hortus.objectives.language_modeling:prepare",
    "classify": "hortus.objectives.classification:prepare",
    "answer": "hortus.objectives.answering:prepare",
    "prompted": "hortus.objectives.prompted_preparation:prepare",
}

# Files beside the tokenizer's that a finetuned model keeps from the one it came from.
_KEPT = ("generation_config.json", "chat_template.jinja")


@dataclass(frozen=True)
class Preparation:
    """What finetuning trains: `task.network` may have another head than the network that was given."""

    task: Task
    training: Data
    validation: Data | None
    description: str = ""
    """A sentence on the data, for the model's card."""
    baselines: Mapping[str, float] = field(default_factory=dict)
    """Scores that need no training, on the validation rows."""


# network, tokenizer, training file, validation file or None, settings
Prepare = Callable[[Any, Tokenizer, Path, Path | None, FinetuneConfig], Preparation]


def finetune(
    model: str | Path,
    task: str,
    data: Path,
    folder: Path,
    config: FinetuneConfig,
    *,
    validation: Path | None = None,
    resume: bool = False,
) -> tuple[TrainingResult, Preparation]:
    """Train a model on a task; write folder/model, folder/run and, with LoRA, folder/adapter.

    Args:
        model: a folder or a hub id.
        task: one of `TASKS`.
        data: the training file.
        folder: where the result goes.
        validation: the validation file; None keeps a share of the training rows for it.

    Raises:
        ConfigError: an unknown task, or one that this kind of model cannot do.
        DataError: rows that do not fit the task.
    """
    if task not in TASKS:
        raise ConfigError(f"task={task!r} is not known", do=nearest(task, TASKS))
    source = resolve_folder(model)
    tokenizer = Tokenizer.load(source)
    torch.manual_seed(config.seed)
    network = load_network(source, dtype=torch.float32)
    prepare: Prepare = resolve(TASKS[task])
    prepared = prepare(network, tokenizer, data, validation, config)
    trained: Any = prepared.task.network
    if config.lora_rank:
        add_adapters(trained, config)
    trainer = Trainer(
        config, prepared.task, prepared.training, folder=folder / "run", validation=prepared.validation
    )
    result = trainer.train(resume=resume)
    if not result.interrupted:
        if config.lora_rank:
            save_adapters(trained, folder / "adapter", config, str(model))
            merge_adapters(trained)
        card = _card(ModelCard.read(source), trained, prepared, result, config, task)
        save_network(
            trained, folder / "model", card, extra=lambda place: _copy_rest(source, tokenizer, place)
        )
    return result, prepared


def _copy_rest(source: Path, tokenizer: Tokenizer, folder: Path) -> None:
    tokenizer.save(folder)
    for name in _KEPT:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)


def _card(
    card: ModelCard,
    network: nn.Module,
    prepared: Preparation,
    result: TrainingResult,
    config: FinetuneConfig,
    task: str,
) -> ModelCard:
    best = result.best or {}
    measured = {
        name.replace("validation_", "validation "): value
        for name, value in best.items()
        if name.startswith("validation_") and isinstance(value, float)
    }
    way = f"adapters of rank {config.lora_rank}, merged" if config.lora_rank else "all weights"
    return dataclasses.replace(
        card,
        name=config.name or card.name,
        kind=str(network.model_type),
        data=f"Finetuned for the task {task!r} ({way}). {prepared.description} "
        f"Before that: {card.data or 'not recorded.'}",
        results={**measured, **prepared.baselines},
        **result.footprint,
    )
