"""Watching the loss: updates that are not finite are left out, spikes are reported.

BLOOM's run met one spike (loss 2.3 to 5.1) that healed by itself, so a spike is only reported; an update
that is not finite would destroy the weights, so it is never made.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median

import torch

from hortus.errors import ConfigError, DataError, DeviceError, HortusError

__all__ = ["LossGuard", "out_of_memory_named"]

_REMEMBERED = 128  # losses in the running median
_NEEDED = 32  # and how many there must be before anything is a spike
_DEVIATION = 1.4826  # median absolute deviation -> standard deviation of a normal distribution


class LossGuard:
    """Judges every step by its loss and gradient norm.

    Args:
        max_in_a_row: steps in a row that may be not finite before the run ends.
        spike_deviations: how far above the running median a loss is a spike (0: never).
        say: takes a line for the user.
    """

    def __init__(self, max_in_a_row: int, spike_deviations: float, say: Callable[[str], None]) -> None:
        self._max_in_a_row, self._spike_deviations, self._say = max_in_a_row, spike_deviations, say
        self.skipped = self.spikes = self._in_a_row = 0
        self._recent: deque[float] = deque(maxlen=_REMEMBERED)

    def allows(self, step: int, loss: float, gradient_norm: float) -> bool:
        """Whether the update of this step may be made.

        Raises:
            DataError: no loss has been finite since the start.
            ConfigError: too many steps in a row were not finite.
        """
        if math.isfinite(loss) and math.isfinite(gradient_norm):
            self._in_a_row = 0
            self._report_spike(step, loss)
            self._recent.append(loss)
            return True
        self.skipped += 1
        self._in_a_row += 1
        self._say(f"step {step}: loss {loss}, gradient norm {gradient_norm}: update left out")
        if self._in_a_row >= self._max_in_a_row:
            raise self._error(step)
        return False

    def _error(self, step: int) -> HortusError:
        what = f"loss or gradient not finite for {self._in_a_row} steps in a row, at step {step}"
        if not self._recent:
            return DataError(
                f"{what}, and never before", do="check the data and the loss for NaN and infinity"
            )
        return ConfigError(
            what, do="lower training.learning_rate, lengthen training.warmup_samples or use dtype float32"
        )

    def _report_spike(self, step: int, loss: float) -> None:
        if not self._spike_deviations or len(self._recent) < _NEEDED:
            return
        middle = median(self._recent)
        deviation = _DEVIATION * median(abs(recent - middle) for recent in self._recent)
        if deviation > 0 and loss > middle + self._spike_deviations * deviation:
            self.spikes += 1
            self._say(f"step {step}: loss spike, {loss:.4g} over a running median of {middle:.4g}")

    def state_dict(self) -> dict[str, object]:
        """Counters and recent losses, as JSON values."""
        counters = {"skipped": self.skipped, "spikes": self.spikes, "in_a_row": self._in_a_row}
        return {**counters, "recent": list(self._recent)}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Go on from saved counters."""
        self.skipped, self.spikes, self._in_a_row = (int(state[k]) for k in ("skipped", "spikes", "in_a_row"))  # type: ignore[call-overload]
        self._recent.extend(state["recent"])  # type: ignore[arg-type]


@contextmanager
def out_of_memory_named(samples: int) -> Iterator[None]:
    """Say what to do when a micro-batch of this many samples does not fit.

    Raises:
        DeviceError: the device or the machine has no memory left.
    """
    try:
        yield
    except RuntimeError as error:
        # PyTorch has a class for a GPU without memory; for the CPU only this text tells.
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        raise DeviceError(
            f"no memory left for a micro-batch of {samples} samples",
            do="lower training.micro_batch_size, which does not change the result, or shorten the sequences",
        ) from error
