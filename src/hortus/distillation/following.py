"""What every task of distillation is: a student that is trained, and a frozen teacher that it follows."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from hortus.distillation.config import DistillationConfig
from hortus.training import decay_groups

__all__ = ["Following"]


class Following:
    """The part of a task for the Trainer that does not depend on the loss.

    Args:
        student: the network to train.
        teacher: the network to follow; it is frozen.
        settings: temperature and weights.
    """

    def __init__(self, student: Any, teacher: Any, settings: DistillationConfig):
        self.network: nn.Module = student
        self._student, self._settings = student, settings
        self._teacher = teacher.eval().requires_grad_(False)

    def to(self, device: torch.device) -> None:
        """Move the teacher too."""
        self.network.to(device)
        self._teacher.to(device)

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Decay for matrices; none for biases and norms; frozen positions are in neither."""
        return decay_groups(self.network, weight_decay)
