"""Energy counters and carbon."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from hortus import energy
from hortus.carbon import footprint, grid
from hortus.card import ModelCard
from hortus.energy import EnergyMeter
from hortus.errors import ConfigError


def write_zone(root: Path, zone: str, name: str, microjoules: int, span: int = 10**9) -> Path:
    folder = root / f"intel-rapl:{zone}"
    folder.mkdir()
    (folder / "name").write_text(name + "\n")
    (folder / "max_energy_range_uj").write_text(str(span - 1))
    (folder / "energy_uj").write_text(str(microjoules))
    return folder / "energy_uj"


@pytest.fixture
def powercap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(energy, "_POWERCAP", tmp_path)
    monkeypatch.setattr(energy, "_nvml", lambda: None)
    return tmp_path


def test_all_packages_and_their_memory_are_counted_and_parts_of_them_are_not(powercap: Path) -> None:
    files = [
        write_zone(powercap, "0", "package-0", 10),
        write_zone(powercap, "1", "package-1", 20),
        write_zone(powercap, "0:0", "core", 5),
        write_zone(powercap, "0:1", "dram", 7),
    ]
    meter = EnergyMeter()
    meter.start()
    for file in files:
        file.write_text(str(int(file.read_text()) + 3_600_000))
    assert meter.stop() == pytest.approx(3 * 3.6 / 3.6e6)
    assert meter.source == "measured (RAPL)"


def test_a_counter_that_starts_again_goes_on(powercap: Path) -> None:
    file = write_zone(powercap, "0", "package-0", 990, span=1000)
    meter = EnergyMeter()
    meter.start()
    file.write_text("20")
    assert meter.stop() == pytest.approx(30e-6 / 3.6e6)
    file.write_text("25")
    assert meter.stop() == pytest.approx(35e-6 / 3.6e6)


def test_without_counters_the_energy_is_an_estimate_and_says_so(powercap: Path) -> None:
    meter = EnergyMeter()
    meter.start()
    first = meter.stop()
    sum(i * i for i in range(10**6))
    assert meter.stop() > first >= 0
    assert meter.source == "estimated (10 W a busy core)"


class Nvml:
    """Two GPUs whose counters stand where they are set."""

    millijoules = 0

    def nvmlDeviceGetCount_v2(self, count: ctypes._Pointer) -> int:
        count._obj.value = 2
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index: int, device: ctypes._Pointer) -> int:
        return 0

    def nvmlDeviceGetTotalEnergyConsumption(self, device: object, value: ctypes._Pointer) -> int:
        value._obj.value = self.millijoules
        return 0


def test_gpus_are_read_from_their_counters(powercap: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_zone(powercap, "0", "package-0", 0)
    library = Nvml()
    monkeypatch.setattr(energy, "_nvml", lambda: library)
    meter = EnergyMeter()
    meter.start()
    library.millijoules = 1_800_000
    assert meter.stop() == pytest.approx(2 * 1800 / 3.6e6)
    assert meter.source == "measured (RAPL, NVML)"


def test_grids(monkeypatch: pytest.MonkeyPatch) -> None:
    assert grid().grams_per_kwh == 480
    # The BLOOM run: 433,196 kWh at 57 g is 24.7 t.
    assert grid("57").carbon_kg(433_196) == pytest.approx(24_700, rel=2e-3)
    monkeypatch.setenv("HORTUS_GRID", "NOR")
    assert grid().carbon_kg(100) < grid("POL").carbon_kg(100) / 10
    with pytest.raises(ConfigError, match=r"grid 'FRB'.*did you mean 'SRB'"):
        grid("FRB")
    with pytest.raises(ConfigError, match="out of range"):
        grid("-3")


def test_the_card_says_how_energy_and_carbon_were_found(tmp_path: Path) -> None:
    card = ModelCard(name="m", **footprint(2.0, "measured (RAPL)"))
    text = card.to_markdown()
    assert "2 kWh (measured (RAPL)), 0.96 kg CO2e (grid: the world's mean 2023, 480 g/kWh)" in text
    (tmp_path / "README.md").write_text(text)
    assert ModelCard.read(tmp_path) == card
