"""Encoder-decoder language modelling: write the target after reading the source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hortus.models.layers.cross_entropy import linear_cross_entropy
from hortus.models.layers.memory import keep_freed_memory
from hortus.training import decay_groups

__all__ = ["EncoderDecoderModeling", "shifted_right"]

_IGNORED = -100


class EncoderDecoderModeling:
    """A task for the Trainer.

    A batch is {"input_ids": (B, S), "attention_mask": (B, S), "labels": (B, T)}; labels end with the end
    token and are filled up with -100, which does not count.

    >>> from hortus.models.t5 import T5, T5Config
    >>> network = T5(T5Config(vocab_size=32, hidden_size=16, inner_size=32, num_layers=1, num_heads=2))
    >>> batch = {"input_ids": torch.tensor([[5, 6, 7]]), "labels": torch.tensor([[8, 1]])}
    >>> EncoderDecoderModeling(network).loss(batch)[1].item()
    2
    """

    def __init__(self, network: Any):
        self.network: nn.Module = network
        self._language = network
        keep_freed_memory()

    def loss(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, dict[str, tuple[Tensor, Tensor]]]:
        """Summed loss in nats, the number of counted target tokens, and no further metrics."""
        labels = batch["labels"]
        config = self._language.config
        targets = shifted_right(labels, config.decoder_start_token_id or 0, config.pad_token_id or 0)
        hidden = self._language.hidden(batch["input_ids"], targets, batch.get("attention_mask"))
        loss, count = linear_cross_entropy(
            hidden.flatten(0, 1), self._language.head_weight, labels.flatten(), ignore_index=_IGNORED
        )
        return loss, count, {}

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Decay for matrices, none for norms."""
        return decay_groups(self.network, weight_decay)


def shifted_right(labels: Tensor, start: int, pad: int) -> Tensor:
    """(B, T) decoder inputs: the start token, then the labels without their last; -100 becomes padding.

    >>> shifted_right(torch.tensor([[8, 1, -100]]), 0, 3).tolist()
    [[0, 8, 1]]
    """
    shifted = torch.roll(labels, 1, dims=1)
    shifted[:, 0] = start
    return shifted.masked_fill(shifted == _IGNORED, pad)
