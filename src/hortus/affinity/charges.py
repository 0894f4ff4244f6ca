"""Partial charges, computed locally: Gasteiger-Marsili (from the graph) and EQeq (from the places).

Gasteiger and Marsili, Tetrahedron 36 (1980) 3219: charge flows along bonds from less to more electronegative
atoms, half as much each round. EQeq: Wilmer, Kim and Snurr, J. Phys. Chem. Lett. 3 (2012) 2506, without
periodic images: one linear system.

N atoms, M bonds
"""

from __future__ import annotations

import numpy as np

from hortus.affinity.elements import ELECTRON_AFFINITY, IONIZATION_ENERGY, SYMBOLS
from hortus.affinity.features import hybridization
from hortus.affinity.molecule import Molecule
from hortus.errors import DataError

__all__ = ["are_formal", "eqeq_charges", "gasteiger_charges"]

# (element, hybridisation) -> a, b, c of the electronegativity a + b q + c q^2 in eV; 0 is any hybridisation.
_PARAMETERS = {
    (1, 0): (7.17, 6.24, -0.56),
    (6, 3): (7.98, 9.18, 1.88),
    (6, 2): (8.79, 9.32, 1.51),
    (6, 1): (10.39, 9.45, 0.73),
    (7, 3): (11.54, 10.82, 1.36),
    (7, 2): (12.87, 11.15, 0.85),
    (7, 1): (15.68, 11.70, -0.27),
    (8, 3): (14.18, 12.92, 1.39),
    (8, 2): (17.07, 13.79, 0.47),
    (9, 0): (14.66, 13.85, 2.31),
    (15, 0): (8.90, 8.24, 0.96),
    (16, 3): (10.14, 9.13, 1.38),
    (16, 2): (10.88, 9.485, 1.325),
    (17, 0): (11.00, 9.69, 1.35),
    (35, 0): (10.08, 8.47, 1.16),
    (53, 0): (9.90, 7.96, 0.96),
    (5, 0): (5.98, 6.82, 1.605),
    (14, 0): (7.30, 6.567, 0.657),
}
# Hydrogen's electronegativity as a cation, used where it is the donor.
_HYDROGEN_CATION = 20.02
_AMMONIUM = (0.0, 11.86, 11.86)
_ROUNDS = 12


def _shared_formal_charges(molecule: Molecule) -> np.ndarray:
    """(N,) formal charges, those of carboxylates, phosphates and guanidinium spread over their equal ends."""
    charges = molecule.formal_charges.astype(float)
    order, hybrid = molecule.degree, hybridization(molecule)
    for atom in np.flatnonzero(molecule.formal_charges).tolist():
        bonds = np.flatnonzero((molecule.bonds == atom).any(axis=1))
        if len(bonds) == 0 or molecule.aromatic[atom]:
            continue
        for center in _others(molecule, bonds, atom):
            around = _others(molecule, np.flatnonzero((molecule.bonds == center).any(axis=1)), center)
            same = [
                other
                for other in around
                if molecule.elements[other] == molecule.elements[atom]
                and hybrid[other] in (2, 3)
                and (order[other] == order[atom] or molecule.elements[atom] == 7)
            ]
            conjugated = hybrid[center] == 2 or molecule.elements[center] in (15, 16)
            if len(same) > 1 and conjugated and molecule.elements[center] in (6, 15, 16, 7):
                charges[same] = charges[same].sum() / len(same)
                break
    return charges


def _others(molecule: Molecule, bonds: np.ndarray, atom: int) -> list[int]:
    ends = molecule.bonds[bonds]
    return [int(end) for end in np.where(ends[:, 0] == atom, ends[:, 1], ends[:, 0])]


