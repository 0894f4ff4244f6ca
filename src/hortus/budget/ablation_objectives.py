"""Two ways for a decoder to learn other than the next token of all: prefix and masked language modelling.

"What Language Model Architecture and Pretraining Objective Work Best for Zero-Shot Generalization?" (2022)
compares them with causal modelling. Batches are those of `CausalLanguageModeling`.

Legend: B rows, T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from hortus.models.layers.cross_entropy import linear_cross_entropy
from hortus.objectives.causal import CausalLanguageModeling, next_tokens
from hortus.objectives.masked import hide_tokens

__all__ = ["MaskedDecoding", "PrefixModeling"]

_IGNORED = -100


class PrefixModeling(CausalLanguageModeling):
    """The tokens after a prefix of random length, which sees itself both ways and is not predicted."""

    def loss(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, dict[str, tuple[Tensor, Tensor]]]:
        """Summed loss in nats, the number of predicted tokens, and no further metrics."""
        ids, segments = batch["input_ids"], batch.get("segment_ids")
        prefixes = torch.randint(1, ids.size(1), (ids.size(0),), device=ids.device)
        hidden = self._language.hidden(ids, segment_ids=segments, prefix_lengths=prefixes)
        inside = torch.arange(1, ids.size(1) + 1, device=ids.device) < prefixes[:, None]
        targets = next_tokens(ids, segments).masked_fill(inside, _IGNORED)
        return (*_cross_entropy(hidden, self._language.head_weight, targets), {})


class MaskedDecoding(CausalLanguageModeling):
    """Hidden tokens of documents that are seen whole.

    Args:
        network: a decoder with objective "masked".
        mask_id: the token that stands for a hidden one.
        share: of the tokens that are hidden.
    """

    def __init__(self, network: Any, *, mask_id: int, share: float):
        super().__init__(network)
        self._mask_id, self._share = mask_id, share

    def loss(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, dict[str, tuple[Tensor, Tensor]]]:
        """Summed loss in nats, the number of hidden tokens, and no further metrics."""
        ids, segments = batch["input_ids"], batch.get("segment_ids")
        free = torch.ones_like(ids, dtype=torch.bool) if segments is None else segments >= 0
        vocab_size = self._language.config.vocab_size
        hidden_ids, chosen = hide_tokens(ids, free, self._mask_id, vocab_size, self._share)
        hidden = self._language.hidden(hidden_ids, segment_ids=segments)
        targets = ids.masked_fill(~chosen, _IGNORED)
        return (*_cross_entropy(hidden, self._language.head_weight, targets), {})


def _cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    return linear_cross_entropy(hidden.flatten(0, 1), weight, targets.flatten(), ignore_index=_IGNORED)
