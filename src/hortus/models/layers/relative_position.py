"""T5's relative positions: distances in buckets, one learned number a bucket and head (Raffel et al. 2020).

Legend: T queries, S keys, n heads.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["relative_position_buckets"]


def relative_position_buckets(
    distance: Tensor, *, num_buckets: int = 32, max_distance: int = 128, bidirectional: bool = True
) -> Tensor:
    """The bucket of each distance r = key position - query position.

    Half of the buckets hold one distance each; the others grow logarithmically up to `max_distance`, and the
    last one holds all beyond. A bidirectional table has one half of the buckets for keys behind the query and
    one for those ahead; otherwise keys ahead share bucket 0.

    >>> relative_position_buckets(torch.tensor([-128, -12, 0, 1, 64])).tolist()
    [15, 9, 0, 17, 30]
    """
    start = torch.zeros_like(distance)
    if bidirectional:
        num_buckets //= 2
        start = (distance > 0).long() * num_buckets
        distance = distance.abs()
    else:
        distance = (-distance).clamp_min(0)
    exact = num_buckets // 2
    # The quotient of logarithms is taken in fp32, as published weights were trained: the edges depend on it.
    growth = torch.log(distance.clamp_min(1).float() / exact) / math.log(max_distance / exact)
    far = (exact + (growth * (num_buckets - exact)).long()).clamp_max(num_buckets - 1)
    return start + torch.where(distance < exact, distance, far)
