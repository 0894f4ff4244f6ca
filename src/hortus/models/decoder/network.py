"""A decoder whose parts are switches: what an ablation varies, and BLOOM when left at its defaults.

What each switch of `DecoderConfig` does:
- position: "alibi" adds slope × key position to the scores, "rotary" turns queries and keys, "learned" adds a
  row of a table to the embedding, "none" leaves the causal order alone to tell positions apart;
- activation: "gelu" is contract(gelu(expand(x))), "swiglu" contract(silu(gate(x)) ⊙ expand(x));
- embedding_norm: a LayerNorm directly after the embedding;
- norm_placement: "pre" x + f(norm(x)), "post" norm(x + f(x)), "sandwich" x + norm(f(norm(x)));
- num_kv_heads: heads of keys and values, each shared by a group of query heads. A fused row group holds the
  queries of a group, its key and its value: with one query a group that is BLOOM's layout;
- objective: which tokens see which. Both ways of looking use -slope × |distance| for ALiBi, for which its
  published form has no answer.

Legend: B batch, T tokens, S keys, D width, n heads, m heads of keys and values, d head width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from hortus.errors import ConfigError, DataError
from hortus.models.decoder.config import DecoderConfig
from hortus.models.decoder.positions import positions_of, tree_positions, two_way_bias
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
from hortus.models.layers.rotary import rotary_angles, rotate

__all__ = ["HortusDecoder"]

Angles = tuple[Tensor, Tensor]
_gelu = activation("gelu_pytorch_tanh")


class Attention(nn.Module):
    """Fused projection, attention over shared or own keys, output projection."""

    def __init__(self, config: DecoderConfig):
        super().__init__()
        self.groups, self.head_size = config.kv_heads, config.head_size
        self.queries = config.num_heads // config.kv_heads
        columns = (config.num_heads + 2 * config.kv_heads) * config.head_size
        self.query_key_value = nn.Linear(config.hidden_size, columns)
        self.output = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(
        self,
        states: Tensor,
        plan: AttentionPlan,
        angles: Angles | None,
        cache: KeyValueStore | None,
        layer: int,
    ) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        fused = self.query_key_value(states).unflatten(-1, (self.groups, self.queries + 2, self.head_size))
        if self.queries == 1 and angles is None and cache is None:
            return self.output(attend_fused(fused, plan).flatten(2))
        query, key, value = fused.split([self.queries, 1, 1], 3)
        query = query.flatten(2, 3).transpose(1, 2)  # (B, n, T, d)
        key, value = key[:, :, :, 0].transpose(1, 2), value[:, :, :, 0].transpose(1, 2)  # (B, m, T, d)
        if angles is not None:
            query, key = rotate(query, angles), rotate(key, angles)
        if cache is not None:
            key, value = cache.update(layer, key, value)
        if self.queries > 1:
            key, value = (x.repeat_interleave(self.queries, 1) for x in (key, value))
        return self.output(attend(query, key, value, plan).flatten(2))


class FeedForward(nn.Module):
    """Widen, activate, narrow."""

    def __init__(self, config: DecoderConfig):
        super().__init__()
        self.expand = nn.Linear(config.hidden_size, config.width)
        gated = config.activation == "swiglu"
        self.gate = nn.Linear(config.hidden_size, config.width) if gated else None
        self.contract = nn.Linear(config.width, config.hidden_size)

    def forward(self, states: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        if self.gate is None:
            return project_activated(self.contract, _gelu, self.expand(states))
        return self.contract(F.silu(self.gate(states)) * self.expand(states))


class Block(nn.Module):
    """Attention and feed-forward, each with its norms and a residual around it."""

    def __init__(self, config: DecoderConfig):
        super().__init__()

        def norm() -> nn.LayerNorm:
            return nn.LayerNorm(config.hidden_size, config.layer_norm_epsilon)

        self.placement, self.dropout = config.norm_placement, config.hidden_dropout
        sandwich = self.placement == "sandwich"
        self.attention_norm, self.attention = norm(), Attention(config)
        self.attention_after_norm = norm() if sandwich else None
        self.feed_forward_norm, self.feed_forward = norm(), FeedForward(config)
        self.feed_forward_after_norm = norm() if sandwich else None

    def forward(
        self,
        states: Tensor,
        plan: AttentionPlan,
        angles: Angles | None = None,
        cache: KeyValueStore | None = None,
        layer: int = 0,
    ) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        if self.placement == "post":
            states = self.attention_norm(
                states + self._drop(self.attention(states, plan, angles, cache, layer))
            )
            return self.feed_forward_norm(states + self._drop(self.feed_forward(states)))
        change = self.attention(self.attention_norm(states), plan, angles, cache, layer)
        if self.attention_after_norm is not None:
            change = self.attention_after_norm(change)
        states = states + self._drop(change)
        change = self.feed_forward(self.feed_forward_norm(states))
        if self.feed_forward_after_norm is not None:
            change = self.feed_forward_after_norm(change)
        return states + self._drop(change)

    def _drop(self, states: Tensor) -> Tensor:
        return F.dropout(states, self.dropout, self.training) if self.dropout else states


class HortusDecoder(nn.Module):
    """The decoder.

    `activation_checkpointing` (False) may be set to recompute each block in the backward pass.

    >>> config = DecoderConfig(vocab_size=32, hidden_size=16, num_layers=2, num_heads=4, position="rotary")
    >>> HortusDecoder(config)(torch.tensor([[5, 6, 7]])).shape
    torch.Size([1, 3, 32])
    """

    model_type = "hortus_decoder"
    architecture = "decoder"

    def __init__(self, config: DecoderConfig):
        super().__init__()
        self.config = config
        self.activation_checkpointing = False
        alibi = config.position == "alibi"
        self.slopes = alibi_slopes(config.num_heads) if alibi else (0.0,) * config.num_heads
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        learned = config.position == "learned"
        self.position_embedding = nn.Embedding(config.max_positions, config.hidden_size) if learned else None
        width, epsilon = config.hidden_size, config.layer_norm_epsilon
        self.embedding_norm = nn.LayerNorm(width, epsilon) if config.embedding_norm else None
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.final_norm = nn.LayerNorm(width, epsilon) if config.norm_placement != "post" else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weights anew: see `draw_decoder_weights`."""
        draw_decoder_weights(self, self.config.initial_deviation, self.config.num_layers)

    @property
    def tensor_plan(self) -> dict[str, str]:
        """How processes that share a block divide its matrices: by output columns, then by input rows."""
        plan = {"attention.query_key_value": "columns", "attention.output": "rows"}
        plan |= {"feed_forward.expand": "columns", "feed_forward.contract": "rows"}
        plan |= {"feed_forward.gate": "columns"} if self.config.activation == "swiglu" else {}
        return {f"blocks.*.{name}": cut for name, cut in plan.items()}

    def take_heads(self, part: int, parts: int) -> None:
        """Compute with the heads of one of so many equal parts only.

        Raises:
            ConfigError: the heads of keys and values, or the inner width, cannot be divided so.
        """
        groups = share_of_heads(self.config.kv_heads, parts)
        if self.config.width % parts:
            raise ConfigError(f"tensor_parallel={parts} does not divide inner_size={self.config.width}")
        count = self.config.num_heads // parts
        self.slopes = self.slopes[part * count : (part + 1) * count]
        blocks: Any = self.blocks
        for block in blocks:
            block.attention.groups = groups

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """(B, T) ids -> (B, T, V) logits; see `Bloom.forward`."""
        return self.head(self.hidden(input_ids, attention_mask))

    def hidden(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        segment_ids: Tensor | None = None,
        cache: KeyValueStore | None = None,
        trees: Sequence[Tree] | None = None,
        prefix_lengths: Tensor | None = None,
    ) -> Tensor:
        """The last layer's states, normalised; arguments are those of `Bloom.hidden`.

        Args:
            prefix_lengths: (B,) tokens at the start of each row that see each other both ways. A network with
                objective "prefix" takes what a fresh cache is filled with for a prefix.

        Returns:
            (B, T, D).

        Raises:
            ConfigError: a cache, or trees, for a network that looks both ways.
            DataError: more positions than were learned.
        """
        past = 0 if cache is None else cache.length
        plan = self._plan(
            input_ids, attention_mask, segment_ids, past, trees, prefix_lengths, cache is not None
        )
        positions = (
            positions_of(input_ids, attention_mask, segment_ids, past)
            if trees is None
            else tree_positions(trees, input_ids.device)
        )
        states = self._embed(input_ids, positions)
        angles = None
        if self.config.position == "rotary":
            angles = rotary_angles(positions, self.config.head_size, self.config.rotary_base)
        for layer, block in enumerate(self.blocks):
            if self.activation_checkpointing and torch.is_grad_enabled() and cache is None:
                states = checkpoint(block, states, plan, angles, use_reentrant=False)
            else:
                states = block(states, plan, angles, cache, layer)
        return states if self.final_norm is None else self.final_norm(states)

    def _embed(self, input_ids: Tensor, positions: Tensor) -> Tensor:
        states = self.embedding(input_ids)
        if self.position_embedding is not None:
            last, rows = int(positions.max()), self.config.max_positions
            if last >= rows:
                raise DataError(
                    f"{last + 1} positions",
                    allowed=f"at most {rows}, the learned ones",
                    do="shorten the text",
                )
            states = states + self.position_embedding(positions)
        return states if self.embedding_norm is None else self.embedding_norm(states)

    def _plan(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        segment_ids: Tensor | None,
        past: int,
        trees: Sequence[Tree] | None,
        prefix_lengths: Tensor | None,
        caching: bool,
    ) -> AttentionPlan:
        (batch, length), config, heads = input_ids.shape, self.config, len(self.slopes)
        kind: dict[str, Any] = {"device": input_ids.device, "dtype": self.embedding.weight.dtype}
        if config.objective == "masked" and (caching or trees is not None):
            raise ConfigError(
                'a decoder with objective "masked" does not continue texts',
                do='train it further with objective "causal" or "prefix"',
            )
        if config.objective == "prefix" and caching and not past and prefix_lengths is None:
            prefix_lengths = torch.full((batch,), length, device=input_ids.device)
        if config.objective == "masked":
            prefix_lengths = torch.full((batch,), length, device=input_ids.device)
        if prefix_lengths is not None:
            bias = two_way_bias(
                self.slopes,
                positions_of(input_ids, attention_mask, segment_ids, 0),
                attention_mask,
                segment_ids,
                prefix_lengths,
            )
            return AttentionPlan(bias, False)
        if trees is not None:
            plan = plan_trees(heads, trees, batch * length, slopes=self.slopes, **kind)
        else:
            masks: dict[str, Any] = {"attention_mask": attention_mask, "segment_ids": segment_ids}
            plan = plan_attention(heads, batch, length, past=past, slopes=self.slopes, **masks, **kind)
        # The kernel for ALiBi leaves out what steep slopes make vanish; without slopes nothing does.
        return plan if config.position == "alibi" else replace(plan, slopes=None)

    def head(self, hidden: Tensor) -> Tensor:
        """(…, D) -> logits (…, V)."""
        return F.linear(hidden, self.head_weight)

    @property
    def head_weight(self) -> Tensor:
        """(V, D): the embedding."""
        return self.embedding.weight
