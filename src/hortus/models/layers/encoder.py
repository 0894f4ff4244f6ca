"""What BERT and DistilBERT share: embeddings, post-norm blocks, the masked-LM head.

- A position counts from a row's first visible token, so left padding shifts nothing. Published code counts
  from the start of the row, which is the same for its usual padding on the right.
- Packed documents (`segment_ids`) see only themselves and count their own positions.
- The bias that hides padding is built once a pass; without padding there is none.

Legend: B batch, T tokens, D width, n heads, d head width, F inner width, V vocabulary, C classes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hortus.errors import DataError
from hortus.models.encoder_config import EncoderConfig
from hortus.models.layers.activations import activation

__all__ = ["Encoder", "hidden_keys"]


def hidden_keys(
    attention_mask: Tensor | None, segment_ids: Tensor | None, dtype: torch.dtype
) -> Tensor | None:
    """The bias of scores, (B, 1, 1 or T, S): the least number where a key may not be seen, else 0."""
    visible = None if attention_mask is None else (attention_mask != 0)[:, None, None, :]
    if segment_ids is not None:
        same = (segment_ids[:, :, None] == segment_ids[:, None, :])[:, None]
        visible = same if visible is None else visible & same
    if visible is None:
        return None
    # A finite minimum, not -inf: a row whose keys are all hidden stays finite.
    return torch.zeros(visible.shape, dtype=dtype, device=visible.device).masked_fill(
        ~visible, torch.finfo(dtype).min
    )


class Attention(nn.Module):
    """Self-attention with projections of their own for query, key, value and output."""

    def __init__(self, config: EncoderConfig):
        super().__init__()
        width = config.hidden_size
        self.num_heads, self.dropout = config.num_heads, config.attention_dropout
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.output = nn.Linear(width, width)

    def forward(self, states: Tensor, bias: Tensor | None) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        query, key, value = (
            project(states).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # (B, n, T, d)
            for project in (self.query, self.key, self.value)
        )
        dropout = self.dropout if self.training else 0.0
        context = F.scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=dropout)
        return self.output(context.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """One post-norm layer; `attention_output_dropout` is BERT's, which DistilBERT does not have."""

    def __init__(self, config: EncoderConfig, epsilon: float, attention_output_dropout: bool):
        super().__init__()
        width = config.hidden_size
        self.attention = Attention(config)
        self.attention_norm = nn.LayerNorm(width, epsilon)
        self.expand = nn.Linear(width, config.intermediate_size)
        self.contract = nn.Linear(config.intermediate_size, width)
        self.output_norm = nn.LayerNorm(width, epsilon)
        self.activation = activation(config.activation)
        self.dropout = config.hidden_dropout
        self.attention_output_dropout = config.hidden_dropout if attention_output_dropout else 0.0

    def forward(self, states: Tensor, bias: Tensor | None) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        attended = F.dropout(self.attention(states, bias), self.attention_output_dropout, self.training)
        states = self.attention_norm(states + attended)
        fed = F.dropout(self.contract(self.activation(self.expand(states))), self.dropout, self.training)
        return self.output_norm(states + fed)


class MaskedHead(nn.Module):
    """LayerNorm(act(W h)), to be projected on the embedding; `bias` is the projection's."""

    def __init__(self, config: EncoderConfig, epsilon: float):
        super().__init__()
        self.transform = nn.Linear(config.hidden_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, epsilon)
        self.activation = activation(config.activation)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))

    def forward(self, hidden: Tensor) -> Tensor:
        """(…, D) -> (…, D)."""
        return self.norm(self.activation(self.transform(hidden)))


