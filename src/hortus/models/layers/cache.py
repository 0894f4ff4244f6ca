"""Keys and values of earlier tokens in memory of a fixed size.

Design choices that differ from a growing cache:
- the memory is there from the start, so a step writes one column and copies nothing;
- each layer counts its own positions, so `length` moves only when the last layer has been written and
  all layers of one call agree on where the call began.

Legend: L layers, B batch, n heads, T new positions, S capacity, d head width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hortus.errors import DataError

__all__ = ["StaticCache"]


class StaticCache:
    """Room for `capacity` positions in every layer.

    `keys` and `values` are (L, B, n, S, d); positions from `length` on hold nothing of meaning.

    >>> cache = StaticCache(num_layers=1, batch=1, num_heads=2, capacity=8, head_size=4)
    >>> keys, _ = cache.update(0, torch.ones(1, 2, 3, 4), torch.ones(1, 2, 3, 4))
    >>> keys.shape, cache.length
    (torch.Size([1, 2, 3, 4]), 3)
    """

    def __init__(
        self,
        *,
        num_layers: int,
        batch: int,
        num_heads: int,
        capacity: int,
        head_size: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ):
        shape = (num_layers, batch, num_heads, capacity, head_size)
        # Zeros, not garbage: a kernel may multiply a hidden position by a weight of zero, and 0·inf is NaN.
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)
        self._lengths = [0] * num_layers

    @property
    def length(self) -> int:
        """Number of positions held by every layer."""
        return self._lengths[-1]

    @property
    def capacity(self) -> int:
        """Number of positions there is room for."""
        return self.keys.size(3)

    @property
    def batch(self) -> int:
        """Number of rows."""
        return self.keys.size(1)

    def update(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Append (B, n, T, d) keys and values of a layer; return views (B, n, past + T, d) of all so far.

        Raises:
            DataError: there is no room for T more positions.
        """
        start = self._lengths[layer]
        end = start + key.size(2)
        if end > self.capacity:
            raise self._full(end)
        self.keys[layer, :, :, start:end] = key
        self.values[layer, :, :, start:end] = value
        self._lengths[layer] = end
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]

    def check_room(self, positions: int) -> None:
        """Make sure that so many more positions fit.

        Raises:
            DataError: they do not.
        """
        if self.length + positions > self.capacity:
            raise self._full(self.length + positions)

    def _full(self, end: int) -> DataError:
        return DataError(
            f"{end} positions do not fit the cache", allowed=f"{self.capacity}", do="open a larger one"
        )

    def advance(self) -> None:
        """Count one more position in every layer, for a kernel that wrote it itself."""
        self._lengths = [length + 1 for length in self._lengths]

    def truncate(self, length: int) -> None:
        """Forget all positions from `length` on."""
        self._lengths = [min(length, held) for held in self._lengths]

    def select(self, rows: Tensor, capacity: int | None = None) -> StaticCache:
        """A new cache that holds the given rows, each as often as it is named.

        Args:
            rows: (B',) int64 indices of rows.
            capacity: of the new cache, at least `length`; None keeps it.
        """
        layers, _, heads, own, width = self.keys.shape
        chosen = StaticCache(
            num_layers=layers,
            batch=rows.numel(),
            num_heads=heads,
            capacity=own if capacity is None else capacity,
            head_size=width,
            dtype=self.keys.dtype,
            device=self.keys.device,
        )
        held = self.length
        chosen.keys[:, :, :, :held] = self.keys[:, :, :, :held].index_select(1, rows)
        chosen.values[:, :, :, :held] = self.values[:, :, :, :held].index_select(1, rows)
        chosen._lengths = [held] * layers
        return chosen
