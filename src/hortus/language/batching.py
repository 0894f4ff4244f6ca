"""From a list of texts to batches: checked, gathered by length, padded into tensors.

Legend: B rows, T tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from hortus.errors import DataError

__all__ = ["as_texts", "batches_by_length", "pad_left", "pad_right", "pad_right_masked", "tracked"]

_SMALL = 256  # tokens up to which a batch may hold more padding: fewer calls are worth more there


def as_texts(texts: Any, what: str = "text", single: bool = True) -> list[str]:
    """A list of strings as it is; one string as a list of itself if `single`.

    Raises:
        DataError: anything else, with what it is.

    >>> as_texts("one"), as_texts(["one", "two"])
    (['one'], ['one', 'two'])
    """
    if isinstance(texts, str) and single:
        return [texts]
    if isinstance(texts, str) or not isinstance(texts, Iterable):
        raise DataError(f"{what}: got {type(texts).__name__}", allowed="a list of strings")
    texts = list(texts)
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(f"{what} {number} is {type(text).__name__} {text!r:.40}", allowed="strings")
    return texts


def batches_by_length(
    lengths: Sequence[int],
    *,
    most_rows: int,
    most_tokens: int,
    most_padding: float = 1.0,
    longest_first: bool = True,
) -> Iterator[list[int]]:
    """Indices of rows, neighbours in length together, so that little padding is needed.

    Args:
        most_rows: rows a batch.
        most_tokens: tokens a batch, padding included; a longer row comes alone.
        most_padding: share of padding in a batch, unless it is small.

    >>> list(batches_by_length([3, 9, 4, 8], most_rows=2, most_tokens=100))
    [[1, 3], [2, 0]]
    """
    order = sorted(range(len(lengths)), key=lambda row: lengths[row], reverse=longest_first)
    batch: list[int] = []
    longest = held = 0
    for row in order:
        longest = max(longest, lengths[row])
        size = longest * (len(batch) + 1)
        padded = size > _SMALL and size - held - lengths[row] > most_padding * size
        if batch and (len(batch) == most_rows or size > most_tokens or padded):
            yield batch
            batch, longest, held = [], lengths[row], 0
        batch.append(row)
        held += lengths[row]
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


def pad_right_masked(rows: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor | None]:
    """(B, T) ids with padding on the right, and the (B, T) mask, 0 at padding; None when there is none."""
    ids = pad_right(rows, pad_id)
    if all(len(row) == ids.size(1) for row in rows):
        return ids, None
    return ids, torch.tensor([[1] * len(row) + [0] * (ids.size(1) - len(row)) for row in rows])


def tracked(batches: Sequence[Any], count: int, progress: bool | None, verb: str) -> Iterable[Any]:
    """The batches, with a bar on stderr when asked for or when there is much to do."""
    if not (count > 100 if progress is None else progress):
        return batches
    from rich.console import Console
    from rich.progress import track

    return track(batches, description=verb, console=Console(stderr=True), transient=True)
