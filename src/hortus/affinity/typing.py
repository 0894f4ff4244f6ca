"""From receptor atoms to a molecular graph: who is bonded, by which order, with what charge.

Bonds go by distance (sum of covalent radii + 0.4 Å), inside residues and, between them, along the chain (C-N,
O-P), over S-S bridges and to molecules that no table knows. Metals and waters have none to others.
"""

from __future__ import annotations

import numpy as np

from hortus.affinity import residues as tables
from hortus.affinity.elements import COVALENT_RADIUS, METALS, is_among
from hortus.affinity.molecule import Molecule
from hortus.affinity.neighbors import pairs_within
from hortus.affinity.receptor import Receptor
from hortus.affinity.residues import is_known, mean_angles, parent_of

__all__ = ["receptor_bonds", "type_receptor"]

_TOLERANCE = 0.4
_LINKS = ((6, 7), (16,), (8, 15))
_VALENCE = {5: 3, 6: 4, 7: 3, 8: 2, 15: 3, 16: 2, 34: 2}


def receptor_bonds(receptor: Receptor) -> np.ndarray:
    """(M, 2) bonded atoms."""
    elements = receptor.elements
    radius = np.nan_to_num(COVALENT_RADIUS[elements], nan=1.5)
    candidates, distances = pairs_within(receptor.positions, 2 * 1.2 + _TOLERANCE)
    first, second = candidates.T
    close = distances <= radius[first] + radius[second] + _TOLERANCE
    close &= ~is_among(elements, METALS)[candidates].any(axis=1)
    # Two hydrogens of a badly placed water come close; they are never bonded.
    close &= (elements[first] > 1) | (elements[second] > 1)
    same = receptor.residues[first] == receptor.residues[second]
    known = np.array([is_known(name) for name in receptor.residue_names])
    water = np.array([name in tables.WATER for name in receptor.residue_names])
    link = np.zeros(len(first), bool)
    for pair in _LINKS:
        link |= is_among(elements, pair)[candidates].all(axis=1)
    link &= (elements[first] != elements[second]) | (elements[first] == 16)
    foreign = ~known[receptor.residues[first]] | ~known[receptor.residues[second]]
    heavy = (elements[first] > 1) & (elements[second] > 1)
    dry = ~water[receptor.residues[first]] & ~water[receptor.residues[second]]
    bonds = candidates[close & (same | ((link | foreign) & heavy & dry))]
    return _one_bond_per_hydrogen(bonds, receptor)


def _one_bond_per_hydrogen(bonds: np.ndarray, receptor: Receptor) -> np.ndarray:
    hydrogen = np.where(receptor.elements[bonds[:, 0]] == 1, bonds[:, 0], bonds[:, 1])
    light = receptor.elements[hydrogen] == 1
    lengths = np.linalg.norm(receptor.positions[bonds[:, 0]] - receptor.positions[bonds[:, 1]], axis=1)
    order = np.lexsort((lengths, hydrogen))
    repeated = np.zeros(len(bonds), bool)
    repeated[order[1:]] = hydrogen[order[1:]] == hydrogen[order[:-1]]
    return bonds[~(repeated & light)]


def type_receptor(receptor: Receptor, *, published: bool = False) -> Molecule:
    """The receptor as a molecule.

    Args:
        published: bond orders as the published features had them, without formal charges and without
            hydrogens beyond those in the file.
    """
    bonds = receptor_bonds(receptor)
    rows = _rows_by_name(receptor)
    orders, aromatic = np.ones(len(bonds)), np.zeros(len(receptor), bool)
    count = len(receptor)
    lookup = dict(zip((bonds[:, 0] * count + bonds[:, 1]).tolist(), range(len(bonds)), strict=True))
    for residue, name in enumerate(receptor.residue_names):
        atoms = rows[residue]
        for pair in tables.double_bonds(name, published=published):
            ends = sorted(atoms.get(end, -1) for end in pair)
            bond = lookup.get(ends[0] * count + ends[1]) if ends[0] >= 0 else None
            if bond is not None:
                orders[bond] = 2.0
        if not published:
            aromatic[[atoms[a] for a in tables.AROMATIC.get(parent_of(name), ()) if a in atoms]] = True
    orders[aromatic[bonds].all(axis=1)] = 1.5
    formal = np.zeros(len(receptor), np.int64)
    absent = np.zeros(len(receptor), np.int64)
    molecule = Molecule(receptor.elements, receptor.positions, bonds, orders, aromatic, formal, absent)
    if published:
        return molecule
    _type_by_geometry(molecule, receptor)
    _set_charges(molecule, receptor, rows)
    _count_absent_hydrogens(molecule, receptor)
    return molecule


