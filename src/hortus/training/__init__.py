"""The training room: one Trainer for every model.

`TrainingConfig` says how, a `Task` says what, `Data` yields batches, `Trainer(...).train()` does it. Only the
settings are imported at once; the rest, which needs PyTorch, when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hortus.registry import lazy_attributes
from hortus.training.config import TrainingConfig

if TYPE_CHECKING:
    from hortus.training.task import Batch, Data, Metrics, Task, TensorData, decay_groups
    from hortus.training.trainer import Callback, Trainer, TrainingResult

__all__ = [
    "Batch",
    "Callback",
    "Data",
    "Metrics",
    "Task",
    "TensorData",
    "Trainer",
    "TrainingConfig",
    "TrainingResult",
    "decay_groups",
]

_HOMES = dict.fromkeys(("Callback", "Trainer", "TrainingResult"), "trainer")
_HOMES |= dict.fromkeys(("Batch", "Data", "Metrics", "Task", "TensorData", "decay_groups"), "task")

__getattr__ = lazy_attributes(__name__, _HOMES)
