"""The T5 network, versions 1.0 and 1.1 (Raffel et al. 2020; T0 and Flan-T5 have the second form).

What differs from a textbook transformer:
- scores are not divided by √d, and d is free of D/n;
- RMS norm without a bias, before each sub-layer and once after each stack; no biases anywhere;
- one table of relative-position biases a stack, in which cross attention has no part;
- version 1.0 scales what goes into the head by 1/√D, so that the head can be the embedding.

What differs from the published code: the bias of a stack is built once a pass (once a text when decoding);
cross attention carries no bias where no source is padded; its keys and values are computed once; and the
decoder takes several rows of one source, for answer choices, without repeating what was encoded.

Legend: B sources, R rows of the decoder (a multiple of B), S source tokens, T target tokens, D width,
n heads, d head width, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hortus.errors import DataError
from hortus.models.layers.activations import activation
from hortus.models.layers.encoder import hidden_keys
from hortus.models.layers.relative_position import relative_position_buckets
from hortus.models.t5.cache import T5Cache
from hortus.models.t5.config import T5Config

__all__ = ["T5"]


class Norm(nn.Module):
    """g · x / √(mean(x²) + ε), the mean in fp32."""

    def __init__(self, config: T5Config):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.hidden_size))
        self.epsilon = config.layer_norm_epsilon

    def forward(self, states: Tensor) -> Tensor:
        """(…, D) -> (…, D)."""
        return F.rms_norm(states, self.weight.shape, self.weight, self.epsilon)


class Attention(nn.Module):
    """Attention without scaling and without biases."""

    def __init__(self, config: T5Config):
        super().__init__()
        inner = config.num_heads * config.head_size
        self.num_heads, self.dropout = config.num_heads, config.dropout
        self.query, self.key, self.value = (
            nn.Linear(config.hidden_size, inner, bias=False) for _ in range(3)
        )
        self.output = nn.Linear(inner, config.hidden_size, bias=False)

    def split(self, states: Tensor) -> Tensor:
        """(B, T, n·d) -> (B, n, T, d)."""
        return states.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def keys_and_values(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """(B, S, D) -> twice (B, n, S, d)."""
        return self.split(self.key(states)), self.split(self.value(states))

    def forward(self, states: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
        """Attend from (R, T, D) to keys and values (B, n, S, d); the R / B rows of a source go together."""
        query = self.query(states).view(key.size(0), -1, self.num_heads, key.size(-1)).transpose(1, 2)
        dropout = self.dropout if self.training else 0.0
        context = F.scaled_dot_product_attention(
            query, key, value, attn_mask=bias, dropout_p=dropout, scale=1.0
        )
        return self.output(context.transpose(1, 2).reshape(*states.shape[:2], -1))


class FeedForward(nn.Module):
    """Version 1.0: W act(W x)."""

    def __init__(self, config: T5Config):
        super().__init__()
        self.expand = nn.Linear(config.hidden_size, config.inner_size, bias=False)
        self.contract = nn.Linear(config.inner_size, config.hidden_size, bias=False)
        self.activation, self.dropout = activation(config.activation), config.dropout

    def forward(self, states: Tensor) -> Tensor:
        """(…, D) -> (…, D)."""
        return self.contract(F.dropout(self.activation(self.expand(states)), self.dropout, self.training))


class GatedFeedForward(nn.Module):
    """Version 1.1: W (act(G x) ⊙ V x)."""

    def __init__(self, config: T5Config):
        super().__init__()
        self.gate = nn.Linear(config.hidden_size, config.inner_size, bias=False)
        self.linear = nn.Linear(config.hidden_size, config.inner_size, bias=False)
        self.contract = nn.Linear(config.inner_size, config.hidden_size, bias=False)
        self.activation, self.dropout = activation(config.activation), config.dropout

    def forward(self, states: Tensor) -> Tensor:
        """(…, D) -> (…, D)."""
        inner = self.activation(self.gate(states)) * self.linear(states)
        return self.contract(F.dropout(inner, self.dropout, self.training))


class Block(nn.Module):
    """One pre-norm layer of either stack; the decoder's have cross attention."""

    def __init__(self, config: T5Config, decoder: bool):
        super().__init__()
        self.attention_norm, self.attention = Norm(config), Attention(config)
        self.cross_norm = Norm(config) if decoder else None
        self.cross_attention = Attention(config) if decoder else None
        self.feed_forward_norm = Norm(config)
        self.feed_forward = GatedFeedForward(config) if config.gated else FeedForward(config)
        self.dropout = config.dropout

    def forward(
        self,
        states: Tensor,
        bias: Tensor,
        source: tuple[Tensor, Tensor] | None = None,
        source_bias: Tensor | None = None,
        cache: T5Cache | None = None,
        layer: int = 0,
    ) -> Tensor:
        """(R, T, D) -> (R, T, D)."""
        normed = self.attention_norm(states)
        key, value = self.attention.keys_and_values(normed)
        if cache is not None:
            key, value = cache.own.update(layer, key, value)
        states = states + self._drop(self.attention(normed, key, value, bias))
        if self.cross_attention is not None and self.cross_norm is not None and source is not None:
            crossed = self.cross_attention(self.cross_norm(states), *source, source_bias)
            states = states + self._drop(crossed)
        return states + self._drop(self.feed_forward(self.feed_forward_norm(states)))

    def _drop(self, states: Tensor) -> Tensor:
        return F.dropout(states, self.dropout, self.training)


