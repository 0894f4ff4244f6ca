"""Causal language modelling: predict the next token of the same document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hortus.models.layers.cross_entropy import linear_cross_entropy
from hortus.models.layers.memory import keep_freed_memory

__all__ = ["CausalLanguageModeling"]

_IGNORED = -100


class CausalLanguageModeling:
    """A task for the Trainer.

    A batch is {"input_ids": (B, T), optionally "segment_ids": (B, T)}. Neighbouring tokens with equal segment
    ids are one document: attention and loss stay inside it. A negative id marks padding.

    A process that makes one keeps freed memory for the next step (`hortus.models.layers.memory`).

    Args:
        network: an nn.Module with `.hidden(input_ids, segment_ids=)` and `.head_weight` (V, D).
        chunk: rows of the vocabulary projection at a time; None fits them to 32 MiB of logits.

    >>> from hortus.models.bloom import Bloom, BloomConfig
    >>> network = Bloom(BloomConfig(vocab_size=32, hidden_size=16, num_layers=2, num_heads=4))
    >>> loss, count, metrics = CausalLanguageModeling(network).loss({"input_ids": torch.tensor([[5, 6, 7]])})
    >>> count.item()
    2
    """

    def __init__(self, network: Any, *, chunk: int | None = None):
        self.network: nn.Module = network
        self._language = network
        keep_freed_memory()
        self.chunk = chunk

    def loss(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, dict[str, tuple[Tensor, Tensor]]]:
        """Summed loss in nats, the number of predicted tokens, and no further metrics."""
        input_ids, segment_ids = batch["input_ids"], batch.get("segment_ids")
        hidden = self._language.hidden(input_ids, segment_ids=segment_ids)
        targets = next_tokens(input_ids, segment_ids)
        loss, count = linear_cross_entropy(
            hidden.flatten(0, 1),
            self._language.head_weight,
            targets.flatten(),
            ignore_index=_IGNORED,
            chunk=self.chunk,
        )
        return loss, count, {}

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Decay for matrices, the embedding among them; none for biases and LayerNorm.

        The embedding is decayed, as in the training of the releases and in GPT-2's descendants: tied to the
        head, it is the output matrix too.
        """
        decayed: list[Tensor] = []
        free: list[Tensor] = []
        for parameter in self.network.parameters():
            if parameter.requires_grad:
                (decayed if parameter.ndim >= 2 else free).append(parameter)
        return [
            {"params": decayed, "weight_decay": weight_decay},
            {"params": free, "weight_decay": 0.0},
        ]


def next_tokens(input_ids: Tensor, segment_ids: Tensor | None = None) -> Tensor:
    """(B, T): the token that follows each one in its document, -100 where there is none.

    >>> next_tokens(torch.tensor([[5, 6, 7, 8]]), torch.tensor([[0, 0, 1, -1]])).tolist()
    [[6, -100, -100, -100]]
    """
    targets = torch.full_like(input_ids, _IGNORED)
    targets[:, :-1] = input_ids[:, 1:]
    if segment_ids is not None:
        outside = (segment_ids[:, :-1] != segment_ids[:, 1:]) | (segment_ids[:, :-1] < 0)
        targets[:, :-1].masked_fill_(outside, _IGNORED)
    return targets
