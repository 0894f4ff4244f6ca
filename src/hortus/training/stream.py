"""Data whose place is an epoch and a number of what was taken from it: the base of every room's own data.

Legend: N rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import Tensor

__all__ = ["EpochData", "RowData"]


class EpochData:
    """What `Data` needs to be saved and restored: the epoch and the position in it.

    Args:
        length: samples in an epoch, or None when unknown.
        seed: seed of the orders.
    """

    def __init__(self, length: int | None, seed: int = 0) -> None:
        self.length, self._seed = length, seed
        self._epoch = self._position = 0

    def state_dict(self) -> dict[str, Any]:
        """The position after the last batch taken."""
        return {"epoch": self._epoch, "position": self._position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a saved position."""
        self._epoch, self._position = int(state["epoch"]), int(state["position"])

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of an epoch."""
        self._epoch, self._position = epoch, 0


class RowData(EpochData):
    """N numbered rows, in an order of their own each epoch, in batches. `_batch` makes one of row numbers.

    Args:
        length: N.
        batch_size: rows in a batch; may be set between batches.
        shuffle: whether each epoch has an order of its own, made from seed and epoch.
        seed: seed of the orders.
    """

    def __init__(self, length: int, batch_size: int, shuffle: bool = True, seed: int = 0) -> None:
        super().__init__(length, seed)
        self._num_rows, self.batch_size, self._shuffle = length, batch_size, shuffle

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        order = self._order()
        while self._position < len(order):
            rows = order[self._position : self._position + self.batch_size]
            batch = self._batch(rows)
            self._position += len(rows)
            yield batch
        self._position = 0

    def _order(self) -> np.ndarray:
        """Row numbers in the order of this epoch."""
        if not self._shuffle:
            return np.arange(self._num_rows)
        return np.random.default_rng([self._seed, self._epoch]).permutation(self._num_rows)

    def _batch(self, rows: np.ndarray) -> dict[str, Tensor]:
        """The batch of these rows; `_epoch` and `_position` say where it stands."""
        raise NotImplementedError
