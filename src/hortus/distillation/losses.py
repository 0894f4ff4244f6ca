"""The losses of distillation (DistilBERT, section 2), without logits of a whole batch.

    soft    T² Σ KL(softmax(z_t / T) ‖ softmax(z_s / T)) over the rows that are asked
    hard    -Σ log softmax(z_s)[target] over the rows that have a target
    cosine  Σ 1 - cos(h_s, h_t) over real tokens, of the last hidden states

Soft and hard loss share one pass over the projection: chunks of rows are projected for teacher and student,
the losses summed and the gradient formed in place, as in `hortus.models.layers.cross_entropy`. The backward
pass only scales what is there. From stored logits the teacher's side is its k best logits of a row and the
logarithm of the probability of all others together: the KL is then over k + 1 outcomes, which is at most the
whole KL, and no probability is moved from the tail to the head.

Legend: N rows, D width of the student, E width of the teacher, V vocabulary, k stored logits.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

__all__ = ["Projection", "TopLogits", "cosine_loss", "keep_top", "projected_loss", "soft_loss"]

_BUFFER_BYTES = 2**25  # of a chunk's logits, unless 256 rows need more
_IGNORED = -100


class Projection(NamedTuple):
    """What logits are made of: states (N, D), weight (V, D), bias (V,) or None."""

    states: Tensor
    weight: Tensor
    bias: Tensor | None = None


class TopLogits(NamedTuple):
    """A teacher's answer in k + 1 numbers a row, at the temperature it was stored for.

    log_probabilities: (N, k), of the k likeliest tokens.
    indices: (N, k), which those are.
    rest: (N,), log of the probability of all other tokens together.
    """

    log_probabilities: Tensor
    indices: Tensor
    rest: Tensor


def soft_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T² Σ KL(teacher ‖ student) over rows of logits (N, C), differentiable; for few classes.

    >>> round(soft_loss(torch.zeros(1, 2), torch.tensor([[2.0, 0.0]]), 2.0).item(), 4)
    0.4438
    """
    log_student = (student / temperature).log_softmax(-1)
    log_teacher = (teacher / temperature).log_softmax(-1)
    return temperature**2 * F.kl_div(log_student, log_teacher, log_target=True, reduction="sum")


def cosine_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Σ 1 - cos over rows of states (N, D); of a wider teacher the first D columns, which D came from."""
    return (1 - F.cosine_similarity(student, teacher[:, : student.size(1)], dim=-1)).sum()


def keep_top(logits: Tensor, count: int, temperature: float) -> TopLogits:
    """The `count` likeliest tokens of logits (N, V) at a temperature, and the rest as one.

    >>> top = keep_top(torch.tensor([[3.0, 1.0, 1.0]]), 1, 1.0)
    >>> top.indices.tolist(), round((top.log_probabilities.exp() + top.rest.exp()).item(), 4)
    ([[0]], 1.0)
    """
    scaled = logits.float() / temperature
    values, indices = scaled.topk(count)
    whole = scaled.logsumexp(-1, keepdim=True)
    log_probabilities = values - whole
    rest = torch.log1p(-log_probabilities.exp().sum(-1).clamp(max=1 - 1e-7))
    return TopLogits(log_probabilities, indices, rest)


def projected_loss(
    student: Projection,
    teacher: Projection | TopLogits | None,
    targets: Tensor,
    *,
    temperature: float,
    weight_soft: float | Tensor,
    weight_hard: float | Tensor,
    chunk: int | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """weight_soft · soft + weight_hard · hard over the rows, and the two sums by themselves.

    Gradients go to the student's states, weight and bias. Under autocast the products run in its format;
    softmax and sums are in fp32 (fp64 for fp64 input).

    Args:
        student, teacher: the same N rows; without a teacher there is no soft loss.
        targets: (N,) integers below V, -100 where there is no hard loss.
        chunk: rows at a time.

    Returns:
        The weighted sum, differentiable; the soft sum; the hard sum.
    """
    states, weight, bias = student
    chunk = chunk or max(256, _BUFFER_BYTES // (4 * weight.size(0)))
    total, soft, hard = _ProjectedLoss.apply(
        states, weight, bias, teacher, targets, temperature, weight_soft, weight_hard, chunk
    )
    return total, soft, hard


class _ProjectedLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        teacher: Projection | TopLogits | None,
        targets: Tensor,
        temperature: float,
        weight_soft: float | Tensor,
        weight_hard: float | Tensor,
        chunk: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        kind = states.device.type
        compute = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
        exact = torch.float64 if compute == torch.float64 else torch.float32
        soft, hard = torch.zeros(2, dtype=exact, device=states.device).unbind()
        grad_bias = None if bias is None else torch.zeros_like(bias, dtype=exact)
        with torch.autocast(kind, enabled=False):
            rows, matrix = states.to(compute), weight.to(compute)
            grad_states, grad_weight = torch.empty_like(rows), torch.zeros_like(weight, dtype=exact)
            buffers = [rows.new_empty(min(chunk, len(rows)), len(matrix)) for _ in range(3)]
            for start in range(0, len(rows), chunk):
                part = slice(start, start + chunk)
                here = rows[part]
                logits = _project(here, matrix, bias, 1 / temperature, buffers[0]).to(exact)
                slope, soft_part, hard_part = _slope(
                    logits,
                    _teacher_part(teacher, part, temperature, buffers[1:], compute, exact),
                    targets[part],
                    temperature,
                    weight_soft,
                    weight_hard,
                )
                soft, hard = soft + soft_part, hard + hard_part
                if grad_bias is not None:
                    grad_bias += slope.sum(0)
                slope = slope.to(compute)
                torch.mm(slope, matrix, out=grad_states[part])
                if grad_weight.dtype == compute:
                    grad_weight.addmm_(slope.T, here)
                else:
                    grad_weight += slope.T @ here
        ctx.save_for_backward(grad_states, grad_weight, grad_bias)
        ctx.dtypes = states.dtype, weight.dtype
        ctx.mark_non_differentiable(soft, hard)
        return weight_soft * soft + weight_hard * hard, soft, hard

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *unused: Any) -> tuple[Tensor | None, ...]:
        states, weight, bias = ctx.saved_tensors
        # On the CPU, where looking costs nothing, the usual gradient of 1 spares three passes.
        if gradient.device.type != "cpu" or gradient != 1:
            states, weight = states * gradient, weight * gradient
            bias = None if bias is None else bias * gradient
        of_states, of_weight = states.to(ctx.dtypes[0]), weight.to(ctx.dtypes[1])
        return of_states, of_weight, bias, None, None, None, None, None, None


def _project(rows: Tensor, matrix: Tensor, bias: Tensor | None, scale: float, buffer: Tensor) -> Tensor:
    """scale · (rows matrixᵀ + bias), in the buffer."""
    out = buffer[: len(rows)]
    if bias is None:
        return torch.mm(rows * scale, matrix.T, out=out)
    return torch.addmm(bias.to(matrix.dtype), rows, matrix.T, beta=scale, alpha=scale, out=out)


def _teacher_part(
    teacher: Projection | TopLogits | None,
    part: slice,
    temperature: float,
    buffers: list[Tensor],
    compute: torch.dtype,
    exact: torch.dtype,
) -> tuple[Tensor, Tensor] | TopLogits | None:
    """A chunk's logits over the temperature and their softmax, or the stored rows."""
    if teacher is None:
        return None
    if isinstance(teacher, TopLogits):
        return TopLogits(
            teacher.log_probabilities[part].to(exact),
            teacher.indices[part].long(),
            teacher.rest[part].to(exact),
        )
    states, weight, bias = teacher
    logits = _project(states[part].to(compute), weight.to(compute), bias, 1 / temperature, buffers[0])
    if compute == exact:
        return logits, torch.softmax(logits, -1, out=buffers[1][: len(logits)])
    return logits.to(exact), torch.softmax(logits, -1, dtype=exact)


