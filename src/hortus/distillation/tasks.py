"""Distillation of a finetuned teacher's task: classes, and spans of answers (DistilBERT, section 4.1).

The student reads the task's rows, as finetuning prepares them, and follows the teacher's distribution over
labels, or over the first and the last token of an answer: ½ KL + ½ cross-entropy by default, T = 2, × T².

Legend: B rows, T tokens, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from hortus.distillation.config import DistillationConfig
from hortus.distillation.following import Following
from hortus.distillation.losses import cosine_loss, soft_loss
from hortus.errors import ConfigError
from hortus.language import LanguageModel
from hortus.objectives import answering, classification
from hortus.training import Data, Task

__all__ = ["TaskDistillation", "prepare_task"]

_PREPARE = {"classify": classification.prepare, "answer": answering.prepare}


class TaskDistillation(Following):
    """A task for the Trainer. A batch is one of `Classification` or `Answering`.

    Args:
        task: the student's own, which validation is measured by.
        teacher: an encoder with the same head, frozen.
        settings: temperature and weights.
    """

    def __init__(self, task: Task, teacher: Any, settings: DistillationConfig):
        super().__init__(task.network, teacher, settings)
        self._task = task

    def loss(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, dict[str, Any]]:
        """The weighted sum over rows, their number, and the terms by themselves."""
        weight_soft, weight_hard, weight_cosine = self._settings.weights
        states = self._states(self.network, batch)
        with torch.no_grad():
            seen = self._states(self._teacher, batch)
            answers = _distributions(self._teacher, seen, batch)
        mine, labels = _distributions(self.network, states, batch), _labels(batch)
        temperature = self._settings.temperature
        soft = torch.stack([soft_loss(a, b, temperature) for a, b in zip(mine, answers, strict=True)]).mean()
        losses = [F.cross_entropy(a, b, reduction="sum") for a, b in zip(mine, labels, strict=True)]
        hard = torch.stack(losses).mean()
        count = torch.tensor(len(labels[0]))
        total = weight_soft * soft + weight_hard * hard
        metrics = {"soft": (soft, count), "hard": (hard, count)}
        if weight_cosine:
            real = batch["attention_mask"] != 0
            cosine = cosine_loss(states[real], seen[real]) * count / real.sum()
            total = total + weight_cosine * cosine
            metrics["cosine"] = (cosine, count)
        return total, count, metrics

    def evaluate_loss(self, batch: Mapping[str, Tensor]) -> Any:
        """What the task itself measures of the student, without the teacher."""
        return getattr(self._task, "evaluate_loss", self._task.loss)(dict(batch))

    def _states(self, network: Any, batch: Mapping[str, Tensor]) -> Tensor:
        return network.hidden(
            batch["input_ids"], batch["attention_mask"], token_type_ids=batch["token_type_ids"]
        )


def _distributions(network: Any, states: Tensor, batch: Mapping[str, Tensor]) -> list[Tensor]:
    """Logits (B, C) of the classes, or (B, T) twice: of an answer's first and last token."""
    logits = network.head(states).float()
    if "labels" in batch:
        return [logits]
    padding = batch["attention_mask"][..., None] == 0
    # Half the least number: over a temperature below 1 it stays finite.
    return list(logits.masked_fill(padding, torch.finfo(logits.dtype).min / 2).unbind(-1))


def _labels(batch: Mapping[str, Tensor]) -> list[Tensor]:
    return [batch["labels"]] if "labels" in batch else [batch["starts"], batch["ends"]]


def prepare_task(
    model: LanguageModel, student: Any, data: Path, validation: Path | None, settings: DistillationConfig
) -> tuple[TaskDistillation, Data, Data | None, str]:
    """Task, training data, validation data and a sentence on the data.

    Raises:
        ConfigError: the data have other classes than the teacher.
        DataError: rows that do not fit.
    """
    prepared = _PREPARE[settings.task](student, model.tokenizer, data, validation, settings)
    trained: Any = prepared.task.network
    labels, known = trained.config.labels, model.network.config.labels
    if tuple(labels) != tuple(known):
        raise ConfigError(
            f"the data have the classes {', '.join(labels)}", allowed=f"the teacher's: {', '.join(known)}"
        )
    task = TaskDistillation(prepared.task, model.network, settings)
    return task, prepared.training, prepared.validation, prepared.description
