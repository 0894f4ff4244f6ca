"""Energy of this machine while something runs: counters where they can be read, else an estimate, said which.

Processor and memory: the running counters of RAPL (powercap), one a package and one for its memory. GPUs:
NVML's running counter, else their present draw times the time. Counters see the whole machine, whoever uses
it. Where the processor has none, the processor time of this process is taken at an assumed power.
"""

from __future__ import annotations

import ctypes
import functools
import resource
import sys
import time
from pathlib import Path
from typing import Any

__all__ = ["EnergyMeter"]

# A busy core of a server with its share of memory, fans and supply draws 7-12 W; a laptop core less.
ASSUMED_WATTS_PER_CORE = 10.0
_POWERCAP = Path("/sys/class/powercap")


class EnergyMeter:
    """Energy of this machine since `start`.

    `source` says how it is found: "measured (RAPL)", "measured (RAPL, NVML)",
    "estimated (10 W a busy core)" and the like.

    >>> meter = EnergyMeter(); meter.start(); meter.stop() >= 0
    True
    """

    def __init__(self) -> None:
        self.source = f"estimated ({ASSUMED_WATTS_PER_CORE:.0f} W a busy core)"
        self._joules = 0.0

    def start(self) -> None:
        """Begin at zero."""
        self._joules = 0.0
        self._counters = _rapl_counters()
        self._last = [_read(path) for path, _ in self._counters]
        self._gpus = _gpu_joules()
        self._cpu_seconds, self._at = _cpu_seconds(), time.perf_counter()
        self._name_source()

    def stop(self) -> float:
        """kWh since `start`; callable any number of times, and best at least every few minutes.

        A counter of RAPL starts again at its range, so the time between two calls must be shorter than
        it takes to fill that: some twenty minutes at 200 W.
        """
        seconds, self._at = time.perf_counter() - self._at, time.perf_counter()
        self._joules += self._processor() + self._accelerators(seconds)
        return self._joules / 3.6e6

    def _processor(self) -> float:
        if self._counters:
            now = [_read(path) for path, _ in self._counters]
            moved = [
                (new - old) % span
                for new, old, (_, span) in zip(now, self._last, self._counters, strict=True)
            ]
            self._last = now
            return sum(moved) / 1e6
        used, self._cpu_seconds = _cpu_seconds() - self._cpu_seconds, _cpu_seconds()
        return used * ASSUMED_WATTS_PER_CORE

    def _accelerators(self, seconds: float) -> float:
        now = _gpu_joules()
        if self._gpus is not None and now is not None and now >= self._gpus:
            moved, self._gpus = now - self._gpus, now
            return moved
        return _gpu_watts() * seconds

    def _name_source(self) -> None:
        measured = ["RAPL"] if self._counters else []
        if self._gpus is not None:
            measured.append("NVML")
        parts = [f"measured ({', '.join(measured)})"] if measured else []
        if not self._counters:
            parts.append(f"estimated ({ASSUMED_WATTS_PER_CORE:.0f} W a busy core)")
        if self._gpus is None and _gpu_watts():
            parts.append("estimated (GPU's draw at times)")
        self.source = ", ".join(parts)


def _rapl_counters() -> list[tuple[Path, int]]:
    """Readable counters of microjoules with their ranges: packages, and memory that is not within them."""
    found = []
    for zone in sorted(_POWERCAP.glob("intel-rapl:*")):
        try:
            name = (zone / "name").read_text().strip()
            if not name.startswith(("package", "dram")):
                continue
            span = int((zone / "max_energy_range_uj").read_text())
            _read(zone / "energy_uj")
        except (OSError, ValueError):
            continue
        found.append((zone / "energy_uj", span + 1))
    return found


def _read(path: Path) -> int:
    return int(path.read_text())


def _cpu_seconds() -> float:
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in usage)


@functools.cache
def _nvml() -> Any:
    """NVIDIA's management library, opened once; None where there is none."""
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
        return library if library.nvmlInit_v2() == 0 else None
    except (OSError, AttributeError):
        return None


def _gpu_joules() -> float | None:
    """Counters of all GPUs together since the driver was loaded; None where one of them has none."""
    library = _nvml()
    count = ctypes.c_uint()
    if library is None or library.nvmlDeviceGetCount_v2(ctypes.byref(count)) or not count.value:
        return None
    total = 0
    for index in range(count.value):
        device, millijoules = ctypes.c_void_p(), ctypes.c_ulonglong()
        if library.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(device)):
            return None
        if library.nvmlDeviceGetTotalEnergyConsumption(device, ctypes.byref(millijoules)):
            return None
        total += millijoules.value
    return total / 1000


def _gpu_watts() -> float:
    """Present draw of all GPUs in watts; 0 without a GPU or without its management library."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return 0.0
    try:
        return sum(torch.cuda.power_draw(i) for i in range(torch.cuda.device_count())) / 1e3
    except Exception:  # the management library is optional and fails in many ways
        return 0.0
