"""Distillation of ranked answers: a prompted teacher's distribution over the choices of each row (T0).

The score of a choice is the sum of its tokens' log-probabilities, as `LanguageModel.rank` has it. The loss of
a row is the KL from the softmax of the teacher's scores over the temperature to the student's, and the
cross-entropy of the right choice where the row names it.

Legend: B rows, C most choices, S source tokens, T tokens (of context and choice, or of the choice).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hortus.distillation.config import DistillationConfig
from hortus.distillation.following import Following
from hortus.distillation.losses import soft_loss
from hortus.errors import ConfigError, DataError
from hortus.language import LanguageModel
from hortus.language.batching import pad_right
from hortus.objectives.encoder_decoder import shifted_right
from hortus.objectives.examples import Examples
from hortus.objectives.rows import Row, split_rows, text_of
from hortus.training import Batch, Data

__all__ = ["RankedDistillation", "RankedExamples", "prepare_ranked"]

_IGNORED = -100


class RankedExamples(Examples):
    """Rows of a text and its choices; every choice is a line of the batch.

    A batch is {"groups": (B, C) numbers of lines, -1 where a row has fewer choices, "right": (B,) the right
    choice or -100, "input_ids", "labels"} and, with two stacks, {"attention_mask"}: there "input_ids" are the
    sources of each line.
    """

    def _batch(self, rows: np.ndarray) -> Batch:
        return self._together([self._rows[index] for index in rows])

    def _together(self, rows: Sequence[Mapping[str, Any]]) -> Batch:
        lines = [line for row in rows for line in row["lines"]]
        most = max(len(row["lines"]) for row in rows)
        groups, number = torch.full((len(rows), most), -1), 0
        for place, row in enumerate(rows):
            for choice in range(len(row["lines"])):
                groups[place, choice] = number
                number += 1
        batch = {
            "groups": groups,
            "right": torch.tensor([row["right"] for row in rows]),
            "input_ids": pad_right([ids for ids, _ in lines], self._padding["input_ids"]),
            "labels": pad_right([labels for _, labels in lines], _IGNORED),
        }
        if self._padding["two stacks"]:
            lengths = torch.tensor([[len(ids)] for ids, _ in lines])
            batch["attention_mask"] = (torch.arange(batch["input_ids"].size(1)) < lengths).long()
        return batch


class RankedDistillation(Following):
    """A task for the Trainer, over batches of `RankedExamples`; validation measures the agreement."""

    def loss(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, dict[str, Any]]:
        """The weighted sum over rows, their number, and how often both rank the same choice first."""
        weight_soft, weight_hard, _ = self._settings.weights
        with torch.no_grad():
            theirs = choice_scores(self._teacher, batch)
        mine, right = choice_scores(self.network, batch), batch["right"]
        soft = soft_loss(mine, theirs, self._settings.temperature)
        hard = F.cross_entropy(mine, right, ignore_index=_IGNORED, reduction="sum")
        count, known = torch.tensor(len(right)), right != _IGNORED
        best = mine.argmax(-1)
        metrics = {
            "soft": (soft, count),
            "agreement": ((best == theirs.argmax(-1)).sum(), count),
            "accuracy": ((best == right)[known].sum(), known.sum()),
        }
        return weight_soft * soft + weight_hard * hard, count, metrics


def choice_scores(network: Any, batch: Mapping[str, Tensor]) -> Tensor:
    """(B, C) sums of log-probabilities of the choices; a number far below all where there is no choice."""
    ids, labels, groups = batch["input_ids"], batch["labels"], batch["groups"]
    if network.architecture == "decoder":
        states, targets = network.hidden(ids)[:, :-1], labels[:, 1:]
    else:
        config = network.config
        shifted = shifted_right(labels, config.decoder_start_token_id or 0, config.pad_token_id or 0)
        states, targets = network.hidden(ids, shifted, batch["attention_mask"]), labels
    asked = targets != _IGNORED
    losses = F.cross_entropy(network.head(states[asked]).float(), targets[asked], reduction="none")
    lines = asked.nonzero()[:, 0]
    scores = torch.zeros(len(ids), device=ids.device).index_add(0, lines, -losses)
    return scores[groups.clamp_min(0)].masked_fill(groups < 0, -1e9)


def prepare_ranked(
    model: LanguageModel, student: Any, data: Path, validation: Path | None, settings: DistillationConfig
) -> tuple[RankedDistillation, Data, Data | None, str]:
    """Rows of `text` and a list `choices`, perhaps with `label`: the right choice or its number.

    Raises:
        ConfigError: an encoder.
        DataError: rows that do not fit.
    """
    if model.network.architecture == "encoder":
        raise ConfigError("task=ranked with an encoder", allowed="a decoder or encoder-decoder")
    parts = split_rows(data, validation, settings, [settings.text_column, "choices"])
    padding = {"input_ids": model.tokenizer.pad_id or 0}
    padding["two stacks"] = int(model.network.architecture == "encoder-decoder")
    sets = []
    for rows, shuffle in zip(parts, (True, False), strict=True):
        examples = [_example(row, number, model, settings) for number, row in enumerate(rows)]
        made = RankedExamples(
            examples, padding, batch_size=settings.batch_size, shuffle=shuffle, seed=settings.seed
        )
        sets.append(made if examples else None)
    assert sets[0] is not None
    task = RankedDistillation(student, model.network, settings)
    return task, sets[0], sets[1], f"{len(parts[0]):,} rows with choices."


def _example(row: Row, number: int, model: LanguageModel, settings: DistillationConfig) -> dict[str, Any]:
    choices = row["choices"]
    if not isinstance(choices, list) or len(choices) < 2 or not all(isinstance(c, str) for c in choices):
        raise DataError(
            f"row {number + 1}: choices is {choices!r:.40}", allowed="a list of two texts or more"
        )
    context, targets = model.tokens_to_rank(
        text_of(row, settings.text_column, number), choices, settings.truncate
    )
    if model.network.architecture == "decoder":
        lines = [(context + ids, [_IGNORED] * len(context) + ids) for ids in targets]
    else:
        lines = [(context, ids) for ids in targets]
    label = row.get(settings.label_column)
    if isinstance(label, str) and label in choices:
        label = choices.index(label)
    right = label if isinstance(label, int) and 0 <= label < len(choices) else _IGNORED
    longest = max(len(ids) for ids, _ in lines)
    return {"lines": lines, "right": right, "input_ids": [0] * longest}