class Stack(nn.Module):
    """Encoder or decoder: blocks, their table of position biases, a final norm."""

    def __init__(self, config: T5Config, decoder: bool):
        super().__init__()
        self.config, self.decoder = config, decoder
        self.position_bias = nn.Embedding(config.num_buckets, config.num_heads)
        layers = config.decoder_layers if decoder else config.num_layers
        self.blocks = nn.ModuleList(Block(config, decoder) for _ in range(layers))
        self.final_norm = Norm(config)

    def bias(self, length: int, past: int = 0) -> Tensor:
        """(1, n, T, past + T) biases of T queries after `past` positions; the decoder's hide later keys."""
        queries = torch.arange(past, past + length, device=self.position_bias.weight.device)
        distance = torch.arange(past + length, device=queries.device)[None] - queries[:, None]
        buckets = relative_position_buckets(
            distance,
            num_buckets=self.config.num_buckets,
            max_distance=self.config.max_distance,
            bidirectional=not self.decoder,
        )
        bias = self.position_bias(buckets).permute(2, 0, 1)[None]
        if self.decoder and length > 1:
            bias = bias.masked_fill(distance > 0, torch.finfo(bias.dtype).min)
        return bias


def _other_segments(queries: Tensor, keys: Tensor, dtype: torch.dtype) -> Tensor:
    """(B, T), (B, S) -> the bias (B, 1, T, S): the least number between tokens of different segments."""
    different = (queries[:, :, None] != keys[:, None, :])[:, None]
    return torch.zeros(different.shape, dtype=dtype, device=keys.device).masked_fill(
        different, torch.finfo(dtype).min
    )


