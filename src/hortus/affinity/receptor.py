"""Reading proteins and pockets from PDB and mmCIF, plain or gzipped, with gemmi.

N atoms, R residues
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hortus.affinity.elements import METALS, NUMBER, SYMBOLS, is_among
from hortus.affinity.residues import HEAVY_ATOMS, WATER, parent_of
from hortus.errors import DataError
from hortus.registry import require

__all__ = ["Receptor", "read_receptor"]


@dataclass(frozen=True, eq=False)
class Receptor:
    """Atoms of a protein or pocket, with the residues that they belong to.

    Args:
        name: where it came from.
        elements: (N,) atomic numbers.
        positions: (N, 3) in Å.
        atom_names: (N,) as in the file.
        residues: (N,) index of each atom's residue.
        residue_names: (R,).
        residue_labels: (R,) chain, number with insertion letter, name: "A/227A/VAL".
        warnings: what was left out or looks wrong.
    """

    name: str
    elements: np.ndarray
    positions: np.ndarray
    atom_names: np.ndarray
    residues: np.ndarray
    residue_names: tuple[str, ...]
    residue_labels: tuple[str, ...]
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.elements)

    @property
    def residue_kinds(self) -> np.ndarray:
        """(R,) "polymer", "water", "metal" or "other"."""
        single = np.bincount(self.residues, minlength=len(self.residue_names)) == 1
        metal = np.zeros(len(self.residue_names), bool)
        metal[self.residues[is_among(self.elements, METALS)]] = True
        backbone = np.zeros((len(self.residue_names), 2), bool)
        for column, name in enumerate(("CA", "C")):
            backbone[self.residues[self.atom_names == name], column] = True
        kinds = []
        for row, name in enumerate(self.residue_names):
            if name in WATER:
                kinds.append("water")
            elif metal[row] and single[row]:
                kinds.append("metal")
            elif parent_of(name) in HEAVY_ATOMS or len(name) <= 2 or backbone[row].all():
                kinds.append("polymer")
            else:
                kinds.append("other")
        return np.array(kinds)

    def subset(self, keep: np.ndarray, warnings: Sequence[str] = ()) -> Receptor:
        """The atoms where `keep` (N,) is true."""
        used, residues = np.unique(self.residues[keep], return_inverse=True)
        return Receptor(
            self.name,
            self.elements[keep],
            self.positions[keep],
            self.atom_names[keep],
            residues,
            tuple(self.residue_names[i] for i in used),
            tuple(self.residue_labels[i] for i in used),
            (*self.warnings, *warnings),
        )


def read_receptor(path: str | Path) -> Receptor:
    """Read the first model of a PDB or mmCIF file (also .gz).

    Of alternate locations the one with the highest occupancy in its residue is kept. An element that the file
    lacks or garbles is taken from the atom's name.

    Raises:
        DataError: no such file, neither PDB nor mmCIF, no atoms, an unknown element, a coordinate that is not
            finite.
        DeviceError: gemmi is not installed.
    """
    path = Path(path)
    gemmi = require("gemmi", extra="affinity")
    if not path.is_file():
        raise DataError(f"{path} is not a file", allowed="a PDB or mmCIF file, plain or .gz")
    try:
        structure = gemmi.read_structure(str(path), merge_chain_parts=False)
    except (RuntimeError, ValueError, IndexError, OSError, UnicodeDecodeError) as error:
        raise _not_a_structure(path, str(error)) from error
    if not len(structure) or not structure[0].count_atom_sites():
        raise _not_a_structure(path, "it holds no atoms")
    while len(structure) > 1:
        del structure[1]
    return _from_flat(path, gemmi.FlatStructure(structure))


def _not_a_structure(path: Path, why: str) -> DataError:
    return DataError(
        f"{path} is neither PDB nor mmCIF: {' '.join(why.split())}",
        allowed="files named .pdb, .ent, .cif, .mmcif, also .gz",
        do="check the file",
    )


def _words(rows: np.ndarray) -> np.ndarray:
    """Text of (N, width) zero-padded bytes."""
    rows = np.ascontiguousarray(rows)
    return rows.view(f"S{rows.shape[1]}").ravel().astype(str)


def _from_flat(path: Path, flat: object) -> Receptor:
    names, residue_names = _words(flat.atom_names), _words(flat.residue_names)  # type: ignore[attr-defined]
    chains, numbers = _words(flat.chain_ids), np.array(flat.resnums)  # type: ignore[attr-defined]
    letters = np.array(flat.icodes).astype(np.uint8)  # type: ignore[attr-defined]
    positions = np.array(flat.pos, dtype=np.float64)  # type: ignore[attr-defined]
    changes = np.zeros(len(names), bool)
    for column in (residue_names, chains, numbers, letters):
        changes[1:] |= column[1:] != column[:-1]
    residues = np.cumsum(changes)
    first = np.flatnonzero(np.concatenate([[True], changes[1:]]))
    labels = tuple(
        f"{chains[i] or '-'}/{numbers[i]}{chr(letters[i]).strip()}/{residue_names[i]}" for i in first
    )
    bad = np.flatnonzero(~np.isfinite(positions).all(axis=1))
    if len(bad):
        raise DataError(
            f"{path}: atom {names[bad[0]]} of {labels[residues[bad[0]]]} has a coordinate that is no number",
            do="mend or remove the line",
        )
    water = np.array([residue_names[i] in WATER for i in first])[residues]
    elements = np.array(flat.elements).astype(np.int64)  # type: ignore[attr-defined]
    # Water lines of some pocket files have a garbled element column.
    for i in np.flatnonzero((elements == 0) | (elements > 103) | water):
        elements[i] = _element_of(str(names[i]), bool(water[i]), path, labels[residues[i]])
    receptor = Receptor(path.name, elements, positions, names, residues, tuple(residue_names[first]), labels)
    occupancy, locations = np.array(flat.occ), np.array(flat.altlocs)  # type: ignore[attr-defined]
    keep = _keep_one_location(residues, locations, occupancy) & ~_repeats(positions, elements)
    missing = _missing_atoms(receptor.subset(keep))
    return receptor.subset(keep, missing)


def _element_of(name: str, water: bool, path: Path, label: str) -> int:
    letters = "".join(c for c in name if c.isalpha()).upper()
    if water and letters[:1] in ("O", "H", "D"):
        return NUMBER[letters[0]]
    for symbol in (letters[:2], letters[:1]):
        if symbol in NUMBER:
            return NUMBER[symbol]
    raise DataError(
        f"{path}: the element of atom {name!r} in {label} is unknown",
        allowed=f"{SYMBOLS[1]} to {SYMBOLS[103]}",
        do="write it in columns 77-78",
    )


def _keep_one_location(residues: np.ndarray, locations: np.ndarray, occupancy: np.ndarray) -> np.ndarray:
    keep = np.ones(len(residues), bool)
    for residue in np.unique(residues[locations != 0]):
        rows = np.flatnonzero(residues == residue)
        letters = [letter for letter in np.unique(locations[rows]) if letter]
        weights = [occupancy[rows][locations[rows] == letter].sum() for letter in letters]
        best = letters[int(np.argmax(weights))]
        keep[rows] = (locations[rows] == 0) | (locations[rows] == best)
    return keep


def _repeats(positions: np.ndarray, elements: np.ndarray) -> np.ndarray:
    """(N,) bool: atoms at the place of an earlier atom of the same element."""
    rows = np.column_stack([np.round(positions, 3), elements])
    _, first = np.unique(rows, axis=0, return_index=True)
    repeated = np.ones(len(rows), bool)
    repeated[first] = False
    return repeated


def _missing_atoms(receptor: Receptor) -> list[str]:
    heavy = np.bincount(receptor.residues[receptor.elements > 1], minlength=len(receptor.residue_names))
    incomplete = [
        label
        for label, name, count in zip(receptor.residue_labels, receptor.residue_names, heavy, strict=True)
        if count < HEAVY_ATOMS.get(parent_of(name), 0)
    ]
    if not incomplete:
        return []
    more = f" and {len(incomplete) - 5} more" if len(incomplete) > 5 else ""
    return [f"heavy atoms are missing in {', '.join(incomplete[:5])}{more}"]
