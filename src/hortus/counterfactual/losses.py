"""VCNet's losses, each summed over rows and dimensions, and the annealing of the Kullback-Leibler term.

L = prediction_weight * prediction + reconstruction_weight * reconstruction + kl_weight * KL

B rows, U columns that may change, L latent width, K classes
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from hortus.counterfactual.config import Reconstruction

__all__ = ["divergence", "kl_weight", "prediction_loss", "reconstruction_loss"]


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL of N(mean, exp(log_variance)) from N(0, 1), summed: -1/2 sum(1 + log v - m^2 - v).

    >>> import torch
    >>> divergence(torch.zeros(2, 3), torch.zeros(2, 3)).item()
    0.0
    """
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum()


def prediction_loss(logits: Tensor, target: Tensor, head: str) -> Tensor:
    """Summed loss of the predictor.

    Args:
        logits: (B, C).
        target: (B,); class numbers for the heads "binary" (cross-entropy of a sigmoid) and "classes" (of a
            softmax), scaled values for "number" (squared error).
    """
    if head == "binary":
        return F.binary_cross_entropy_with_logits(logits[:, 0], target.to(logits.dtype), reduction="sum")
    if head == "classes":
        return F.cross_entropy(logits, target.long(), reduction="sum")
    return (logits[:, 0] - target).square().sum()


def reconstruction_loss(output: Tensor, target: Tensor, known: Tensor, kind: Reconstruction) -> Tensor:
    """Summed loss of the decoder's activated output (B, U) against the scaled columns (B, U).

    The published form is binary cross-entropy on every column, one-hot columns included.

    Args:
        known: (B, U), 0 where the cell was empty: nothing is learned from what is not there.
    """
    if kind == "cross_entropy":
        losses = F.binary_cross_entropy(output.clamp(0, 1), target, reduction="none")
    else:
        losses = (output - target).square()
    return (losses * known).sum()


def kl_weight(epoch: int, step: float, most: float, *, clamp: bool = True) -> float:
    """Weight of the KL term in an epoch, counted from 0: it grows by `step` each epoch.

    Args:
        clamp: hold it at `most`. The published code doesn't: it adds `step` while the weight is below `most`,
            and so ends above it.

    >>> [round(kl_weight(epoch, 0.112, 0.034), 3) for epoch in range(3)]
    [0.0, 0.034, 0.034]
    >>> [round(kl_weight(epoch, 0.112, 0.034, clamp=False), 3) for epoch in range(3)]
    [0.0, 0.112, 0.112]
    """
    if clamp:
        return min(epoch * step, most)
    weight = 0.0
    for _ in range(epoch):
        if weight >= most or not step:
            break
        weight += step
    return weight