def gasteiger_charges(molecule: Molecule, *, published: bool = False) -> np.ndarray:
    """(N,) partial charges by twelve rounds of equalisation along the bonds.

    Metals and elements without parameters keep their formal charge.

    Args:
        published: give four-bonded N+ the parameters that Open Babel gives it, which leave the charge on it.

    >>> water = Molecule(np.array([8]), np.zeros((1, 3)), np.empty((0, 2), int), np.empty(0),
    ...     np.zeros(1, bool), np.zeros(1, int), np.array([2]))
    >>> gasteiger_charges(water).round(2).tolist()
    [-0.41]
    """
    whole = molecule.with_hydrogens(molecule.positions[molecule.hydrogen_owners])
    hybrid = hybridization(whole)
    coefficients = np.zeros((len(whole), 3))
    for (number, kind), values in _PARAMETERS.items():
        coefficients[(whole.elements == number) & ((kind == 0) | (hybrid == kind))] = values
    for number in (6, 7, 8, 16):  # expanded shells count as sp3
        coefficients[(whole.elements == number) & (coefficients[:, 0] == 0)] = _PARAMETERS[number, 3]
    if published:
        coefficients[(whole.elements == 7) & (whole.degree == 4)] = _AMMONIUM
    a, b, c = coefficients.T
    cation = np.where(whole.elements == 1, _HYDROGEN_CATION, a + b + c)
    charges = _shared_formal_charges(whole)
    first, second = whole.bonds.T
    able = (b[first] > 0) & (b[second] > 0)
    first, second = first[able], second[able]
    damping = 1.0
    for _ in range(_ROUNDS):
        damping /= 2
        electronegativity = a + charges * (b + charges * c)
        difference = electronegativity[second] - electronegativity[first]
        donor = np.where(difference > 0, first, second)
        flow = damping * difference / cation[donor]
        charges = charges + np.bincount(first, flow, len(whole)) - np.bincount(second, flow, len(whole))
    return charges[: len(molecule)]


_COULOMB = 14.4  # eV Å
_DIELECTRIC = 1.2


def eqeq_charges(elements: np.ndarray, positions: np.ndarray, total: float = 0.0) -> np.ndarray:
    """(N,) EQeq charges of a molecule in vacuum, which sum to `total`.

    X = (IP + EA)/2 and J = IP - EA; a = sqrt(J_i J_j)/14.4; A_ii = J_i and, for i != j,
    A_ij = (1.2 * 14.4 / 2) * [1/r + exp(-a² r²) (2a - a² r - 1/r)]; then A q - mu = -X.

    Args:
        elements: (N,) atomic numbers, hydrogens among them.
        positions: (N, 3) in Å.

    Raises:
        DataError: an element without ionization energy, or two atoms at one place.

    >>> water = np.array([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    >>> bool(abs(eqeq_charges(np.array([8, 1, 1]), water).sum()) < 1e-9)
    True
    """
    ionization, affinity = IONIZATION_ENERGY[elements], ELECTRON_AFFINITY[elements]
    unknown = np.flatnonzero(~np.isfinite(ionization) | ~np.isfinite(affinity))
    if len(unknown):
        raise DataError(
            f"EQeq has no energies for {SYMBOLS[int(elements[unknown[0]])]}",
            do="set receptor_charges to gasteiger or zero",
        )
    hardness = ionization - affinity
    steps = positions[:, None, :] - positions[None, :, :]
    r = np.sqrt(np.einsum("ijk,ijk->ij", steps, steps))
    np.fill_diagonal(r, 1.0)
    if (r < 1e-3).any():
        raise DataError("two atoms lie at one place", do="remove one of them")
    a = np.sqrt(hardness[:, None] * hardness[None, :]) / _COULOMB
    inverse = 1 / r
    matrix = np.empty((len(elements) + 1, len(elements) + 1))
    overlap = np.exp(-((a * r) ** 2)) * (2 * a - a * a * r - inverse)
    matrix[:-1, :-1] = _DIELECTRIC * _COULOMB / 2 * (inverse + overlap)
    np.fill_diagonal(matrix, np.append(hardness, 0.0))
    matrix[-1, :-1], matrix[:-1, -1] = 1.0, 1.0
    right = np.append(-(ionization + affinity) / 2, total)
    return np.asarray(np.linalg.solve(matrix, right)[:-1])


def are_formal(charges: np.ndarray) -> bool:
    """Whether charges of a file are formal ones (multiples of a half or a third), not partial ones.

    >>> are_formal(np.array([0, -0.5, -0.5])), are_formal(np.array([0.1, -0.37]))
    (True, False)
    """
    # Sulfonates and phosphates are written -0.333 or -0.667 on each oxygen.
    sixths = charges * 6
    return bool(np.abs(sixths - np.round(sixths)).max(initial=0.0) < 0.03)
