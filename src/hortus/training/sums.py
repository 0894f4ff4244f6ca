"""Sums of losses and metrics over micro-batches, divided only when they are read.

They stay tensors on the device until then: reading one makes the processor wait for the device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from hortus.training.task import Batch, Metrics

__all__ = ["Sums"]


@dataclass
class Sums:
    """Loss and metrics as (sum, count), with the samples and tokens they came from."""

    loss: Tensor | float = 0.0
    count: Tensor | float = 0
    samples: int = 0
    tokens: int = 0
    metrics: dict[str, tuple[Tensor | float, Tensor | float]] = field(default_factory=dict)

    def add(self, loss: Tensor, count: Tensor, metrics: Metrics, batch: Batch, samples: int) -> None:
        """Add what a task's loss gave for one micro-batch. Tokens are the positions of `input_ids`."""
        ids = batch.get("input_ids")
        tokens = ids.numel() if ids is not None else 0
        self.merge(Sums(loss.detach(), count, samples, tokens, dict(metrics)))

    def merge(self, other: Sums) -> None:
        """Add other sums to these."""
        self.loss, self.count = self.loss + other.loss, self.count + other.count
        self.samples, self.tokens = self.samples + other.samples, self.tokens + other.tokens
        for name, (value, weight) in other.metrics.items():
            value_before, weight_before = self.metrics.get(name, (0.0, 0.0))
            value = value.detach() if isinstance(value, Tensor) else value
            self.metrics[name] = (value_before + value, weight_before + weight)

    def means(self, prefix: str = "") -> dict[str, float]:
        """{"loss": ..., name: ...}, each sum over its count; NaN where nothing was counted."""
        pairs = {"loss": (self.loss, self.count), **self.metrics}
        return {prefix + name: _ratio(float(value), float(weight)) for name, (value, weight) in pairs.items()}

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, for a checkpoint."""
        return {
            "loss": float(self.loss),
            "count": float(self.count),
            "samples": self.samples,
            "tokens": self.tokens,
            "metrics": {
                name: (float(value), float(weight)) for name, (value, weight) in self.metrics.items()
            },
        }


def _ratio(value: float, weight: float) -> float:
    return value / weight if weight else math.nan
