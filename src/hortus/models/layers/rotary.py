"""Rotary positions (Su et al. 2021): pairs of columns turned by an angle that grows with the position.

Legend: B batch, T tokens, n heads, d head width.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["rotary_angles", "rotate"]


def rotary_angles(positions: Tensor, head_size: int, base: float) -> tuple[Tensor, Tensor]:
    """Cosine and sine of position · base^(-2i/d) for the pairs i = 0..d/2-1.

    Args:
        positions: (B or 1, T).

    Returns:
        Two of (B or 1, 1, T, d/2), fp32.
    """
    pairs = torch.arange(0, head_size, 2, device=positions.device, dtype=torch.float32)
    angles = positions[:, None, :, None].float() * base ** (-pairs / head_size)
    return angles.cos(), angles.sin()


def rotate(states: Tensor, angles: tuple[Tensor, Tensor]) -> Tensor:
    """Turn column i with column i + d/2 (the pairing of GPT-NeoX and Llama) by the angle of pair i.

    Args:
        states: (B, n, T, d).

    >>> angles = rotary_angles(torch.tensor([[0, 1]]), 2, 10_000.0)
    >>> rotate(torch.tensor([[[[1.0, 0.0], [1.0, 0.0]]]]), angles)[0, 0, 1]
    tensor([0.5403, 0.8415])
    """
    cosine, sine = angles
    first, second = states.float().chunk(2, -1)
    turned = torch.cat([first * cosine - second * sine, second * cosine + first * sine], -1)
    return turned.to(states.dtype)
