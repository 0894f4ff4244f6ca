"""Measuring a task on its validation data, without a trace in the training run."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch

from hortus.errors import DataError
from hortus.training.compilation import Loss
from hortus.training.randomness import preserved
from hortus.training.ranks import Ranks
from hortus.training.sums import Sums
from hortus.training.task import Batch, Data, Task

__all__ = ["validate"]


@torch.no_grad()
def validate(
    task: Task,
    data: Data,
    *,
    batch_size: int,
    device: torch.device,
    autocast: Callable[[], AbstractContextManager[Any]],
    to_device: Callable[[Batch], Batch],
    ranks: Ranks,
) -> Sums:
    """Loss and metric sums over one pass of the data from its start.

    The network is in evaluation mode meanwhile; its mode and all random states come back.

    Raises:
        DataError: no batch, or nothing to score in any.
    """
    loss_of: Loss = getattr(task, "evaluate_loss", task.loss)
    if hasattr(data, "batch_size"):
        data.batch_size = batch_size
    data.set_epoch(0)
    sums = Sums()
    task.network.eval()
    with preserved(device), autocast():
        for batch in data:
            batch = to_device(ranks.share(batch, len(next(iter(batch.values())))))
            sums.add(*ranks.weigh(loss_of(batch)), batch, 0)
    sums = ranks.total(sums)
    task.network.train()
    if not float(sums.count):
        raise DataError("the validation data is empty", allowed="at least one batch", do="check its source")
    return sums
