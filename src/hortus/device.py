"""The machine: device and number format, peak speed, memory, and (from hortus.energy) its energy.

Units: FLOP/s, bytes, seconds.
"""

from __future__ import annotations

import functools
import os
import platform
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hortus.energy import EnergyMeter
from hortus.errors import ConfigError, DeviceError

if TYPE_CHECKING:
    import torch

__all__ = [
    "EnergyMeter",
    "choose_device",
    "choose_dtype",
    "describe_machine",
    "matmul_peak_flops",
    "peak_memory_bytes",
]


def choose_device(requested: str = "auto") -> torch.device:
    """The device to run on: "auto" takes the first GPU that works, else the CPU.

    Raises:
        ConfigError: the name is not a device.
        DeviceError: the device is not in this machine.
    """
    import torch

    if requested == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(requested)
    except RuntimeError as error:
        raise ConfigError(
            f"device={requested!r} is not known", allowed="auto, cpu, cuda, cuda:N, mps"
        ) from error
    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not available.get(device.type, False):
        raise DeviceError(
            f"device={requested!r} is not in this machine", do="use --device auto or --device cpu"
        )
    return device


def choose_dtype(requested: str, device: torch.device) -> torch.dtype:
    """The number format of matrix products: "auto" is bfloat16 where the hardware multiplies in it.

    Raises:
        ConfigError: the name is not one of auto, float32, bfloat16, float16.
    """
    import torch

    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if requested in known:
        return known[requested]
    if requested != "auto":
        raise ConfigError(f"dtype={requested!r} is not known", allowed=f"auto, {', '.join(known)}")
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    if device.type == "cpu" and _cpu_multiplies_bfloat16():
        return torch.bfloat16
    return torch.float32


@functools.cache
def _cpu_multiplies_bfloat16() -> bool:
    """Without these units bfloat16 products are emulated: 1.4 GFLOP/s against 178 in float32 (AVX2)."""
    import torch

    if not hasattr(torch.cpu, "get_capabilities"):  # torch before 2.12
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    capabilities = torch.cpu.get_capabilities()
    return bool(
        capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("amx_tile")
    )


@functools.cache
def matmul_peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of a large square matrix product on this device, measured once a process (about 0.2 s)."""
    import torch

    size = 2048 if device.type == "cpu" else 8192
    left = torch.randn(size, size, device=device, dtype=dtype)
    right = torch.randn(size, size, device=device, dtype=dtype)
    synchronize = torch.cuda.synchronize if device.type == "cuda" else (lambda: None)
    best = float("inf")
    with torch.no_grad():
        for _ in range(4):
            synchronize()
            start = time.perf_counter()
            torch.mm(left, right)
            synchronize()
            best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def peak_memory_bytes(device: torch.device | None = None) -> int:
    """The most memory this process has held: on the GPU its allocations, else the resident set."""
    if device is not None and device.type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def describe_machine() -> dict[str, Any]:
    """What a result needs beside it to be compared: processor, cores, memory, system, versions."""
    import psutil
    import torch

    import hortus

    machine: dict[str, Any] = {
        "processor": _processor_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "hortus": hortus.__version__,
    }
    if torch.cuda.is_available():
        machine["gpus"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return machine


def _processor_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
