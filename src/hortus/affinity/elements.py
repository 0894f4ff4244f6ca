"""What is known of each element: radii, masses, energies and the classes that the features use.

Radii (Å) are those of the published preparation: covalent after Meng and Lewis (1991), van der Waals after
Bondi (1964). Ionization energy and electron affinity (eV) are those of EQeq (Wilmer, Kim, Snurr 2012), where
hydrogen's affinity is set to -2.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from functools import cache
from importlib import resources

import numpy as np

__all__ = [
    "COVALENT_RADIUS",
    "ELECTRON_AFFINITY",
    "HALOGENS",
    "IONIZATION_ENERGY",
    "MASS",
    "METALS",
    "NUMBER",
    "SYMBOLS",
    "is_among",
    "VAN_DER_WAALS_RADIUS",
]

HALOGENS = (9, 17, 35, 53)
METALS = (3, 4, 11, 12, 13, *range(19, 32), *range(37, 51), *range(55, 84), *range(87, 104))
_LARGEST = 104


def _read() -> tuple[tuple[str, ...], np.ndarray]:
    symbols, values = ["X"] * _LARGEST, np.full((_LARGEST, 5), np.nan)
    text = resources.files("hortus.affinity").joinpath("elements.csv").read_text(encoding="ascii")
    for number, symbol, *rest in list(csv.reader(text.splitlines()))[1:]:
        symbols[int(number)] = symbol
        values[int(number)] = [float(value) if value else np.nan for value in rest]
    return tuple(symbols), values


SYMBOLS, _VALUES = _read()
MASS, COVALENT_RADIUS, VAN_DER_WAALS_RADIUS, ELECTRON_AFFINITY, IONIZATION_ENERGY = _VALUES.T.copy()
ELECTRON_AFFINITY[1] = -2.0
NUMBER = {symbol.upper(): number for number, symbol in enumerate(SYMBOLS) if number}
NUMBER["D"] = 1  # deuterium, in neutron structures


@cache
def _table(numbers: tuple[int, ...]) -> np.ndarray:
    table = np.zeros(_LARGEST, bool)
    table[list(numbers)] = True
    return table


def is_among(elements: np.ndarray, numbers: Sequence[int]) -> np.ndarray:
    """Bool of the same shape: which elements are among `numbers`; numpy.isin takes twenty times as long.

    >>> is_among(np.array([6, 7, 8]), (7, 8)).tolist()
    [False, True, True]
    """
    return np.asarray(_table(tuple(numbers))[elements])
