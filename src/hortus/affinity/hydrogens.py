"""Hydrogens with places, for what needs them: EQeq and the cut by polar hydrogens.

Those of the protein and of molecules are placed by RDKit from bond lengths and angles; those of water toward
the nearest atoms that can accept them, so that the same file always gives the same hydrogens.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from hortus.affinity.elements import is_among
from hortus.affinity.molecule import Molecule
from hortus.affinity.receptor import Receptor
from hortus.affinity.residues import WATER
from hortus.registry import require

__all__ = ["add_molecule_hydrogens", "add_water_hydrogens"]

_BOND = 0.9572  # Å, of water in the gas
_HALF_ANGLE = np.radians(104.52 / 2)
_ACCEPTORS = (7, 8, 9, 16)


def add_water_hydrogens(receptor: Receptor) -> Receptor:
    """The receptor with two hydrogens on every water that has none, after the other atoms."""
    rows = [i for i, name in enumerate(receptor.residue_names) if name in WATER]
    has = set(receptor.residues[receptor.elements == 1].tolist())
    oxygens = np.flatnonzero(np.isin(receptor.residues, rows) & (receptor.elements == 8))
    oxygens = np.array([o for o in oxygens if receptor.residues[o] not in has], np.int64)
    if not len(oxygens):
        return receptor
    acceptors = np.flatnonzero(is_among(receptor.elements, _ACCEPTORS))
    places = np.concatenate(
        [_place(receptor.positions, receptor.elements, int(oxygen), acceptors) for oxygen in oxygens]
    )
    owners = np.repeat(oxygens, 2)
    return replace(
        receptor,
        elements=np.concatenate([receptor.elements, np.ones(len(owners), np.int64)]),
        positions=np.concatenate([receptor.positions, places]),
        atom_names=np.concatenate([receptor.atom_names, np.tile(["H1", "H2"], len(oxygens))]),
        residues=np.concatenate([receptor.residues, receptor.residues[owners]]),
    )


def _place(positions: np.ndarray, elements: np.ndarray, oxygen: int, acceptors: np.ndarray) -> np.ndarray:
    """(2, 3): one hydrogen toward the nearest acceptor, the other as near the second as the angle lets."""
    center = positions[oxygen]
    steps = positions[acceptors] - center
    lengths = np.linalg.norm(steps, axis=1)
    order = [i for i in np.argsort(lengths, kind="stable") if lengths[i] > 0.5][:2]
    arms = [steps[i] / lengths[i] for i in order] or [np.array([1.0, 0, 0])]
    first = arms[0]
    second = arms[1] if len(arms) > 1 else np.array([0.0, 1.0, 0])
    across = second - (second @ first) * first
    if np.linalg.norm(across) < 1e-6:
        across = np.cross(first, [1.0, 0, 0] if abs(first[0]) < 0.9 else [0, 1.0, 0])
    across /= np.linalg.norm(across)
    other = np.cos(2 * _HALF_ANGLE) * first + np.sin(2 * _HALF_ANGLE) * across
    return center + _BOND * np.stack([first, other])


def add_molecule_hydrogens(molecule: Molecule) -> Molecule:
    """The molecule with its counted hydrogens as placed atoms, after the others.

    Raises:
        DeviceError: RDKit is not installed.
    """
    if not molecule.hydrogens.any():
        return molecule
    chem = require("rdkit.Chem", extra="affinity")
    full = chem.AddHs(_unsanitized(molecule), addCoords=True, explicitOnly=True)
    return molecule.with_hydrogens(np.asarray(full.GetConformer().GetPositions())[len(molecule) :])


def _unsanitized(molecule: Molecule) -> Any:
    """An RDKit molecule with hybridisation and hydrogen counts set by hand: enough to place hydrogens."""
    from rdkit import Chem
    from rdkit.Geometry import Point3D

    from hortus.affinity.features import hybridization

    kinds = {1: Chem.HybridizationType.SP, 2: Chem.HybridizationType.SP2}
    editable = Chem.RWMol()
    for number, count, hybrid in zip(
        molecule.elements.tolist(), molecule.hydrogens.tolist(), hybridization(molecule).tolist(), strict=True
    ):
        atom = Chem.Atom(number)
        atom.SetNoImplicit(True)
        atom.SetNumExplicitHs(count)
        atom.SetHybridization(kinds.get(hybrid, Chem.HybridizationType.SP3))
        editable.AddAtom(atom)
    for first, second in molecule.bonds.tolist():
        editable.AddBond(first, second, Chem.BondType.SINGLE)
    conformer = Chem.Conformer(len(molecule))
    for i, place in enumerate(molecule.positions.tolist()):
        conformer.SetAtomPosition(i, Point3D(*place))
    chemical = editable.GetMol()
    chemical.AddConformer(conformer, assignId=True)
    chemical.UpdatePropertyCache(strict=False)
    return chemical
