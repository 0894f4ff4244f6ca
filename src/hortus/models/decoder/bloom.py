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
    config = network.config
    slopes, epsilon = torch.tensor(alibi_slopes(config.num_heads)), network.final_norm.eps
    states = step.norm(step.embed(network.embedding), network.embedding_norm, epsilon)
    blocks: Any = network.blocks
    for layer, block in enumerate(blocks):
        normed = step.norm(states, block.attention_norm, epsilon)
        fused = step.linear(normed, block.attention.query_key_value)
        query, key, value = fused.view(-1, config.num_heads, 3, config.head_size).unbind(2)
        attended = step.attend(query, key, value, layer, scaling=config.head_size**-0.5, slopes=slopes)
        residual = normed if block.residual_after_norm else states
        states = step.linear(attended, block.attention.output, residual=residual)
        normed = step.norm(states, block.feed_forward_norm, epsilon)
        residual = normed if block.residual_after_norm else states
        widened = step.linear(normed, block.feed_forward.expand, activation="gelu_new")
        states = step.linear(widened, block.feed_forward.contract, residual=residual)
    last = step.norm(states, network.final_norm, epsilon, scored=True)
    return step.linear(last, network.embedding, scored=True)