def _slope(
    logits: Tensor,
    teacher: tuple[Tensor, Tensor] | TopLogits | None,
    targets: Tensor,
    temperature: float,
    weight_soft: float | Tensor,
    weight_hard: float | Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradient of the weighted losses by the student's logits, and both sums.

    Args:
        logits: (n, V) the student's over the temperature; overwritten by the gradient.
    """
    asked = (targets != _IGNORED).nonzero()[:, 0]
    hard_slope, hard = _hard(logits, asked, targets[asked], temperature)
    soft = logits.new_zeros(())
    if teacher is None:
        logits.zero_()
    elif isinstance(teacher, TopLogits):
        soft = temperature**2 * _soft_of_top(logits, teacher)
        logits.mul_(weight_soft * temperature)
    else:
        soft = temperature**2 * _soft(logits, *teacher)
        # T² from the loss, 1/T from the logits.
        logits.mul_(weight_soft * temperature)
    if len(asked) == len(logits):
        logits.add_(hard_slope.mul_(weight_hard))
    elif len(asked):
        logits.index_add_(0, asked, hard_slope.mul_(weight_hard))
    return logits, soft, hard


def _hard(logits: Tensor, asked: Tensor, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """softmax - one-hot of the asked rows, and the sum of their cross-entropies."""
    rows, places = logits[asked] * temperature, targets[:, None]
    picked, peak = rows.gather(1, places)[:, 0], rows.amax(-1)
    slope = torch.softmax(rows, -1, out=rows)
    # The largest probability is exp(peak - logsumexp) and cannot underflow.
    normalizer = peak - slope.amax(-1).log()
    slope.scatter_add_(1, places, -torch.ones_like(places, dtype=slope.dtype))
    return slope, (normalizer - picked).sum()


def _soft(logits: Tensor, teacher_logits: Tensor, teacher: Tensor) -> Tensor:
    """Σ KL; `logits` become softmax - teacher."""
    peaks = logits.amax(-1), teacher_logits.amax(-1)
    distance = teacher_logits.sub_(logits)
    expected = torch.bmm(teacher[:, None], distance[:, :, None]).sum()
    student = torch.softmax(logits, -1, out=logits)
    normalizers = [
        peak - probabilities.amax(-1).log()
        for peak, probabilities in zip(peaks, (student, teacher), strict=True)
    ]
    student.sub_(teacher)
    return expected + (normalizers[0] - normalizers[1]).sum()


def _soft_of_top(logits: Tensor, teacher: TopLogits) -> Tensor:
    """Σ KL over the k stored tokens and the rest; `logits` become its gradient."""
    log_top, indices, log_rest = teacher
    peak, picked = logits.amax(-1), logits.gather(1, indices)
    student = torch.softmax(logits, -1, out=logits)
    picked = picked - (peak - student.amax(-1).log())[:, None]  # log-probabilities of the student
    top, rest = log_top.exp(), log_rest.exp()
    tiny = torch.finfo(student.dtype).eps
    student_rest = (1 - picked.exp().sum(-1)).clamp_min(tiny)
    loss = (top * (log_top - picked)).sum() + (rest * (log_rest - student_rest.log())).sum()
    student.mul_((1 - rest / student_rest)[:, None])
    student.scatter_(1, indices, picked.exp() - top)
    return loss
