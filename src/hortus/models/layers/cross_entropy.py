"""Linear projection and cross-entropy in one step, in chunks, so that (N, V) logits never exist.

The gradient of each chunk is made in the forward pass while its logits are at hand, instead of keeping or
recomputing them: the backward pass only scales what is there. One buffer of a chunk's logits becomes its
probabilities and then its gradient in place: fresh memory for each of these costs more than the arithmetic
on it. The backward pass scales in place, so it runs once: a second one over a retained graph is an error of
PyTorch's.

Legend: N rows, D width, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["linear_cross_entropy"]

_BUFFER_BYTES = 2**25  # of a chunk's logits, unless 256 rows need more
_SLICE = 1024  # words of the vocabulary in one product


def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    ignore_index: int = -100,
    row_weights: Tensor | None = None,
    chunk: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Sum of -log softmax(hidden·weightᵀ)[target] over the counted rows.

    Under autocast the products run in its dtype; the softmax, the sum and the gradient of the weight are in
    the weight's (at least fp32) throughout.

    Args:
        hidden: (N, D).
        weight: (V, D).
        targets: (N,) integers below V, or `ignore_index` for rows that do not count.
        row_weights: (N,) factors of the rows' losses; None for 1 each.
        chunk: rows at a time. None takes as many as fit 32 MiB of logits, at least 256: every chunk reads
            the weight and adds to its gradient, so small ones lose.

    Returns:
        The sum, a scalar in fp32 (fp64 for fp64 input), and the number of counted rows.

    >>> loss, count = linear_cross_entropy(torch.zeros(3, 2), torch.zeros(4, 2), torch.tensor([0, 1, -100]))
    >>> round(loss.item(), 4), count.item()  # 2 ln 4
    (2.7726, 2)
    """
    chunk = chunk or max(256, _BUFFER_BYTES // (4 * weight.size(0)))
    loss = _LinearCrossEntropy.apply(hidden, weight, targets, row_weights, ignore_index, chunk)
    return loss, (targets != ignore_index).sum()


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        row_weights: Tensor | None,
        ignore_index: int,
        chunk: int,
    ) -> Tensor:
        kind = hidden.device.type
        compute = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
        exact = torch.float64 if compute == torch.float64 else torch.float32
        with torch.autocast(kind, enabled=False):
            rows, matrix = hidden.to(compute), weight.to(compute)
            wants_hidden, wants_weight = ctx.needs_input_grad[:2]
            grad_hidden = torch.empty_like(rows) if wants_hidden else None
            grad_weight = torch.empty_like(weight, dtype=exact) if wants_weight else None
            buffer = rows.new_empty(min(chunk, rows.size(0)), matrix.size(0))
            loss = torch.zeros((), dtype=exact, device=hidden.device)
            for start in range(0, rows.size(0), chunk):
                here, part = rows[start : start + chunk], slice(start, start + chunk)
                logits = _logits(here, matrix, buffer[: here.size(0)])
                factors = None if row_weights is None else row_weights[part].to(exact)
                loss += _loss_and_slope(logits, targets[part], factors, ignore_index, exact)
                if grad_hidden is not None:
                    torch.mm(logits, matrix, out=grad_hidden[start : start + chunk])
                if grad_weight is not None:
                    _accumulate(grad_weight, logits, here, first=start == 0)
        ctx.save_for_backward(grad_hidden, grad_weight)
        ctx.dtypes = hidden.dtype, weight.dtype
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None, None]:
        grad_hidden, grad_weight = ctx.saved_tensors
        if grad_hidden is not None:
            grad_hidden = (grad_hidden * gradient).to(ctx.dtypes[0])
        if grad_weight is not None:
            grad_weight = grad_weight.mul_(gradient).to(ctx.dtypes[1])
        return grad_hidden, grad_weight, None, None, None, None


def _logits(rows: Tensor, matrix: Tensor, out: Tensor) -> Tensor:
    """rows·matrixᵀ; on the CPU over slices of the vocabulary, which is 8 % faster."""
    step = _SLICE if rows.device.type == "cpu" else matrix.size(0)
    for start in range(0, matrix.size(0), step):
        torch.mm(rows, matrix[start : start + step].T, out=out[:, start : start + step])
    return out


def _loss_and_slope(
    logits: Tensor, targets: Tensor, factors: Tensor | None, ignore_index: int, exact: torch.dtype
) -> Tensor:
    """Sum of the chunk's losses; `logits` (rows, V) become probabilities minus one at the target."""
    counted = targets != ignore_index
    safe = targets.masked_fill(~counted, 0)[:, None]
    picked = logits.gather(1, safe)[:, 0].to(exact)
    peak = logits.amax(-1).to(exact)
    in_place = logits.dtype == exact and logits.device.type == "cpu"
    probabilities = (
        torch.softmax(logits, -1, out=logits) if in_place else torch.softmax(logits, -1, dtype=exact)
    )
    # The largest probability is exp(peak - logsumexp) and cannot underflow.
    normalizer = peak - probabilities.amax(-1).log()
    probabilities.scatter_add_(1, safe, -torch.ones_like(safe, dtype=exact))
    probabilities.index_fill_(0, (~counted).nonzero()[:, 0], 0.0)
    losses = (normalizer - picked) * counted
    if factors is not None:
        probabilities.mul_(factors[:, None])
        losses = losses * factors
    if not in_place:
        logits.copy_(probabilities)
    return losses.sum()


def _accumulate(total: Tensor, slope: Tensor, rows: Tensor, first: bool) -> None:
    """total += slopeᵀ·rows, inside the product where the formats agree."""
    if total.dtype == slope.dtype:
        torch.addmm(total, slope.T, rows, beta=0 if first else 1, out=total)
    elif first:
        total.copy_(slope.T @ rows)
    else:
        total += slope.T @ rows
