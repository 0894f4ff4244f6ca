"""BLOOM's decoding step for the compiled kernels: the same sums as `hortus.models.bloom.network`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hortus.models.bloom.network import Bloom
from hortus.models.decoder.program import Step
from hortus.models.layers.attention import alibi_slopes

__all__ = ["describe_step"]


def describe_step(network: Bloom, step: Step) -> Tensor:
    """Append the operations of one step; return the buffer (B, V) that will hold the logits."""
    slopes = torch.tensor(alibi_slopes(network.config.num_heads))
    states = step.norm(step.embed(network.embedding), network.embedding_norm)
    blocks: Any = network.blocks
    for layer, block in enumerate(blocks):
        normed = step.norm(states, block.attention_norm)
        attended = step.attend(step.linear(normed, block.attention.query_key_value), layer, slopes)
        residual = normed if block.residual_after_norm else states
        states = step.linear(attended, block.attention.output, residual=residual)
        normed = step.norm(states, block.feed_forward_norm)
        residual = normed if block.residual_after_norm else states
        widened = step.linear(normed, block.feed_forward.expand, gelu=True)
        states = step.linear(widened, block.feed_forward.contract, residual=residual)
    return step.linear(step.norm(states, network.final_norm, scored=True), network.embedding, scored=True)
