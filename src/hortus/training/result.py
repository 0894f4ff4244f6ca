"""What a run leaves in memory when it ends."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hortus.carbon import footprint
from hortus.training.interruption import INTERRUPTIONS

__all__ = ["TrainingResult"]


@dataclass(frozen=True)
class TrainingResult:
    """How a run ended."""

    steps: int
    samples: int
    stopped: str
    """Why it ended: steps, epochs, max_minutes, patience, SIGTERM, SIGINT or stop file."""
    metrics: dict[str, Any]
    """The last value of every name in the history."""
    best: dict[str, Any] | None
    """Record of the best evaluation."""
    history: list[dict[str, Any]]
    """The records of metrics.jsonl, those before a resume included."""
    seconds: float
    energy_kwh: float
    skipped_steps: int
    """Updates left out because the loss or the gradient was not finite."""
    last_checkpoint: Path | None
    best_checkpoint: Path | None
    energy_source: str = ""
    """How the energy was found: by which counter, or estimated how."""

    @property
    def interrupted(self) -> bool:
        """Whether a signal or the stop file ended it before its time: resume to go on."""
        return self.stopped in INTERRUPTIONS

    @property
    def footprint(self) -> dict[str, Any]:
        """Energy, carbon and how they were found, as arguments of a model card."""
        return footprint(self.energy_kwh, self.energy_source)