class T5(nn.Module):
    """An encoder-decoder.

    >>> config = T5Config(vocab_size=32, hidden_size=16, inner_size=32, num_layers=2, num_heads=4)
    >>> network = T5(config).eval()
    >>> network(torch.tensor([[5, 6, 7]]), torch.tensor([[0, 8]])).shape
    torch.Size([1, 2, 32])
    """

    model_type = "t5"
    architecture = "encoder-decoder"

    def __init__(self, config: T5Config):
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.encoder, self.decoder = Stack(config, decoder=False), Stack(config, decoder=True)
        self.own_head = None
        if not config.tied_head:
            self.own_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw weights as published, times `initializer_factor`.

        σ = 1 for the embedding and the head, (D·d)^-½ for queries, D^-½ for keys, values, the tables and
        what widens, (n·d)^-½ for what attention writes, F^-½ for what narrows the inner width F.
        """
        config, factor = self.config, self.config.initializer_factor
        narrow = config.hidden_size**-0.5
        deviations = {
            "embedding": 1.0,
            "own_head": 1.0,
            "query": narrow * config.head_size**-0.5,
            "output": (config.num_heads * config.head_size) ** -0.5,
            "contract": config.inner_size**-0.5,
        }
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                deviation = deviations.get(name.rpartition(".")[2], narrow)
                module.weight.normal_(0.0, factor * deviation)
            elif isinstance(module, Norm):
                module.weight.fill_(factor)

    def forward(
        self, input_ids: Tensor, decoder_input_ids: Tensor, attention_mask: Tensor | None = None
    ) -> Tensor:
        """Logits.

        Args:
            input_ids: (B, S) integers below V.
            decoder_input_ids: (R, T): targets shifted right, `decoder_start_token_id` first. R is a multiple
                of B; the first R / B rows belong to the first source, and so on.
            attention_mask: (B, S), 0 at padding of the source. Targets padded on the right need none.

        Returns:
            (R, T, V).
        """
        return self.head(self.hidden(input_ids, decoder_input_ids, attention_mask))

    def hidden(
        self,
        input_ids: Tensor,
        decoder_input_ids: Tensor,
        attention_mask: Tensor | None = None,
        source_segments: Tensor | None = None,
        segment_ids: Tensor | None = None,
    ) -> Tensor:
        """The decoder's last states, normalised and scaled as the head takes them: (R, T, D).

        Args:
            source_segments, segment_ids: (B, S) and (B, T) where several examples are packed into a row
                (R = B): a target sees its own tokens and the source tokens of the same number.
        """
        encoded = self.encode(input_ids, attention_mask, source_segments)
        if source_segments is None or segment_ids is None:
            return self.decode(decoder_input_ids, encoded, attention_mask)
        return self.decode(decoder_input_ids, encoded, segments=(source_segments, segment_ids))

    def encode(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, segment_ids: Tensor | None = None
    ) -> Tensor:
        """The encoder's last states, normalised: (B, S) -> (B, S, D).

        Args:
            attention_mask: (B, S), 0 at padding.
            segment_ids: (B, S); packed texts see only themselves.

        Raises:
            DataError: a mask of another shape.
        """
        if attention_mask is not None and attention_mask.shape != input_ids.shape:
            raise DataError(
                f"attention_mask has shape {tuple(attention_mask.shape)}",
                allowed=f"{tuple(input_ids.shape)}, that of input_ids",
            )
        states = self._drop(self.embedding(input_ids))
        bias = self.encoder.bias(input_ids.size(1)).to(states.dtype)
        hidden = hidden_keys(attention_mask, segment_ids, bias.dtype)
        # Clamped, for the sum of a bias and the least number may round to -inf.
        bias = bias if hidden is None else (bias + hidden).clamp_min(torch.finfo(bias.dtype).min)
        for block in self.encoder.blocks:
            states = block(states, bias)
        return self._drop(self.encoder.final_norm(states))

    def open_cache(
        self, encoded: Tensor, attention_mask: Tensor | None, *, capacity: int, copies: int = 1
    ) -> T5Cache:
        """A cache for decoding after what was encoded: cross attention's keys and values, computed once.

        Args:
            encoded: (B, S, D).
            attention_mask: (B, S), 0 at padding of the source.
            capacity: target tokens there is room for.
            copies: rows of the decoder for each source.
        """
        sources = [self._source(layer, encoded) for layer in range(self.config.decoder_layers)]
        return T5Cache(
            sources=[(key.contiguous(), value.contiguous()) for key, value in sources],
            source_bias=hidden_keys(attention_mask, None, encoded.dtype),
            bias=self.decoder.bias(capacity),
            num_rows=copies * encoded.size(0),
        )

    def _source(self, layer: int, encoded: Tensor | None) -> tuple[Tensor, Tensor]:
        block: Any = self.decoder.blocks[layer]
        return block.cross_attention.keys_and_values(encoded)

    def decode(
        self,
        decoder_input_ids: Tensor,
        encoded: Tensor | None = None,
        attention_mask: Tensor | None = None,
        cache: T5Cache | None = None,
        segments: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """The decoder's last states, normalised, and scaled where the configuration says so.

        Args:
            decoder_input_ids: (R, T): all of them, or those after what the cache holds.
            encoded: (B, S, D); not needed with a cache.
            attention_mask: (B, S), 0 at padding of the source.
            cache: of `open_cache`; extended in place.
            segments: of packed rows without a cache, (B, S) of the source and (B, T) of the target.

        Returns:
            (R, T, D).
        """
        length = decoder_input_ids.size(1)
        if cache is not None:
            bias, source_bias = cache.rows_of_bias(length), cache.source_bias
        elif encoded is not None:
            bias, source_bias = self.decoder.bias(length), hidden_keys(attention_mask, None, encoded.dtype)
            if segments is not None:
                own, crossed = (_other_segments(segments[1], keys, bias.dtype) for keys in segments[::-1])
                bias, source_bias = (bias + own).clamp_min(torch.finfo(bias.dtype).min), crossed
        else:
            raise DataError("decode got neither encoded states nor a cache", do="call encode first")
        states = self._drop(self.embedding(decoder_input_ids))
        for layer, block in enumerate(self.decoder.blocks):
            source = self._source(layer, encoded) if cache is None else cache.sources[layer]
            states = block(states, bias.to(states.dtype), source, source_bias, cache, layer)
        states = self._drop(self.decoder.final_norm(states))
        return states * self.config.hidden_size**-0.5 if self.config.scale_decoder_outputs else states

    def head(self, hidden: Tensor) -> Tensor:
        """(…, D) -> logits (…, V)."""
        return F.linear(hidden, self.head_weight)

    @property
    def head_weight(self) -> Tensor:
        """(V, D): the embedding, or the head of its own."""
        return self.embedding.weight if self.own_head is None else self.own_head.weight

    def _drop(self, states: Tensor) -> Tensor:
        return F.dropout(states, self.config.dropout, self.training)
