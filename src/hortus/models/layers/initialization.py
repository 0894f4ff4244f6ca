"""First weights of decoders."""

from __future__ import annotations

import math

import torch
from torch import nn

__all__ = ["draw_decoder_weights"]


@torch.no_grad()
def draw_decoder_weights(network: nn.Module, deviation: float, num_layers: int) -> None:
    """Draw weights as the BLOOM releases were trained from.

    N(0, σ); the two projections that write into the residual stream (`attention.output` and
    `feed_forward.contract`) use σ/√(2L). Biases 0, LayerNorm 1 and 0.
    """
    into_residual = deviation / math.sqrt(2 * num_layers)
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear):
            narrow = name.endswith(("attention.output", "feed_forward.contract"))
            module.weight.normal_(0.0, into_residual if narrow else deviation)
            module.bias.zero_()
        elif isinstance(module, nn.Embedding):
            module.weight.normal_(0.0, deviation)
        elif isinstance(module, nn.LayerNorm):
            module.reset_parameters()
