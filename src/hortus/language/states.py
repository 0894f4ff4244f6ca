"""Last states of texts by any network, in batches of like length, and their means.

Legend: B texts, T tokens, D width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hortus.language.batching import batches_by_length, pad_right, pad_right_masked, tracked

__all__ = ["hidden_states", "mean_states"]

_MOST_ROWS = 128
_MOST_TOKENS = 4096  # of one batch


def hidden_states(
    network: Any,
    rows: Sequence[Sequence[int]],
    pad_id: int,
    types: Sequence[Sequence[int]] | None = None,
    progress: bool | None = None,
    verb: str = "embed",
) -> Iterator[tuple[list[int], Tensor, Tensor | None]]:
    """Run a network over all rows, in batches with little padding: the encoder where there are two stacks.

    Args:
        rows: token ids, framed.
        types: token types of each row; None is all 0.

    Yields:
        Indices of rows, their states (B, T, D), and the mask (B, T), 0 at padding, or None without padding.
    """
    device = next(network.parameters()).device
    batches = list(
        batches_by_length(
            [len(row) for row in rows], most_rows=_MOST_ROWS, most_tokens=_MOST_TOKENS, most_padding=0.08
        )
    )
    encode = network.encode if network.architecture == "encoder-decoder" else network.hidden
    for batch in tracked(batches, len(rows), progress, verb):
        ids, mask = pad_right_masked([rows[i] for i in batch], pad_id)
        mask = None if mask is None else mask.to(device)
        # In a causal network nothing real follows padding on the right.
        seen = None if network.architecture == "decoder" else mask
        more = {}
        if types is not None and any(any(types[i]) for i in batch):
            more["token_type_ids"] = pad_right([types[i] for i in batch], 0).to(device)
        yield batch, encode(ids.to(device), seen, **more), mask


@torch.inference_mode()
def mean_states(
    network: Any, rows: Sequence[Sequence[int]], pad_id: int, progress: bool | None = None
) -> np.ndarray:
    """Mean of the last layer's states over each row's tokens.

    Returns:
        (len(rows), D) fp32.
    """
    result = np.zeros((len(rows), network.config.hidden_size), dtype=np.float32)
    for batch, hidden, mask in hidden_states(network, rows, pad_id, progress=progress):
        hidden = hidden.float()
        if mask is None:
            means = hidden.mean(1)
        else:
            real = mask[:, :, None].to(hidden.dtype)
            means = (hidden * real).sum(1) / real.sum(1)
        result[batch] = means.cpu().numpy()
    return result
