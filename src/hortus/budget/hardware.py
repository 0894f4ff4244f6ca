"""What a device can do: a table of accelerators, and this machine measured.

Units: FLOP/s, bytes, bytes a second, watts, US dollars an hour.
"""

from __future__ import annotations

import functools
import importlib.resources
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from hortus.config import parse_yaml
from hortus.errors import ConfigError, nearest

__all__ = ["Device", "find_device", "known_devices", "measure_machine"]

_GIGA = 1e9
_TILE = 128  # rows and columns that one multiprocessor computes at a time
_HALF_SPEED_ROWS = 512  # rows with which a product reaches half of its speed
_WIDTHS = (64, 128, 256, 512, 1024)  # of the products by which a machine is measured
_ROWS, _ROUNDS = 1024, 6


@dataclass(frozen=True, kw_only=True)
class Device:
    """One device, and the links to others of its kind."""

    name: str
    peak_flops: float
    """Of matrix products in the training format, by data sheet or measured."""
    memory_bytes: float
    bandwidth: float
    """Of its memory."""
    link: float = math.inf
    """To another device of its node, one way."""
    network: float = math.inf
    """To another node, its share of the node's adapters."""
    watts: float = 0.0
    price: float = 0.0
    node: int = 1
    """Devices in a node."""
    multiprocessors: int = 0
    """0 where products are not cut into tiles of a fixed size."""
    matmul_efficiency: float = 1.0
    number_bytes: int = 2
    """Of a number in matrix products; 4 is training without mixed precision."""
    launch_seconds: float = 0.0
    """Of an operation on next to nothing."""
    matmul_by_width: Mapping[int, float] = field(default_factory=dict)
    """Measured FLOP/s of (1024, w)·(w, 4w) and its transpose; where given it takes the peak's place."""

    def matmul_flops(self, rows: float, columns: float, width: int) -> float:
        """FLOP/s of a product with that many rows and columns of output in a network of that width."""
        if self.matmul_by_width:
            return _interpolate(self.matmul_by_width, width)
        share = self.matmul_efficiency * rows / (rows + _HALF_SPEED_ROWS)
        return self.peak_flops * share * self._tiles_filled(rows, columns)

    def _tiles_filled(self, rows: float, columns: float) -> float:
        """Share of the tiles' and of the last wave's work that is wanted."""
        if not self.multiprocessors:
            return 1.0
        down, across = rows / _TILE, columns / _TILE
        tiles = math.ceil(down) * math.ceil(across)
        waves = tiles / self.multiprocessors
        return down * across / tiles * waves / math.ceil(waves)


def _interpolate(table: Mapping[int, float], width: int) -> float:
    """Linear in the logarithm of the width, flat beyond the ends."""
    known = sorted(table)
    width = min(max(width, known[0]), known[-1])
    above = next(place for place, value in enumerate(known) if value >= width)
    if known[above] == width:
        return table[width]
    low, high = known[above - 1], known[above]
    share = math.log(width / low) / math.log(high / low)
    return table[low] * (1 - share) + table[high] * share


@functools.cache
def known_devices() -> dict[str, Device]:
    """The table, by name.

    >>> known_devices()["a100-80gb"].memory_bytes
    80000000000.0
    """
    text = importlib.resources.files("hortus.budget").joinpath("data/devices.yaml").read_text("utf-8")
    return {
        name: Device(
            name=name,
            peak_flops=row["teraflops"] * 1e12,
            memory_bytes=row["memory_gb"] * _GIGA,
            bandwidth=row["bandwidth_gb"] * _GIGA,
            link=row["link_gb"] * _GIGA,
            network=row["network_gb"] * _GIGA,
            **{key: row[key] for key in ("watts", "price", "node", "multiprocessors", "matmul_efficiency")},
        )
        for name, row in parse_yaml(text, "devices.yaml").items()
    }


def find_device(name: str) -> Device:
    """A device of the table, or this machine measured for "this".

    Raises:
        ConfigError: not in the table.
    """
    if name == "this":
        return measure_machine()
    if name not in known_devices():
        raise ConfigError(
            f"gpu={name!r} is not known",
            allowed=f"this, {', '.join(known_devices())}",
            do=nearest(name, ["this", *known_devices()]),
        )
    return known_devices()[name]


@functools.cache
def measure_machine() -> Device:
    """This machine's processor or first GPU: matrix products, memory speed, cost of a small operation.

    Takes about a second; nothing else should run meanwhile.
    """
    import psutil
    import torch

    from hortus.device import choose_device, choose_dtype

    device = choose_device("auto")
    dtype = choose_dtype("auto", device)
    wait = torch.cuda.synchronize if device.type == "cuda" else (lambda: None)

    def seconds(work: Callable[[], object]) -> float:
        wait()
        began = time.perf_counter()
        work()
        wait()
        return time.perf_counter() - began

    with torch.no_grad():
        matrices = {width: torch.randn(width, 4 * width, device=device, dtype=dtype) for width in _WIDTHS}
        rows = {width: torch.randn(_ROWS, width, device=device, dtype=dtype) for width in _WIDTHS}
        taken = dict.fromkeys((*_WIDTHS, "copy", "launch"), math.inf)
        large = torch.zeros(2**26, device=device)
        target = torch.empty_like(large)
        small = torch.zeros(8, device=device)
        for _ in range(_ROUNDS):  # all in turn, for a clock moves
            for width in _WIDTHS:
                both = seconds(lambda w=width: (rows[w] @ matrices[w]) @ matrices[w].T)  # type: ignore[misc]
                taken[width] = min(taken[width], both)
            taken["copy"] = min(taken["copy"], seconds(lambda: target.copy_(large)))
            taken["launch"] = min(taken["launch"], seconds(lambda: [small.add_(1) for _ in range(200)]))
    products = {width: 16 * _ROWS * width**2 / taken[width] for width in _WIDTHS}
    if device.type == "cuda":
        memory = float(torch.cuda.get_device_properties(device).total_memory)
    else:
        memory = float(psutil.virtual_memory().total)
    return Device(
        name="this machine",
        peak_flops=max(products.values()),
        memory_bytes=memory,
        bandwidth=2 * large.nbytes / taken["copy"],
        watts=10.0 * torch.get_num_threads() if device.type == "cpu" else 300.0,
        number_bytes=dtype.itemsize,
        launch_seconds=taken["launch"] / 200,
        matmul_by_width=products,
    )
