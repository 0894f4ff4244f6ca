"""What the Trainer needs to train the three networks: their data, their task, their published settings.

The loss is the squared error in units of the label, as published; the epoch with the highest mean of Pearson
and Spearman correlation on the validation complexes is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hortus.affinity.complexes import Complex
from hortus.affinity.evaluation import evaluate
from hortus.training import TrainingConfig
from hortus.training.progress import Record
from hortus.training.stream import RowData

__all__ = ["ComplexData", "Regression", "published_training"]


def published_training(part: str) -> TrainingConfig:
    """The published settings of "cnn", "head" (its second stage) or a "gcn".

    The published schedule of the head, a factor 0.95 every 150 batches, is left constant here: the released
    head had decayed by less than half when its best epoch came.
    """
    plain: dict[str, Any] = {
        "schedule": "constant",
        "weight_decay": 0.0,
        "clip_norm": None,
        "dtype": "float32",
    }
    plain |= {"metric": "correlation", "metric_goal": "highest", "compile": "off", "log_every": 50}
    if part in ("cnn", "head"):
        rmsprop: dict[str, Any] = {"optimizer": "rmsprop", "learning_rate": 7e-4, "betas": (0.9, 0.99)}
        return TrainingConfig(**plain, **rmsprop, batch_size=50, epochs=100)
    return TrainingConfig(
        **plain, optimizer="adam", learning_rate=1e-3, betas=(0.9, 0.999), batch_size=7, epochs=300, seed=0
    )


class ComplexData(RowData):
    """Complexes in batches, in an order of their own each epoch.

    Args:
        labels: (n,), one for each of `complexes`.
        rows: which complexes.
        make: (complexes of a batch, what random numbers it may use, None in evaluation) -> tensors.
    """

    def __init__(
        self,
        complexes: Sequence[Complex],
        labels: np.ndarray,
        rows: np.ndarray,
        make: Callable[[list[Complex], np.random.Generator | None], dict[str, Tensor]],
        *,
        batch_size: int,
        shuffle: bool = True,
        seed: int = 0,
    ) -> None:
        self._complexes, self._labels, self._rows, self._make = complexes, labels, rows, make
        super().__init__(len(rows), batch_size, shuffle, seed)

    def _batch(self, rows: np.ndarray) -> dict[str, Tensor]:
        place, chosen = [self._seed, self._epoch, self._position], self._rows[rows]
        random = np.random.default_rng(place) if self._shuffle else None
        batch = self._make([self._complexes[int(row)] for row in chosen], random)
        batch["label"] = torch.from_numpy(self._labels[chosen].astype(np.float32))
        return batch


class Regression:
    """A task for the Trainer: squared error of a network's outputs.

    Args:
        network: called with a batch it gives (B,) outputs.
        mean: taken from the labels before they are compared.
        call: how the network is called; default: with the batch.
    """

    def __init__(self, network: nn.Module, mean: float = 0.0, call: Any = None) -> None:
        self.network, self._mean = network, mean
        self._call = call or network
        self._seen: list[tuple[Tensor, Tensor]] = []

    def rows(self, batch: dict[str, Tensor]) -> int:
        return len(batch["label"])

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor, dict[str, tuple[Tensor, Tensor]]]:
        return self._compare(self._call(batch), batch)

    def evaluate_loss(
        self, batch: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor, dict[str, tuple[Tensor, Tensor]]]:
        outputs = self._call(batch)
        self._seen.append((outputs.float().cpu(), batch["label"].cpu()))
        return self._compare(outputs, batch)

    def _compare(
        self, outputs: Tensor, batch: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor, dict[str, tuple[Tensor, Tensor]]]:
        error = outputs.float() - (batch["label"] - self._mean)
        count = torch.tensor(len(error))
        return (error**2).sum(), count, {"mae": (error.abs().sum(), count)}

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        return [{"params": list(self.network.parameters()), "weight_decay": weight_decay}]

    def add_correlation(self, event: str, trainer: Any, record: Record) -> None:
        """A callback: the mean of both correlations on what was just evaluated, which chooses the epoch."""
        if event != "evaluate":
            return
        outputs, labels = (torch.cat(parts).numpy() for parts in zip(*self._seen, strict=True))
        self._seen = []
        scores = evaluate(labels, outputs, resamples=0) if len(labels) > 1 else {}
        values = [scores[name]["value"] for name in ("pearson", "spearman") if scores]
        # Too few complexes, or one answer for all, have no correlation: the lowest error decides instead.
        usable = len(labels) > 2 and bool(np.isfinite(values).all())
        record["validation_correlation"] = float(np.mean(values)) if usable else -record["validation_loss"]
