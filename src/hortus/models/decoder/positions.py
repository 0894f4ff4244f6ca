"""Positions of tokens in rows, packed rows and trees, and the bias of attention that looks both ways.

Legend: B batch, T tokens, n heads.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hortus.models.layers.attention import Tree, tree_parts

__all__ = ["positions_of", "tree_positions", "two_way_bias"]


def positions_of(
    input_ids: Tensor, attention_mask: Tensor | None, segment_ids: Tensor | None, past: int
) -> Tensor:
    """(B or 1, T): the place of each token in its document, padding not counted.

    >>> positions_of(torch.zeros(1, 5), None, torch.tensor([[0, 0, 1, 1, 1]]), 0)
    tensor([[0, 1, 0, 1, 2]])
    """
    length, device = input_ids.size(1), input_ids.device
    if attention_mask is not None:
        visible = (attention_mask != 0).long()
        return ((visible.cumsum(-1) - 1) * visible)[:, past : past + length]
    places = torch.arange(past, past + length, device=device)[None]
    if segment_ids is None:
        return places
    fresh = torch.ones_like(segment_ids, dtype=torch.bool)
    fresh[:, 1:] = segment_ids[:, 1:] != segment_ids[:, :-1]
    return places - torch.where(fresh, places, 0).cummax(-1).values


def tree_positions(trees: Sequence[Tree], device: torch.device) -> Tensor:
    """(1, T): a branch's positions go on from those of its stem.

    >>> tree_positions([(2, 2, 1)], torch.device("cpu"))
    tensor([[0, 1, 2, 3, 2]])
    """
    parts = [torch.arange(size) + start for tree in trees for size, _, start in tree_parts(tree)]
    return torch.cat(parts).to(device)[None]


def two_way_bias(
    slopes: tuple[float, ...],
    positions: Tensor,
    attention_mask: Tensor | None,
    segment_ids: Tensor | None,
    prefix_lengths: Tensor,
) -> Tensor:
    """-slope × |distance| where a token may look, the minimum elsewhere: (B or 1, n, T, T).

    Args:
        positions: (B or 1, T).
        prefix_lengths: (B,); so many tokens of a row are seen by all, each other by those after it.
    """
    length, device = positions.size(1), positions.device
    places = torch.arange(length, device=device)
    seen = (places <= places[:, None]) | (places < prefix_lengths[:, None, None])  # (B, T, T)
    if segment_ids is not None:
        seen = seen & (segment_ids[:, :, None] == segment_ids[:, None, :])
    if attention_mask is not None:
        seen = seen & (attention_mask != 0)[:, None, :]
    distance = (positions[:, :, None] - positions[:, None, :]).abs().float()
    steep = torch.tensor(slopes, device=device)[:, None, None]
    return (-steep * distance[:, None]).masked_fill(~seen[:, None], torch.finfo(torch.float32).min)
