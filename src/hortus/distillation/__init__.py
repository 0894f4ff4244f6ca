"""The distillation room: a smaller model that answers as a larger one does.

`distill(teacher, data, folder)` makes the student, trains it and writes it. Only the settings are imported at
once; the rest, which needs PyTorch, when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hortus.distillation.config import DistillationConfig
from hortus.registry import lazy_attributes

if TYPE_CHECKING:
    from hortus.distillation.distilling import DistillationResult, distill
    from hortus.distillation.student import choose_layers, make_student

__all__ = ["DistillationConfig", "DistillationResult", "choose_layers", "distill", "make_student"]

_HOMES = {
    "DistillationResult": "distilling",
    "choose_layers": "student",
    "distill": "distilling",
    "make_student": "student",
}

__getattr__ = lazy_attributes(__name__, _HOMES)
