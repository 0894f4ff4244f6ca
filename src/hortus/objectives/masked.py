"""Masked language modelling: restore hidden words (Devlin et al. 2019, section 3.1).

Of the chosen tokens, 80 % become the mask, 10 % a random token, 10 % stay. They are chosen anew each time a
batch is drawn; in validation the same ones every time.

Legend: B rows, T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hortus.training import decay_groups

__all__ = ["MaskedLanguageModeling", "hide_tokens"]


class MaskedLanguageModeling:
    """A task for the Trainer.

    A batch is {"input_ids": (B, T), "attention_mask": (B, T)}.

    Args:
        network: an encoder with the head "masked_lm".
        mask_id: the token that stands for a hidden one.
        special_ids: tokens that are never hidden.
        num_tokens: random replacements are below this.
        share: of the tokens that are chosen.
    """

    def __init__(
        self,
        network: Any,
        *,
        mask_id: int,
        special_ids: Collection[int],
        num_tokens: int,
        share: float = 0.15,
    ):
        self.network: nn.Module = network
        self._encoder = network
        self._mask_id, self._num_tokens, self._share = mask_id, num_tokens, share
        self._special = torch.tensor(sorted(special_ids))

    def loss(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, dict[str, Any]]:
        """Summed loss in nats, number of hidden tokens, and how many were restored."""
        return self._loss(batch, None)

    def evaluate_loss(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, dict[str, Any]]:
        """As `loss`, with the same tokens hidden each time."""
        generator = torch.Generator(batch["input_ids"].device).manual_seed(0)
        return self._loss(batch, generator)

    def _loss(
        self, batch: Mapping[str, Tensor], generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor, dict[str, Any]]:
        ids, mask = batch["input_ids"], batch["attention_mask"]
        free = (mask != 0) & ~torch.isin(ids, self._special.to(ids.device))
        hidden_ids, chosen = hide_tokens(ids, free, self._mask_id, self._num_tokens, self._share, generator)
        states = self._encoder.hidden(hidden_ids, mask)[chosen]
        logits, targets = self._encoder.head(states).float(), ids[chosen]
        loss = F.cross_entropy(logits, targets, reduction="sum")
        count = chosen.sum()
        return loss, count, {"restored": ((logits.argmax(-1) == targets).sum(), count)}

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Decay for matrices; none for biases and norms."""
        return decay_groups(self.network, weight_decay)


def hide_tokens(
    input_ids: Tensor,
    free: Tensor,
    mask_id: int,
    num_tokens: int,
    share: float,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Hide a share of the free tokens.

    Args:
        input_ids: (B, T).
        free: (B, T) true where a token may be chosen.

    Returns:
        (B, T) ids to read and (B, T) true at the chosen ones; at least one is, where any is free.
    """
    numbers = torch.rand(input_ids.shape, generator=generator, device=input_ids.device)
    numbers = numbers.masked_fill(~free, 2.0)
    chosen = numbers < share
    if not chosen.any() and free.any():
        chosen = numbers == numbers.min()
    fate = torch.rand(input_ids.shape, generator=generator, device=input_ids.device)
    random = torch.randint(num_tokens, input_ids.shape, generator=generator, device=input_ids.device)
    hidden = input_ids.masked_fill(chosen & (fate < 0.8), mask_id)
    return torch.where(chosen & (fate >= 0.9), random, hidden), chosen
