"""The 19 features of an atom, in the published order (tfbio/Pafnucy set, HAC-Net section 2.1).

Hybridisation and the five patterns follow Open Babel's typing rules, stated here as array expressions on the
molecular graph instead of SMARTS; a test compares them with SMARTS matching. Patterns are decided with the
hydrogens counted, whether they are atoms or numbers; rows are kept for heavy atoms only.
"""

from __future__ import annotations

import numpy as np

from hortus.affinity.elements import HALOGENS, METALS, VAN_DER_WAALS_RADIUS, is_among
from hortus.affinity.molecule import Molecule

__all__ = ["FEATURE_NAMES", "atom_features", "hybridization", "van_der_waals_radii"]

FEATURE_NAMES = (
    *("boron", "carbon", "nitrogen", "oxygen", "phosphorus", "sulfur", "selenium", "halogen", "metal"),
    *("hybridization", "heavy_degree", "hetero_degree", "partial_charge", "molecule"),
    *("hydrophobic", "aromatic", "acceptor", "donor", "ring"),
)
# What Open Babel counts as hetero: halogens are not among them.
_HETERO = (7, 8, 15, 16, 33, 34, 51, 52, 83, 84)
_CLASS_OF = np.full(128, -1)
_CLASS_OF[[5, 6, 7, 8, 15, 16, 34]] = np.arange(7)
_CLASS_OF[list(HALOGENS)] = 7
_CLASS_OF[list(METALS)] = 8


def _is(elements: np.ndarray, *numbers: int) -> np.ndarray:
    return is_among(elements, numbers)


def _neighbors(molecule: Molecule, of_kind: np.ndarray) -> np.ndarray:
    """(N,) bonded atoms for which `of_kind` (N,) is true."""
    return molecule.sum_over_neighbors(of_kind.astype(float)).astype(np.int64)


def hybridization(molecule: Molecule) -> np.ndarray:
    """(N,) 1 for sp, 2 for sp2, 3 for sp3, else 5 or 6 for expanded shells.

    Later rules overrule earlier ones, as in Open Babel's table of types.
    """
    elements, degree = molecule.elements, molecule.degree + molecule.hydrogens
    order = molecule.orders
    ends = molecule.bonds
    double, triple = np.zeros(len(molecule), np.int64), np.zeros(len(molecule), np.int64)
    np.add.at(double, ends[order == 2], 1)
    np.add.at(triple, ends[order == 3], 1)
    unsaturated = (double > 0) | (triple > 0) | molecule.aromatic
    aromatic = molecule.aromatic
    conjugated = _neighbors(molecule, unsaturated & _is(elements, 6, 7, 8)) > 0

    result = np.ones(len(molecule), np.int64)
    result[degree == 4], result[degree == 5], result[degree == 6] = 3, 5, 6
    carbon, nitrogen, oxygen = elements == 6, elements == 7, elements == 8
    result[carbon] = 3
    result[carbon & (aromatic | (double > 0))] = 2
    result[carbon & ((triple > 0) | (double > 1))] = 1
    result[nitrogen] = 3
    near_aromatic = (_neighbors(molecule, aromatic) > 0) & (degree <= 3)
    result[nitrogen & (aromatic | (double > 0) | conjugated | near_aromatic)] = 2
    result[nitrogen & ((triple > 0) | ((double > 1) & (degree == 2)))] = 1
    result[oxygen] = 3
    result[oxygen & (aromatic | (double > 0) | conjugated | _twin_oxygen(molecule))] = 2
    result[oxygen & (triple > 0)] = 1
    phosphorus, sulfur = elements == 15, elements == 16
    result[phosphorus] = 3
    result[phosphorus & (degree == 1) & (double > 0)] = 2
    result[phosphorus & ((degree == 5) | (molecule.valence == 5))] = 5
    result[sulfur] = 3
    result[sulfur & (aromatic | ((degree == 1) & (double > 0)))] = 2
    result[sulfur & (degree == 6)] = 6
    boron = elements == 5
    result[boron] = np.where(degree[boron] == 4, 3, 2)
    trivalent = _is(elements, 13, 31, 49, 81)
    result[trivalent] = np.where(degree[trivalent] == 4, 3, 2)
    result[_is(elements, 14, 32, 34, 50, 52, 82) & (degree <= 4)] = 3
    result[(elements == 34) & aromatic] = 2
    return result