def _rows_by_name(receptor: Receptor) -> list[dict[str, int]]:
    rows: list[dict[str, int]] = [{} for _ in receptor.residue_names]
    names, residues = receptor.atom_names.tolist(), receptor.residues.tolist()
    for atom, (name, residue) in enumerate(zip(names, residues, strict=True)):
        rows[residue][name] = atom
    return rows


def _type_by_geometry(molecule: Molecule, receptor: Receptor) -> None:
    """Aromatic rings and double bonds of molecules that no table knows, by the angles of their atoms.

    An atom whose bonds spread by more than 115° is sp2; a ring atom that is sp2 is taken as aromatic.
    Neighbouring sp2 atoms outside rings share a double bond, the shortest first.
    """
    unknown = np.array([not is_known(name) for name in receptor.residue_names])[receptor.residues]
    unknown &= receptor.elements > 1
    if not unknown.any():
        return
    angles = mean_angles(molecule.positions, molecule.bonds, unknown)
    flat = unknown & (angles > 115) & is_among(molecule.elements, (6, 7))
    molecule.aromatic[flat & molecule.in_ring & (molecule.degree <= 3)] = True
    both = molecule.aromatic[molecule.bonds].all(axis=1)
    molecule.orders[both & unknown[molecule.bonds].all(axis=1)] = 1.5
    terminal = unknown & (molecule.degree == 1) & is_among(molecule.elements, (7, 8, 16))
    able = (flat & ~molecule.aromatic) | terminal | (unknown & (molecule.elements == 15))
    ends = molecule.bonds
    lengths = np.linalg.norm(molecule.positions[ends[:, 0]] - molecule.positions[ends[:, 1]], axis=1)
    free = able.copy()
    for bond in np.argsort(lengths):
        first, second = ends[bond]
        carbon = {int(molecule.elements[first]), int(molecule.elements[second])} & {6, 15}
        if free[first] and free[second] and carbon and lengths[bond] < 1.55:
            molecule.orders[bond] = 2.0
            free[first] = free[second] = False


def _set_charges(molecule: Molecule, receptor: Receptor, rows: list[dict[str, int]]) -> None:
    hydrogens, formal = molecule.num_hydrogens, molecule.formal_charges
    with_hydrogens = _has_hydrogens(receptor)
    for residue, name in enumerate(receptor.residue_names):
        atom_name, charge = tables.CHARGED.get(parent_of(name), ("", 0))
        atom = rows[residue].get(atom_name, -1)
        if atom >= 0 and not with_hydrogens[residue]:
            formal[atom] = charge
    told = with_hydrogens[receptor.residues]
    plain, degree, valence = ~molecule.aromatic, molecule.degree, molecule.valence
    nitrogen, oxygen = molecule.elements == 7, molecule.elements == 8
    formal[told & nitrogen & plain & (valence == 4)] = 1
    on_acid = told & oxygen & (degree == 1) & (valence == 1) & (hydrogens == 0)
    formal[on_acid] = -1
    formal[(receptor.atom_names == "OXT") & (degree == 1) & (valence == 1)] = -1
    for number, charge in tables.METAL_CHARGES.items():
        formal[(molecule.elements == number) & (degree == 0)] = charge
    formal[is_among(molecule.elements, (17, 35, 53)) & (degree == 0)] = -1


def _has_hydrogens(receptor: Receptor) -> np.ndarray:
    result = np.zeros(len(receptor.residue_names), bool)
    result[receptor.residues[receptor.elements == 1]] = True
    return result


def _count_absent_hydrogens(molecule: Molecule, receptor: Receptor) -> None:
    """Fill valences up: carbon always, the others only where the residue has no hydrogens in the file."""
    told = _has_hydrogens(receptor)[receptor.residues]
    usual = np.array([_VALENCE.get(int(number), 0) for number in molecule.elements])
    formal = molecule.formal_charges
    # N+ and P+ bind one more, O- and S- one less; C- and C+ don't occur here.
    usual = usual + np.where(is_among(molecule.elements, (7, 8, 16)), formal, 0)
    valence = np.asarray(molecule.valence)
    # An aromatic atom with two aromatic bonds counts 3; nitrogen then needs nothing, carbon one more.
    absent = np.clip(usual - valence, 0, None).astype(np.int64)
    tertiary = molecule.aromatic & (molecule.elements == 7)
    absent[tertiary] = 0
    donors = tertiary & np.isin(receptor.atom_names, ("NE1", "NE2"))
    absent[donors & np.isin(_residue_parents(receptor), ("HIS", "TRP")) & ~told] = 1
    absent[told & (molecule.elements != 6)] = 0
    phosphorus = molecule.elements == 15
    absent[phosphorus] = 0
    molecule.hydrogens[:] = absent
    for name in ("degree", "num_hydrogens", "valence"):
        vars(molecule).pop(name, None)


def _residue_parents(receptor: Receptor) -> np.ndarray:
    return np.array([parent_of(name) for name in receptor.residue_names])[receptor.residues]
