"""Linear projection and cross-entropy in one step, in chunks, so that (rows, V) logits never exist.

The gradient of each chunk is made in the forward pass while its logits are at hand, instead of keeping or
recomputing them: the backward pass only scales what is there.

Legend: N rows, D width, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["linear_cross_entropy"]


def linear_cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor, *, ignore_index: int = -100, chunk: int = 512
) -> tuple[Tensor, Tensor]:
    """Sum of -log softmax(hidden·weightᵀ)[target] over the counted rows.

    Args:
        hidden: (N, D).
        weight: (V, D).
        targets: (N,) integers below V, or `ignore_index` for rows that do not count.
        chunk: rows at a time; memory is about chunk × V × 4 bytes.

    Returns:
        The sum, a scalar in fp32 (fp64 for fp64 input), and the number of counted rows.

    >>> loss, count = linear_cross_entropy(torch.zeros(3, 2), torch.zeros(4, 2), torch.tensor([0, 1, -100]))
    >>> round(loss.item(), 4), count.item()  # 2 ln 4
    (2.7726, 2)
    """
    kept = targets != ignore_index
    return _LinearCrossEntropy.apply(hidden, weight, targets, ignore_index, chunk), kept.sum()


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, ignore_index: int, chunk: int
    ) -> Tensor:
        compute = torch.get_autocast_dtype(hidden.device.type) if torch.is_autocast_enabled(hidden.device.type) else weight.dtype
        exact = torch.float64 if compute == torch.float64 else torch.float32
        rows = hidden.to(compute)
        matrix = weight.to(compute)
        needs_hidden, needs_weight = ctx.needs_input_grad[:2]
        grad_hidden = torch.empty_like(rows) if needs_hidden else None
        grad_weight = torch.zeros_like(weight) if needs_weight else None
        loss = torch.zeros((), dtype=exact, device=hidden.device)
        with torch.autocast(hidden.device.type, enabled=False):
            for part in range(0, rows.size(0), chunk):
                here = slice(part, part + chunk)
                target = targets[here]
                counted = target != ignore_index
                safe = target.masked_fill(~counted, 0)[:, None]
                logits = (rows[here] @ matrix.T).to(exact)
                probabilities = F.log_softmax(logits, -1)
                loss -= (probabilities.gather(1, safe)[:, 0] * counted).sum()
                if not (needs_hidden or needs_weight):
                    continue
                slope = probabilities.exp_().scatter_add_(1, safe, -torch.ones_like(safe, dtype=exact))
                slope = slope.mul_(counted[:, None]).to(compute)
                if grad_hidden is not None:
                    torch.mm(slope, matrix, out=grad_hidden[here])
                if grad_weight is not None:
                    grad_weight += slope.T @ rows[here]
        ctx.save_for_backward(grad_hidden, grad_weight)
        ctx.hidden_dtype = hidden.dtype
        return loss

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:  # type: ignore[override]
        grad_hidden, grad_weight = ctx.saved_tensors
        return (
            None if grad_hidden is None else (grad_hidden * grad).to(ctx.hidden_dtype),
            None if grad_weight is None else grad_weight.mul_(grad),
            None,
            None,
            None,
        )
