"""Speed, share of the machine's peak, time left, memory and energy of a run in progress."""

from __future__ import annotations

import os
import time
from typing import Any

import torch

from hortus.device import EnergyMeter, matmul_peak_flops, peak_memory_bytes
from hortus.training.config import TrainingConfig
from hortus.training.randomness import preserved

__all__ = ["Rates"]

_PEAK_AFTER_SECONDS = 5.0  # runs shorter than this do not pay for measuring the matmul peak

_SPEED_KNOWN_FROM = 0.02  # share of max_minutes after which the mean speed is taken for the run's


class Rates:
    """Measures a run from its start or resume on.

    Args:
        config: what limits the run.
        device, dtype: where and in which precision matrices are multiplied.
        flops_per_token: forward and backward.
        planned_samples: samples of the whole run, None when unknown.
        devices: that share the work.
    """

    def __init__(
        self,
        config: TrainingConfig,
        device: torch.device,
        dtype: torch.dtype,
        flops_per_token: float,
        planned_samples: int | None,
        devices: int = 1,
    ) -> None:
        self._devices = devices
        self._config, self._device, self._dtype = config, device, dtype
        self._flops_per_token, self._planned_samples = flops_per_token, planned_samples
        self._seconds_before = self._energy_before = 0.0
        self._samples_at_start = 0
        self._meter = EnergyMeter()
        self._meter.start()
        self._started = self._marked = time.perf_counter()

    def resume(self, samples: int, seconds: float, energy_kwh: float) -> None:
        """Go on after what an earlier process did."""
        self._samples_at_start, self._seconds_before, self._energy_before = samples, seconds, energy_kwh

    @property
    def seconds(self) -> float:
        """Seconds of training, those before a resume included."""
        return self._seconds_before + time.perf_counter() - self._started

    @property
    def energy_kwh(self) -> float:
        """Energy estimate, that before a resume included."""
        return self._energy_before + self._meter.stop() * self._meters()

    @property
    def energy_source(self) -> str:
        """How the energy is found."""
        return self._meter.source

    def _meters(self) -> float:
        """By what this process's meter counts for all processes: counters see the whole machine."""
        whole_machine = self._meter.source.startswith("measured")
        here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        return self._devices / here if whole_machine else self._devices

    def remaining_seconds(self, samples: int) -> float | None:
        """Time left at the mean speed so far, by samples and by max_minutes; None when neither is known."""
        limits = []
        if self._config.max_minutes is not None:
            limits.append(60 * self._config.max_minutes - self.seconds)
        seen = samples - self._samples_at_start
        if self._planned_samples is not None and seen > 0:
            speed = seen / (time.perf_counter() - self._started)
            limits.append((self._planned_samples - samples) / speed)
        return max(0.0, min(limits)) if limits else None

    def expected_samples(self, samples: int) -> float | None:
        """Samples at which the run will end; None when nothing tells.

        It is the number planned, unless max_minutes will come first at the mean speed so far. A run that ends
        well within max_minutes therefore does not depend on the clock.
        """
        share = self.time_share()
        if self._planned_samples is not None and share < _SPEED_KNOWN_FROM:
            return self._planned_samples
        by_time = samples / share if share > 0 else None
        limits = [limit for limit in (self._planned_samples, by_time) if limit is not None]
        return min(limits, default=None)

    def time_share(self) -> float:
        """Share of max_minutes that is used; 0 without that limit."""
        return self.seconds / (60 * self._config.max_minutes) if self._config.max_minutes else 0.0

    def measure(self, samples: int, window_samples: int, window_tokens: int) -> dict[str, Any]:
        """Numbers for a log line whose window, since the last call, held these samples and tokens."""
        now = time.perf_counter()
        elapsed, self._marked = max(now - self._marked, 1e-9), now
        numbers: dict[str, Any] = {"seconds": self.seconds, "samples_per_second": window_samples / elapsed}
        if window_tokens:
            numbers["tokens_per_second"] = window_tokens / elapsed
            if now - self._started > _PEAK_AFTER_SECONDS:
                flops = self._flops_per_token * numbers["tokens_per_second"]
                numbers["matmul_share"] = flops / (self._devices * self._peak_flops())
        numbers["eta_seconds"] = self.remaining_seconds(samples)
        numbers["memory_bytes"] = peak_memory_bytes(self._device)
        numbers["energy_kwh"] = self.energy_kwh
        return numbers

    def _peak_flops(self) -> float:
        with preserved(self._device):  # the measurement draws random matrices
            peak = matmul_peak_flops(self._device, self._dtype)
        self._marked = time.perf_counter()
        return peak

    def pause(self, seconds: float) -> None:
        """Leave out time that was not spent on training steps (an evaluation) from the next speed."""
        self._marked += seconds
