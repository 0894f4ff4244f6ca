"""Cutting the data into the micro-batches of one step after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from hortus.errors import DataError
from hortus.training.config import TrainingConfig
from hortus.training.schedules import ramped_batch_size
from hortus.training.task import Batch, Data

__all__ = ["Windows"]


class Windows:
    """Asks the data for as many samples as each step wants, and counts the epochs.

    Args:
        config: batch size, its ramp, micro-batch size, epochs.
        data: the training data.
        rows: number of samples in a batch.
        parts: processes that each take a micro-batch at a time.
    """

    def __init__(
        self, config: TrainingConfig, data: Data, rows: Callable[[Batch], int] | None, parts: int = 1
    ) -> None:
        self._config, self._data, self._parts = config, data, parts
        self._rows = rows or (lambda batch: len(next(iter(batch.values()))))
        self._batches: Iterator[Batch] = iter(())
        self.epoch = 0

    def start(self, epoch: int = 0, position: dict[str, Any] | None = None) -> None:
        """Begin an epoch, or go on inside it from a saved position."""
        self.epoch = epoch
        self._data.set_epoch(epoch)
        if position is not None:
            self._data.load_state_dict(position)
        self._batches = iter(self._data)

    def micro_batches(self, samples_seen: int) -> Iterator[tuple[Batch, int]]:
        """The micro-batches of one step, each with its number of samples.

        A step never crosses the end of an epoch: its last one may be smaller. None at all means that the last
        epoch had just ended.

        Raises:
            DataError: an epoch without a batch.
        """
        wanted = ramped_batch_size(self._config, samples_seen)
        at_once, samples, ended = (self._config.micro_batch_size or wanted) * self._parts, 0, 0
        while samples < wanted:
            if hasattr(self._data, "batch_size"):
                self._data.batch_size = min(at_once, wanted - samples)
            batch = next(self._batches, None)
            if batch is not None:
                rows = self._rows(batch)
                samples += rows
                yield batch, rows
                continue
            self.start(self.epoch + 1)
            ended += 1
            if samples or self.epoch == self._config.epochs:
                return
            if ended > 1:
                raise DataError(
                    "the training data is empty", allowed="at least one batch", do="check its source"
                )
