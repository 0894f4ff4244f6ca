"""Which evaluation is the best so far, and how long ago that was."""

from __future__ import annotations

import math
from typing import Any

from hortus.errors import ConfigError

__all__ = ["BestEvaluation"]


class BestEvaluation:
    """Follows one validation metric.

    Args:
        metric: its name, without the prefix `validation_`.
        goal: "lowest" or "highest".

    >>> best = BestEvaluation("loss", "lowest")
    >>> [best.improves({"validation_loss": loss}) for loss in (2.0, 1.0, 1.5)], best.evaluations_since
    ([True, True, False], 1)
    """

    def __init__(self, metric: str, goal: str) -> None:
        self._metric, self._sign = metric, -1 if goal == "highest" else 1
        self.record: dict[str, Any] | None = None
        self.evaluations_since = 0

    def value(self, record: dict[str, Any]) -> float:
        """The metric in a record.

        Raises:
            ConfigError: the record does not have it.
        """
        value = record.get(f"validation_{self._metric}")
        if value is None:
            prefixed = [name for name in record if name.startswith("validation_")]
            known = ", ".join(name.removeprefix("validation_") for name in prefixed)
            raise ConfigError(f"training.metric={self._metric!r} is not measured", allowed=known)
        return float(value)

    def improves(self, record: dict[str, Any]) -> bool:
        """Whether this record is better than all before it; what is not finite never is."""
        value = self.value(record)
        best = self.value(self.record) if self.record is not None else math.inf * self._sign
        better = math.isfinite(value) and self._sign * value < self._sign * best
        self.record = record if better else self.record
        self.evaluations_since = 0 if better else self.evaluations_since + 1
        return better

    def state_dict(self) -> dict[str, Any]:
        """Best record and count, as JSON values."""
        return {"record": self.record, "evaluations_since": self.evaluations_since}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self.record, self.evaluations_since = state["record"], int(state["evaluations_since"])