class Encoder(nn.Module):
    """A bidirectional network; BERT and DistilBERT add their own parts.

    Subclasses set `model_type` and define `embed` and, for their heads, `classify` and `locate`.
    """

    architecture = "encoder"
    model_type: str

    def __init__(self, config: Any, *, epsilon: float, attention_output_dropout: bool):
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embedding = nn.Embedding(config.max_positions, config.hidden_size)
        self.embedding_norm = nn.LayerNorm(config.hidden_size, epsilon)
        self.blocks = nn.ModuleList(
            Block(config, epsilon, attention_output_dropout) for _ in range(config.num_layers)
        )
        self.masked_head = MaskedHead(config, epsilon) if config.head == "masked_lm" else None
        self.classifier = (
            nn.Linear(config.hidden_size, len(config.labels)) if config.head == "classify" else None
        )
        self.span = nn.Linear(config.hidden_size, 2) if config.head == "answer" else None

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw weights: N(0, initializer_range), biases 0, LayerNorm 1 and 0."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                module.weight.normal_(0.0, self.config.initializer_range)
            if isinstance(module, nn.Linear):
                module.bias.zero_()
            elif isinstance(module, nn.LayerNorm):
                module.reset_parameters()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
    ) -> Tensor:
        """What the head says.

        Args:
            input_ids: (B, T) integers below V.
            attention_mask: (B, T), 0 at padding.
            token_type_ids: (B, T), 0 in the first text of a pair and 1 in the second.

        Returns:
            Masked-LM logits (B, T, V), logits of classes (B, C), logits of an answer's first and last token
            (B, T, 2), or without a head the states (B, T, D).
        """
        return self.head(self.hidden(input_ids, attention_mask, token_type_ids=token_type_ids))

    def hidden(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        segment_ids: Tensor | None = None,
        token_type_ids: Tensor | None = None,
    ) -> Tensor:
        """The last layer's states.

        Args:
            input_ids: (B, T).
            attention_mask: (B, T), 0 at padding.
            segment_ids: (B, T); neighbours with equal ids are one packed document, seen by itself only.
            token_type_ids: (B, T), for networks that have token types.

        Returns:
            (B, T, D).

        Raises:
            DataError: more tokens than positions, or a mask of another shape.
        """
        self._check(input_ids, attention_mask)
        positions = _positions(input_ids, attention_mask, segment_ids)
        states = self.embedding(input_ids) + self.position_embedding(positions)
        states = self.embedding_norm(self.add_token_types(states, token_type_ids))
        states = F.dropout(states, self.config.hidden_dropout, self.training)
        bias = hidden_keys(attention_mask, segment_ids, states.dtype)
        for block in self.blocks:
            states = block(states, bias)
        return states

    def add_token_types(self, states: Tensor, token_type_ids: Tensor | None) -> Tensor:
        """Embeddings with those of the token types added, for a family that has them."""
        return states

    def head(self, hidden: Tensor) -> Tensor:
        """What `forward` says of states (B, T, D); for the masked-LM head of any (…, D)."""
        if self.masked_head is not None:
            return F.linear(self.masked_head(hidden), self.head_weight, self.masked_head.bias)
        if self.classifier is not None:
            return self.classifier(self.summary(hidden[:, 0]))
        return hidden if self.span is None else self.span(self.span_states(hidden))

    def summary(self, first: Tensor) -> Tensor:
        """(B, D) state of the first token -> what the classifier sees."""
        raise NotImplementedError

    def span_states(self, hidden: Tensor) -> Tensor:
        """(B, T, D) -> what the answer head sees."""
        return hidden

    @property
    def head_weight(self) -> Tensor:
        """(V, D): the embedding, which the masked-LM head projects on."""
        return self.embedding.weight

    def _check(self, input_ids: Tensor, attention_mask: Tensor | None) -> None:
        if input_ids.size(1) > self.config.max_positions:
            raise DataError(
                f"{input_ids.size(1)} tokens",
                allowed=f"{self.config.max_positions}, the positions that this network knows",
                do="shorten the text",
            )
        if attention_mask is not None and attention_mask.shape != input_ids.shape:
            raise DataError(
                f"attention_mask has shape {tuple(attention_mask.shape)}",
                allowed=f"{tuple(input_ids.shape)}, that of input_ids",
            )


def _positions(input_ids: Tensor, attention_mask: Tensor | None, segment_ids: Tensor | None) -> Tensor:
    """(1 or B, T): places counted from the row's first visible token, or from that of the document."""
    places = torch.arange(input_ids.size(1), device=input_ids.device)[None]
    if segment_ids is not None:
        starts = torch.ones_like(segment_ids, dtype=torch.bool)
        starts[:, 1:] = segment_ids[:, 1:] != segment_ids[:, :-1]
        return places - torch.where(starts, places, 0).cummax(1).values
    if attention_mask is not None:
        first = (attention_mask != 0).int().argmax(1, keepdim=True)
        return (places - first).clamp_min(0)
    return places
