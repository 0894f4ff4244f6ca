"""Tiny tasks for the Trainer's tests: they share nothing with the rooms that train for real."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from hortus.training import Batch, Metrics, TensorData


class Regression:
    """A small network with dropout and batch normalisation (buffers) on rows of numbers."""

    def __init__(self, *, dropout: float = 0.1, normalise: bool = True, seed: int = 0) -> None:
        torch.manual_seed(seed)
        middle: nn.Module = nn.BatchNorm1d(8) if normalise else nn.Identity()
        self.network = nn.Sequential(nn.Linear(3, 8), middle, nn.GELU(), nn.Dropout(dropout), nn.Linear(8, 1))

    def loss(self, batch: Batch) -> tuple[Tensor, Tensor, Metrics]:
        error = self.network(batch["x"]).squeeze(-1) - batch["y"]
        count = torch.tensor(error.numel())
        return (error**2).sum(), count, {"absolute": (error.abs().sum(), count)}

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        return [{"params": list(self.network.parameters()), "weight_decay": weight_decay}]


class Tokens:
    """Next-token prediction by a bag of two layers, with an unequal number of scored tokens a row."""

    def __init__(self, *, dtype: torch.dtype = torch.float32, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.network = nn.Sequential(nn.Embedding(11, 6), nn.Linear(6, 11)).to(dtype)

    def loss(self, batch: Batch) -> tuple[Tensor, Tensor, Metrics]:
        logits = self.network(batch["input_ids"][:, :-1]).flatten(0, 1)
        targets = batch["labels"][:, 1:].flatten()
        scored = targets != -100
        correct = (logits.argmax(-1) == targets)[scored].sum()
        total = nn.functional.cross_entropy(logits, targets, reduction="sum", ignore_index=-100)
        return total, scored.sum(), {"accuracy": (correct, scored.sum())}

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        return [{"params": list(self.network.parameters()), "weight_decay": weight_decay}]


def rows(number: int = 40, seed: int = 1, **options: Any) -> TensorData:
    """Rows of a noisy linear function."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(number, 3, generator=generator)
    y = x @ torch.tensor([1.0, -2.0, 0.5]) + 0.1 * torch.randn(number, generator=generator)
    return TensorData({"x": x, "y": y}, seed=seed, **options)


def sentences(number: int = 40, length: int = 9, seed: int = 1, **options: Any) -> TensorData:
    """Random ids, the labels masked for the first few positions of each row."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, 11, (number, length), generator=generator)
    masked = torch.arange(length) < torch.randint(0, length - 1, (number, 1), generator=generator)
    return TensorData({"input_ids": ids, "labels": ids.masked_fill(masked, -100)}, seed=seed, **options)
