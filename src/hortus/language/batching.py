"""Lists of token rows into batches of similar length, and batches into tensors.

Legend: B rows, T tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

__all__ = ["batches_by_length", "pad_left", "pad_right"]


def batches_by_length(
    lengths: Sequence[int], *, most_rows: int, most_tokens: int, longest_first: bool = True
) -> Iterator[list[int]]:
    """Indices of rows, neighbours in length together, so that little padding is needed.

    Args:
        most_rows: rows a batch.
        most_tokens: tokens a batch, padding included; a longer row comes alone.

    >>> list(batches_by_length([3, 9, 4, 8], most_rows=2, most_tokens=100))
    [[1, 3], [2, 0]]
    """
    order = sorted(range(len(lengths)), key=lambda row: lengths[row], reverse=longest_first)
    batch: list[int] = []
    for row in order:
        longest = max([lengths[row], *(lengths[other] for other in batch)])
        if batch and (len(batch) == most_rows or longest * (len(batch) + 1) > most_tokens):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def pad_left(rows: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor | None]:
    """(B, T) ids with padding on the left, and the (B, T) mask, 0 at padding; None when there is none."""
    longest = max(map(len, rows))
    ids = torch.tensor([[pad_id] * (longest - len(row)) + list(row) for row in rows])
    if all(len(row) == longest for row in rows):
        return ids, None
    return ids, torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])


def pad_right(rows: Sequence[Sequence[int]], pad_id: int) -> Tensor:
    """(B, T) ids with padding on the right. A causal network needs no mask: nothing real follows it."""
    longest = max(map(len, rows))
    return torch.tensor([list(row) + [pad_id] * (longest - len(row)) for row in rows])
