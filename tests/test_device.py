"""Device, number format, energy."""

from __future__ import annotations

import pytest
import torch

from hortus.device import (
    EnergyMeter,
    choose_device,
    choose_dtype,
    describe_machine,
    matmul_peak_flops,
    peak_memory_bytes,
)
from hortus.errors import ConfigError, DeviceError


def test_devices_are_checked() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type in ("cpu", "cuda", "mps")
    with pytest.raises(ConfigError, match=r"device='gpu'.*auto, cpu, cuda"):
        choose_device("gpu")
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match="not in this machine"):
            choose_device("cuda")


def test_dtypes_are_checked() -> None:
    cpu = torch.device("cpu")
    assert choose_dtype("bfloat16", cpu) == torch.bfloat16
    assert choose_dtype("auto", cpu) in (torch.bfloat16, torch.float32)
    with pytest.raises(ConfigError, match="dtype='float8'"):
        choose_dtype("float8", cpu)


def test_the_machine_is_measured() -> None:
    assert 1e9 < matmul_peak_flops(torch.device("cpu"), torch.float32) < 1e16
    assert peak_memory_bytes() > 50 * 2**20
    assert describe_machine()["torch"] == torch.__version__


def test_energy_grows_with_work() -> None:
    meter = EnergyMeter()
    meter.start()
    before = meter.stop()
    sum(i * i for i in range(10**6))
    assert meter.stop() > before >= 0
