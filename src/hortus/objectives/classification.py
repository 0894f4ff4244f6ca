"""Sequence classification: a label for a text or a pair of texts.

Legend: B rows, T tokens, C classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hortus.errors import DataError
from hortus.models import with_head
from hortus.objectives.examples import Examples
from hortus.objectives.finetune import Preparation
from hortus.objectives.finetune_config import FinetuneConfig
from hortus.objectives.rows import Row, split_rows, text_of, token_limit, within
from hortus.tokenizer import Tokenizer, joined
from hortus.training import decay_groups

__all__ = ["Classification", "prepare"]

PADDING = {"attention_mask": 0, "token_type_ids": 0}


class Classification:
    """A task for the Trainer: cross-entropy of the label, weighted by class where weights are given.

    A batch is {"input_ids": (B, T), "attention_mask": (B, T), "token_type_ids": (B, T), "labels": (B,)}. With
    weights, the training loss of a row is multiplied by that of its class; validation never is.

    Args:
        network: an encoder with the head "classify".
        class_weights: (C,), about 1 on average over the rows.
    """

    def __init__(self, network: Any, class_weights: Tensor | None = None):
        self.network: nn.Module = network
        self._encoder, self._weights = network, class_weights

    def loss(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, dict[str, Any]]:
        """Summed loss in nats, number of rows, and the accuracy."""
        return self._loss(batch, self._weights)

    def evaluate_loss(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, dict[str, Any]]:
        """As `loss`, without weights; also the recall of each class."""
        return self._loss(batch, None)

    def _loss(
        self, batch: Mapping[str, Tensor], weights: Tensor | None
    ) -> tuple[Tensor, Tensor, dict[str, Any]]:
        logits = self._encoder(batch["input_ids"], batch["attention_mask"], batch["token_type_ids"]).float()
        labels = batch["labels"]
        weights = None if weights is None else weights.to(logits.device)
        loss = F.cross_entropy(logits, labels, weights, reduction="sum")
        right, count = logits.argmax(-1) == labels, torch.tensor(labels.numel())
        metrics = {"accuracy": (right.sum(), count)}
        if not self.network.training:
            for index, name in enumerate(self._encoder.config.labels):
                mine = labels == index
                metrics[f"recall_{name}"] = ((right & mine).sum(), mine.sum())
        return loss, count, metrics

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Decay for matrices; none for biases and norms."""
        return decay_groups(self.network, weight_decay)


def prepare(
    network: Any, tokenizer: Tokenizer, data: Path, validation: Path | None, config: FinetuneConfig
) -> Preparation:
    """Rows of text, perhaps a second text, and a label.

    Raises:
        ConfigError: the network is no encoder.
        DataError: rows that do not fit.
    """
    pair = [] if config.second_text_column is None else [config.second_text_column]
    columns = [config.text_column, *pair, config.label_column]
    training, checked = split_rows(data, validation, config, columns)
    labels = _labels(training, config.label_column)
    network = with_head(network, "classify", labels)
    rows = [_encoded(part, labels, network, tokenizer, config) for part in (training, checked)]
    counts = Counter(row["labels"] for row in rows[0])
    weights = None
    if config.class_weights == "balanced":
        weights = torch.tensor([len(rows[0]) / len(labels) / counts[index] for index in range(len(labels))])
    padding = {"input_ids": tokenizer.pad_id or 0, **PADDING}
    sets = [
        Examples(part, padding, batch_size=config.batch_size, shuffle=part is rows[0], seed=config.seed)
        if part
        else None
        for part in rows
    ]
    assert sets[0] is not None
    majority = counts.most_common(1)[0][0]
    baselines = {}
    if rows[1]:
        baselines["validation accuracy of the largest class"] = float(
            sum(row["labels"] == majority for row in rows[1]) / len(rows[1])
        )
    description = f"{len(rows[0]):,} rows of {len(labels)} classes."
    return Preparation(Classification(network, weights), sets[0], sets[1], description, baselines)


def _labels(rows: Sequence[Row], column: str) -> list[str]:
    labels = sorted({str(row[column]) for row in rows})
    if len(labels) < 2:
        raise DataError(f"all {len(rows)} rows have the label {labels[0]!r}", allowed="two classes or more")
    return labels


def _encoded(
    rows: Sequence[Row], labels: Sequence[str], network: Any, tokenizer: Tokenizer, config: FinetuneConfig
) -> list[dict[str, Any]]:
    index = {label: place for place, label in enumerate(labels)}
    most = token_limit(network, tokenizer, config)
    first = tokenizer.encode_batch([text_of(row, config.text_column, n) for n, row in enumerate(rows)])
    second: list[list[int] | None] = [None] * len(rows)
    if config.second_text_column is not None:
        column = config.second_text_column
        second = list(tokenizer.encode_batch([text_of(row, column, n) for n, row in enumerate(rows)]))
    examples = []
    for number, (row, one, other) in enumerate(zip(rows, first, second, strict=True)):
        label = str(row[config.label_column])
        if label not in index:
            raise DataError(f"validation row {number + 1} has the label {label!r}", allowed=", ".join(labels))
        room = (
            most - 2 if other is None else most - 3 - len(within(other, most // 2, config.truncate, number))
        )
        other = None if other is None else other[: most // 2]
        ids, types = joined(tokenizer, within(one, room, config.truncate, number), other)
        examples.append(
            {
                "input_ids": ids,
                "attention_mask": [1] * len(ids),
                "token_type_ids": types,
                "labels": index[label],
            }
        )
    return examples
