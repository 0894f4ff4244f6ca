"""Carbon of electricity: kWh to kg of CO2e by the grid that it came from.

The grid is named by a country's three letters or by its grams of CO2e per kWh; without a name it is the
environment's HORTUS_GRID, else the world's mean. The table, data/grid_intensity.json, names its source.
"""

from __future__ import annotations

import functools
import importlib.resources
import json
import os
from dataclasses import dataclass
from typing import Any

from hortus.errors import ConfigError, nearest

__all__ = ["Grid", "footprint", "grid"]


@dataclass(frozen=True)
class Grid:
    """A source of electricity: its name and its grams of CO2e per kWh."""

    name: str
    grams_per_kwh: float

    def carbon_kg(self, energy_kwh: float) -> float:
        """kg of CO2e of that much energy."""
        return energy_kwh * self.grams_per_kwh / 1000

    def __str__(self) -> str:
        return f"{self.name}, {self.grams_per_kwh:.0f} g/kWh"


@functools.cache
def _table() -> dict[str, Any]:
    text = importlib.resources.files("hortus").joinpath("data/grid_intensity.json").read_text("utf-8")
    return json.loads(text)["grids"]


def grid(place: str | None = None) -> Grid:
    """The grid of a place.

    Args:
        place: three letters of a country (ISO 3166), "world", or grams of CO2e per kWh; None: HORTUS_GRID.

    Raises:
        ConfigError: neither a known country nor a number of at least 0.

    >>> grid("fra").carbon_kg(1000), str(grid("57"))
    (56.0, 'given, 57 g/kWh')
    """
    place = place or os.environ.get("HORTUS_GRID") or "world"
    try:
        grams = float(place)
    except ValueError:
        if place.upper() in _table():
            name, grams, year = _table()[place.upper()]
            return Grid(f"{name} {year}", grams)
        raise ConfigError(
            f"the grid {place!r} is not known",
            allowed="three letters of a country, world, or grams of CO2e per kWh",
            do=nearest(place.upper(), _table()),
        ) from None
    if not 0 <= grams < float("inf"):
        raise ConfigError(f"the grid {place!r} is out of range", allowed="grams of CO2e per kWh from 0")
    return Grid("given", grams)


def footprint(energy_kwh: float | None, source: str = "") -> dict[str, Any]:
    """What a model card says of a run's energy, as arguments of `ModelCard`.

    Args:
        energy_kwh: None where it is not known.
        source: how the energy was found, of `hortus.device.EnergyMeter.source`.

    >>> footprint(None)
    {}
    """
    if energy_kwh is None:
        return {}
    place = grid()
    return {
        "energy_kwh": energy_kwh,
        "energy_source": source,
        "carbon_kg": place.carbon_kg(energy_kwh),
        "grid": str(place),
    }
