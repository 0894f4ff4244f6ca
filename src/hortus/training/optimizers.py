"""The optimizers, one table.

All come from PyTorch, in their fused or multi-tensor form. Adam couples the weight decay to the gradient
(L2), AdamW decays the weights themselves, as BLOOM does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from hortus.training.config import TrainingConfig

__all__ = ["OPTIMIZERS", "build_optimizer"]

Groups = list[dict[str, Any]]


def _adamw(groups: Groups, config: TrainingConfig, fused: bool) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, config.learning_rate, betas=config.betas, eps=config.eps, fused=fused)


def _adam(groups: Groups, config: TrainingConfig, fused: bool) -> torch.optim.Optimizer:
    return torch.optim.Adam(groups, config.learning_rate, betas=config.betas, eps=config.eps, fused=fused)


def _rmsprop(groups: Groups, config: TrainingConfig, fused: bool) -> torch.optim.Optimizer:
    return torch.optim.RMSprop(groups, config.learning_rate, alpha=config.betas[1], eps=config.eps)


def _adafactor(groups: Groups, config: TrainingConfig, fused: bool) -> torch.optim.Optimizer:
    return torch.optim.Adafactor(groups, config.learning_rate)


OPTIMIZERS: dict[str, Callable[[Groups, TrainingConfig, bool], torch.optim.Optimizer]] = {
    "adamw": _adamw,
    "adam": _adam,
    "rmsprop": _rmsprop,
    "adafactor": _adafactor,
}


def build_optimizer(groups: Groups, config: TrainingConfig) -> torch.optim.Optimizer:
    """Build the configured optimizer over a task's parameter groups.

    Args:
        groups: dicts with `params` (a list of tensors) and, where it differs, `weight_decay`.
        config: optimizer, learning_rate, betas, eps, weight_decay.

    >>> weight = torch.nn.Parameter(torch.zeros(2, 2))
    >>> type(build_optimizer([{"params": [weight]}], TrainingConfig(steps=1, optimizer="rmsprop"))).__name__
    'RMSprop'
    """
    groups = [{"weight_decay": config.weight_decay, **group} for group in groups if group["params"]]
    fused = all(
        parameter.device.type in ("cpu", "cuda") and parameter.is_floating_point()
        for group in groups
        for parameter in group["params"]
    )
    return OPTIMIZERS[config.optimizer](groups, config, fused)
