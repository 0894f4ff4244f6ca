"""Bond orders and charges of receptor atoms: by residue name where it is known, by geometry elsewhere.

Two tables. The chemical one is the default. The other repeats what the published features were made from: a
MOL2 file whose aromatic bonds had become single, whose carboxylates and guanidinium groups had only double
bonds, and which carried no formal charge. It is chemically wrong and only of use with the published weights.
"""

from __future__ import annotations

import numpy as np

__all__ = [
    "AROMATIC",
    "CHARGED",
    "DOUBLE_BONDS",
    "HEAVY_ATOMS",
    "METAL_CHARGES",
    "PUBLISHED_DOUBLE_BONDS",
    "WATER",
]

WATER = frozenset({"HOH", "WAT", "DOD", "H2O", "SOL", "TIP", "TIP3", "OH2"})

# Names of protonation variants in common force fields, and of two modified residues, as their parent.
_PARENT = {"HID": "HIS", "HIE": "HIS", "HIP": "HIS", "HSD": "HIS", "HSE": "HIS", "HSP": "HIS"}
_PARENT |= {"CYX": "CYS", "CYM": "CYS", "ASH": "ASP", "GLH": "GLU", "LYN": "LYS", "MSE": "MET"}

_BACKBONE = [("C", "O")]
DOUBLE_BONDS: dict[str, list[tuple[str, str]]] = {
    "ASP": [("CG", "OD1")],
    "GLU": [("CD", "OE1")],
    "ASN": [("CG", "OD1")],
    "GLN": [("CD", "OE1")],
    "ARG": [("CZ", "NH2")],
}
PUBLISHED_DOUBLE_BONDS: dict[str, list[tuple[str, str]]] = {
    "ASP": [("CG", "OD1"), ("CG", "OD2")],
    "GLU": [("CD", "OE1"), ("CD", "OE2")],
    "ASN": [("CG", "OD1")],
    "GLN": [("CD", "OE1")],
    "ARG": [("CZ", "NE"), ("CZ", "NH1"), ("CZ", "NH2")],
}
_SIX_RING = ("CG", "CD1", "CD2", "CE1", "CE2", "CZ")
AROMATIC: dict[str, tuple[str, ...]] = {
    "PHE": _SIX_RING,
    "TYR": _SIX_RING,
    "TRP": ("CG", "CD1", "CD2", "NE1", "CE2", "CE3", "CZ2", "CZ3", "CH2"),
    "HIS": ("CG", "ND1", "CD2", "CE1", "NE2"),
}
_PURINE = ("N9", "C8", "N7", "C5", "C6", "N1", "C2", "N3", "C4")
_PYRIMIDINE = ("N1", "C2", "N3", "C4", "C5", "C6")
for _name in ("A", "G", "I", "DA", "DG", "DI"):
    AROMATIC[_name] = _PURINE
for _name in ("C", "U", "T", "DC", "DU", "DT"):
    AROMATIC[_name] = _PYRIMIDINE
for _name in AROMATIC:
    if len(_name) < 3:
        DOUBLE_BONDS[_name] = [("P", "OP1"), ("P", "O1P"), ("C2", "O2"), ("C4", "O4")]
for _name in ("G", "I", "DG", "DI"):
    DOUBLE_BONDS[_name] = [("P", "OP1"), ("P", "O1P"), ("C6", "O6")]

# At pH 7, where a file without hydrogens can't tell.
CHARGED = {"LYS": ("NZ", 1), "ARG": ("NH2", 1), "ASP": ("OD2", -1), "GLU": ("OE2", -1)}

# The usual ion of a metal that stands alone.
METAL_CHARGES = {3: 1, 11: 1, 19: 1, 37: 1, 55: 1, 12: 2, 20: 2, 38: 2, 56: 2, 25: 2, 26: 2, 27: 2, 28: 2}
METAL_CHARGES |= {29: 2, 30: 2, 48: 2, 80: 2, 13: 3}

# Heavy atoms of the standard residues.
HEAVY_ATOMS = {"ALA": 5, "ARG": 11, "ASN": 8, "ASP": 8, "CYS": 6, "GLN": 9, "GLU": 9, "GLY": 4, "HIS": 10}
HEAVY_ATOMS |= {"ILE": 8, "LEU": 8, "LYS": 9, "MET": 8, "PHE": 11, "PRO": 7, "SER": 6, "THR": 7}
HEAVY_ATOMS |= {"TRP": 14, "TYR": 12, "VAL": 7}


def parent_of(name: str) -> str:
    """The residue whose tables serve for `name`.

    >>> parent_of("HIE"), parent_of("ALA")
    ('HIS', 'ALA')
    """
    return _PARENT.get(name, name)


def is_known(name: str) -> bool:
    """Whether bond orders come from a table rather than from geometry."""
    return parent_of(name) in HEAVY_ATOMS or name in AROMATIC or name in WATER


def double_bonds(name: str, *, published: bool) -> list[tuple[str, str]]:
    """Pairs of atom names joined by a double bond, the backbone's carbonyl among them."""
    table = PUBLISHED_DOUBLE_BONDS if published else DOUBLE_BONDS
    terminal = [("C", "OXT")] if published else []
    return [*_BACKBONE, *terminal, *table.get(parent_of(name), ())]


def mean_angles(positions: np.ndarray, bonds: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """(N,) mean angle in degrees between the bonds of each wanted atom; NaN elsewhere and at chain ends."""
    neighbors: dict[int, list[int]] = {int(atom): [] for atom in np.flatnonzero(wanted)}
    for first, second in bonds[wanted[bonds].any(axis=1)].tolist():
        for here, there in ((first, second), (second, first)):
            if here in neighbors:
                neighbors[here].append(there)
    result = np.full(len(wanted), np.nan)
    for atom, others in neighbors.items():
        if len(others) < 2:
            continue
        arms = positions[others] - positions[atom]
        arms /= np.maximum(np.linalg.norm(arms, axis=1, keepdims=True), 1e-9)
        cosines = (arms @ arms.T)[np.triu_indices(len(others), 1)]
        result[atom] = np.degrees(np.arccos(np.clip(cosines, -1, 1))).mean()
    return result
