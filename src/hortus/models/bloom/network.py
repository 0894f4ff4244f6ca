"""The BLOOM network (the BLOOM paper, section 3.2).

What differs from a textbook GPT:
- a LayerNorm directly after the embedding;
- ALiBi instead of position embeddings;
- the rows of the fused query-key-value weight are grouped by head: (n, 3, d), not (3, n, d);
- the tanh form of GELU; biases everywhere but in the head; the head is the embedding.

Legend: B batch, T tokens, D width, n heads, d head width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from hortus.models.bloom.config import BloomConfig
from hortus.models.layers.activations import activation, project_activated
from hortus.models.layers.alibi import alibi_slopes
from hortus.models.layers.attention import (
    AttentionPlan,
    KeyValueStore,
    Tree,
    attend,
    attend_fused,
    plan_attention,
    plan_trees,
    share_of_heads,
)
from hortus.models.layers.initialization import draw_decoder_weights

__all__ = ["Bloom"]

_gelu = activation("gelu_pytorch_tanh")


class Attention(nn.Module):
    """Fused projection, ALiBi attention, output projection."""

    def __init__(self, config: BloomConfig):
        super().__init__()
        self.num_heads, self.head_size = config.num_heads, config.head_size
        self.dropout = config.attention_dropout
        self.query_key_value = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.output = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, states: Tensor, plan: AttentionPlan, cache: KeyValueStore | None, layer: int) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        fused = self.query_key_value(states).unflatten(-1, (self.num_heads, 3, self.head_size))
        dropout = self.dropout if self.training else 0.0
        if cache is not None:
            query, key, value = (x.transpose(1, 2) for x in fused.unbind(3))  # (B, n, T, d)
            key, value = cache.update(layer, key, value)
            if key.size(2) > query.size(2):
                return self.output(attend(query, key, value, plan, dropout).flatten(2))
        return self.output(attend_fused(fused, plan, dropout).flatten(2))


class FeedForward(nn.Module):
    """Widen four times, GELU, narrow."""

    def __init__(self, config: BloomConfig):
        super().__init__()
        self.expand = nn.Linear(config.hidden_size, 4 * config.hidden_size)
        self.contract = nn.Linear(4 * config.hidden_size, config.hidden_size)

    def forward(self, states: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        return project_activated(self.contract, _gelu, self.expand(states))


class Block(nn.Module):
    """One pre-norm layer."""

    def __init__(self, config: BloomConfig):
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.hidden_size, config.layer_norm_epsilon)
        self.attention = Attention(config)
        self.feed_forward_norm = nn.LayerNorm(config.hidden_size, config.layer_norm_epsilon)
        self.feed_forward = FeedForward(config)
        self.residual_after_norm = config.apply_residual_connection_post_layernorm
        self.dropout = config.hidden_dropout

    def forward(
        self, states: Tensor, plan: AttentionPlan, cache: KeyValueStore | None = None, layer: int = 0
    ) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        normed = self.attention_norm(states)
        residual = normed if self.residual_after_norm else states
        states = residual + self._drop(self.attention(normed, plan, cache, layer))
        normed = self.feed_forward_norm(states)
        residual = normed if self.residual_after_norm else states
        return residual + self._drop(self.feed_forward(normed))

    def _drop(self, states: Tensor) -> Tensor:
        return F.dropout(states, self.dropout, self.training) if self.dropout else states


class Bloom(nn.Module):
    """A causal language model.

    `activation_checkpointing` (False) may be set to recompute each block in the backward pass: memory for a
    block's inner activations is then needed for one block at a time, at about a third more arithmetic.

    >>> network = Bloom(BloomConfig(vocab_size=32, hidden_size=16, num_layers=2, num_heads=4))
    >>> network(torch.tensor([[5, 6, 7]])).shape
    torch.Size([1, 3, 32])
    """

    model_type = "bloom"
    architecture = "decoder"
    # How processes that share a block divide its matrices: by output columns, then by input rows.
    tensor_plan = {
        "blocks.*.attention.query_key_value": "columns",
        "blocks.*.attention.output": "rows",
        "blocks.*.feed_forward.expand": "columns",
        "blocks.*.feed_forward.contract": "rows",
    }

    def __init__(self, config: BloomConfig):
        super().__init__()
        self.config = config
        self.slopes = alibi_slopes(config.num_heads)
        self.activation_checkpointing = False
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.embedding_norm = nn.LayerNorm(config.hidden_size, config.layer_norm_epsilon)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.final_norm = nn.LayerNorm(config.hidden_size, config.layer_norm_epsilon)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weights anew: see `draw_decoder_weights`."""
        draw_decoder_weights(self, self.config.initial_deviation, self.config.num_layers)

    def take_heads(self, part: int, parts: int) -> None:
        """Compute with the heads of one of so many equal parts only: rows grouped by head are cut there too.

        Raises:
            ConfigError: the heads cannot be divided so.
        """
        count = share_of_heads(self.config.num_heads, parts)
        self.slopes = self.slopes[part * count : (part + 1) * count]
        blocks: Any = self.blocks
        for block in blocks:
            block.attention.num_heads = count

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Logits.

        Args:
            input_ids: (B, T) integers below V.
            attention_mask: (B, T), 0 at padding; positions count its ones, so left padding shifts nothing.

        Returns:
            (B, T, V). Values at padded positions mean nothing.
        """
        return self.head(self.hidden(input_ids, attention_mask))

    def hidden(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        segment_ids: Tensor | None = None,
        cache: KeyValueStore | None = None,
        trees: Sequence[Tree] | None = None,
    ) -> Tensor:
        """The last layer's states, normalised.

        Args:
            input_ids: (B, T).
            attention_mask: (B, S) with S = cached + current tokens.
            segment_ids: (B, T); neighbours with equal ids are one packed document, seen by itself only.
            cache: keys and values of earlier tokens, extended in place.
            trees: of one row (B = 1) and in place of all else: packed texts, each followed by what may
                continue it; the length of each text, then those of its continuations (see `plan_trees`).

        Returns:
            (B, T, D).

        Raises:
            DataError: a mask, segments or trees of the wrong shape.
        """
        batch, length = input_ids.shape
        heads, device, dtype = len(self.slopes), input_ids.device, self.final_norm.weight.dtype
        if trees is not None:
            plan = plan_trees(heads, trees, batch * length, slopes=self.slopes, device=device, dtype=dtype)
        else:
            plan = plan_attention(
                heads,
                batch,
                length,
                past=0 if cache is None else cache.length,
                attention_mask=attention_mask,
                segment_ids=segment_ids,
                slopes=self.slopes,
                device=device,
                dtype=dtype,
            )
        states = self.embedding_norm(self.embedding(input_ids))
        for layer, block in enumerate(self.blocks):
            if self.activation_checkpointing and torch.is_grad_enabled() and cache is None:
                states = checkpoint(block, states, plan, use_reentrant=False)
            else:
                states = block(states, plan, cache, layer)
        return self.final_norm(states)

    def head(self, hidden: Tensor) -> Tensor:
        """(…, D) -> logits (…, V)."""
        if isinstance(self.embedding, nn.Embedding):
            return F.linear(hidden, self.head_weight)
        return self.embedding.project(hidden)  # packed: see hortus.models.decoder.packed

    @property
    def head_weight(self) -> Tensor:
        """(V, D): the embedding."""
        return self.embedding.weight
