"""Tokenized examples of different lengths as data for the Trainer: shuffled, batched by length, padded.

Legend: B rows, T tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hortus.errors import DataError
from hortus.training import Batch
from hortus.training.stream import RowData

__all__ = ["Examples"]

_POOL = 50  # batches of rows that are sorted by length together


class Examples(RowData):
    """Rows of token lists and numbers.

    An epoch is a permutation of the rows, sorted by length inside pools of 50 batches and then shuffled
    batch by batch: little padding, and an order that still differs from epoch to epoch.

    Args:
        rows: each maps the same names to a list of numbers or to one number.
        padding: name -> what fills up shorter lists; every list needs one.
        batch_size: rows in a batch; may be set between batches.
        shuffle: False keeps the order of the rows.
        seed: seed of the orders.

    Raises:
        DataError: no rows.

    >>> data = Examples([{"x": [1], "y": 0}, {"x": [2, 3], "y": 1}], {"x": 9}, batch_size=2, shuffle=False)
    >>> next(iter(data))
    {'x': tensor([[1, 9],
            [2, 3]]), 'y': tensor([0, 1])}
    """

    def __init__(
        self,
        rows: Sequence[Mapping[str, Any]],
        padding: Mapping[str, int],
        *,
        batch_size: int,
        shuffle: bool = True,
        seed: int = 0,
    ):
        if not rows:
            raise DataError("there are no examples", allowed="at least one row", do="check the source")
        super().__init__(len(rows), batch_size, shuffle, seed)
        self._rows, self._padding, self._block = rows, padding, batch_size
        names = [name for name in rows[0] if name in padding]
        self._lengths = np.array([sum(len(row[name]) for name in names) for row in rows])

    def _order(self) -> np.ndarray:
        if not self._shuffle:
            return super()._order()
        random = np.random.default_rng([self._seed, self._epoch])
        order = random.permutation(len(self._rows))
        pool = _POOL * self._block
        pools = [order[start : start + pool] for start in range(0, len(order), pool)]
        order = np.concatenate([part[np.argsort(self._lengths[part], kind="stable")] for part in pools])
        blocks = [order[start : start + self._block] for start in range(0, len(order), self._block)]
        return np.concatenate([blocks[index] for index in random.permutation(len(blocks))])

    def _batch(self, rows: np.ndarray) -> Batch:
        chosen = [self._rows[index] for index in rows]
        return {name: self._column([row[name] for row in chosen], name) for name in chosen[0]}

    def _column(self, values: list[Any], name: str) -> Tensor:
        if name not in self._padding:
            return torch.tensor(values)
        longest = max(map(len, values))
        return torch.tensor(
            [list(value) + [self._padding[name]] * (longest - len(value)) for value in values]
        )