def _twin_oxygen(molecule: Molecule) -> np.ndarray:
    """(N,) bool: a terminal oxygen on an atom that carries another terminal oxygen and is carbon."""
    terminal = (molecule.elements == 8) & (molecule.degree + molecule.hydrogens == 1)
    twins = (_neighbors(molecule, terminal) >= 2) & (molecule.elements == 6)
    return terminal & (_neighbors(molecule, twins) > 0)


def _hydrophobic(molecule: Molecule, hybrid: np.ndarray) -> np.ndarray:
    elements, neutral = molecule.elements, molecule.formal_charges == 0
    polar = _neighbors(molecule, _is(elements, 7, 8, 9)) > 0
    sulfur = (elements == 16) & ~molecule.aromatic
    thioether = sulfur & (molecule.num_hydrogens == 0) & neutral & (molecule.valence == 2)
    return (
        ((elements == 6) & neutral & ~polar)
        | thioether
        | ((elements == 16) & molecule.aromatic & neutral)
        | (sulfur & (hybrid == 3))
        | (_is(elements, 17, 35, 53) & neutral)
    )


def _acceptor(molecule: Molecule) -> np.ndarray:
    elements, valence, aromatic = molecule.elements, molecule.valence, molecule.aromatic
    degree = molecule.degree + molecule.hydrogens
    excluded = (
        _is(elements, 1, 6, 9, 17, 35, 53)
        | (_is(elements, 8, 16) & aromatic)
        | ((elements == 7) & aromatic & (degree == 3))
        | (_is(elements, 7, 15) & (valence == 5))
        | ((elements == 16) & ((valence == 4) | (valence == 6)))
        | (molecule.formal_charges > 0)
    )
    return ~excluded


def _donor(molecule: Molecule) -> np.ndarray:
    has_hydrogen = molecule.num_hydrogens > 0
    usual = has_hydrogen & _is(molecule.elements, 7, 8, 9)
    return usual | (has_hydrogen & (molecule.elements != 6) & (molecule.formal_charges >= 0))


def atom_features(molecule: Molecule, *, ligand: bool) -> np.ndarray:
    """(H, 19) float32: the features of the heavy atoms, in the order of FEATURE_NAMES.

    >>> methane = Molecule(np.array([6]), np.zeros((1, 3)), np.empty((0, 2), int), np.empty(0),
    ...     np.zeros(1, bool), np.zeros(1, int), np.array([4]), np.array([-0.1]))
    >>> dict(zip(FEATURE_NAMES, atom_features(methane, ligand=True)[0].tolist()))["hydrophobic"]
    1.0
    """
    elements, heavy = molecule.elements, molecule.heavy
    rows = np.zeros((len(molecule), len(FEATURE_NAMES)), np.float32)
    kind = _CLASS_OF[elements]
    rows[np.flatnonzero(kind >= 0), kind[kind >= 0]] = 1.0
    hybrid = hybridization(molecule)
    rows[:, 9] = hybrid
    rows[:, 10] = _neighbors(molecule, heavy)
    rows[:, 11] = _neighbors(molecule, _is(elements, *_HETERO))
    rows[:, 12] = 0.0 if molecule.charges is None else molecule.charges
    rows[:, 13] = 1.0 if ligand else -1.0
    rows[:, 14] = _hydrophobic(molecule, hybrid)
    rows[:, 15] = molecule.aromatic
    rows[:, 16] = _acceptor(molecule)
    rows[:, 17] = _donor(molecule)
    rows[:, 18] = molecule.in_ring
    return rows[heavy]


def van_der_waals_radii(molecule: Molecule) -> np.ndarray:
    """(H,) float32: radii of the heavy atoms in Å; 2 Å where none is tabulated."""
    radii = VAN_DER_WAALS_RADIUS[molecule.elements[molecule.heavy]]
    return np.nan_to_num(radii, nan=2.0).astype(np.float32)
