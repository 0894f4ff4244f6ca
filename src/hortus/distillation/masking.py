"""Dynamic masking over a whole batch, rare tokens first (the published distillation code).

⌈share · real tokens⌉ positions of the batch are drawn without replacement, a token v with weight
max(count(v), 1)^-smoothing and special tokens never. So one text may have none of them and another many. Of
the drawn, 80 % become the mask, 10 % stay, 10 % become any token.

Legend: B rows, T tokens, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence

import torch
from torch import Tensor

__all__ = ["BatchMasking", "masking_weights"]


def masking_weights(
    rows: Iterable[Sequence[int]], num_tokens: int, special_ids: Collection[int], smoothing: float = 0.7
) -> Tensor:
    """(V,) weights with which tokens are hidden.

    Args:
        rows: the training texts as token ids.

    >>> masking_weights([[0, 2, 2, 2, 2]], 3, [0], 0.5).tolist()
    [0.0, 1.0, 0.5]
    """
    counts = torch.zeros(num_tokens, dtype=torch.long)
    for row in rows:
        counts += torch.bincount(torch.tensor(row, dtype=torch.long), minlength=num_tokens)[:num_tokens]
    weights = counts.clamp_min(1).double() ** -smoothing
    weights[list(special_ids)] = 0.0
    return weights.float()


class BatchMasking:
    """Hides tokens of a batch.

    Args:
        weights: (V,), as `masking_weights` gives them.
        mask_id: the token that stands for a hidden one.
        share: of the batch's real tokens that are drawn.

    >>> hide = BatchMasking(torch.tensor([0.0, 1.0, 1.0]), mask_id=0)
    >>> ids, chosen = hide(torch.tensor([[1, 2, 1, 1]]), torch.ones(1, 4))
    >>> chosen.sum().item()
    1
    """

    def __init__(self, weights: Tensor, *, mask_id: int, share: float = 0.15):
        self._weights, self._mask_id, self._share = weights, mask_id, share

    def __call__(
        self, input_ids: Tensor, attention_mask: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Hide tokens of (B, T) ids.

        Args:
            attention_mask: (B, T), 0 at padding.
            generator: of the draws; None takes PyTorch's own.

        Returns:
            (B, T) ids to read, and (B, T) true at the drawn positions.
        """
        device = input_ids.device
        self._weights = self._weights.to(device)
        real = attention_mask != 0
        weights = (self._weights[input_ids] * real).flatten()
        wanted = min(math.ceil(self._share * int(real.sum())), int((weights > 0).sum()))
        chosen = torch.zeros_like(weights, dtype=torch.bool)
        if wanted:
            chosen[torch.multinomial(weights, wanted, generator=generator)] = True
        chosen = chosen.view_as(input_ids)
        fate = torch.rand(input_ids.shape, generator=generator, device=device)
        random = torch.randint(len(self._weights), input_ids.shape, generator=generator, device=device)
        hidden = input_ids.masked_fill(chosen & (fate < 0.8), self._mask_id)
        return torch.where(chosen & (fate >= 0.9), random, hidden), chosen
