"""Reading posed ligands: SDF and MOL (many molecules), MOL2, and SMILES with coordinates (CXSMILES).

MOL2 is parsed here, for its atom types and charges; SDF and SMILES by RDKit. All go through one repair of
valences, since PDBbind and docking programs write carboxylates with two double bonds and ammonium without a
charge, and then through RDKit's sanitisation. A molecule that fails becomes a `BadLigand` that says why.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hortus.affinity.elements import NUMBER
from hortus.affinity.molecule import Molecule
from hortus.affinity.valences import Draft, alternatives, repair
from hortus.errors import DataError
from hortus.registry import require

__all__ = ["BadLigand", "Ligand", "read_ligand", "read_ligands"]

FORMATS = "SDF (.sdf, .mol), MOL2 (.mol2) or CXSMILES with coordinates (.smi, .cxsmiles), also .gz"


@dataclass(frozen=True, eq=False)
class Ligand:
    """One posed molecule.

    Args:
        name: its title in the file, else file name and number.
        molecule: its graph; hydrogens that the file lacks are numbers.
        file_charges: (N,) partial charges of a MOL2 file, else None.
        file_aromatic: (N,) bool, atoms with an aromatic bond in a MOL2 file, else None.
        chemical: the RDKit molecule, atoms in the same order.
    """

    name: str
    molecule: Molecule
    file_charges: np.ndarray | None
    file_aromatic: np.ndarray | None
    chemical: Any

    def as_published(self) -> Molecule:
        """The molecule as the published features saw it: aromatic where the MOL2 file says so.

        Open Babel keeps a MOL2 file's aromatic bonds, those of guanidinium and carboxylate among them, and
        finds none beyond them.
        """
        if self.file_aromatic is None:
            return self.molecule
        from rdkit import Chem

        single = Chem.Mol(self.chemical)
        Chem.Kekulize(single, clearAromaticFlags=True)
        orders = np.array([bond.GetBondTypeAsDouble() for bond in single.GetBonds()])
        return replace(self.molecule, orders=orders, aromatic=self.file_aromatic)


@dataclass(frozen=True)
class BadLigand:
    """A molecule that could not be read, and why."""

    name: str
    reason: str


def read_ligand(path: str | Path) -> Ligand:
    """The only molecule of a file.

    Raises:
        DataError: as `read_ligands`; the molecule can't be read; the file holds several.
    """
    ligands = list(read_ligands(path))
    if len(ligands) > 1:
        raise DataError(
            f"{path} holds {len(ligands)} molecules where one is expected",
            do="use read_ligands, or `hortus affinity predict --ligands` for a batch",
        )
    if isinstance(ligands[0], BadLigand):
        raise DataError(f"{path}: {ligands[0].name}: {ligands[0].reason}", do="mend the molecule")
    return ligands[0]


def read_ligands(path: str | Path) -> Iterator[Ligand | BadLigand]:
    """The molecules of a file, one after another: memory does not grow with their number.

    Raises:
        DataError: no such file, a format that is not known, or no molecule in it.
        DeviceError: RDKit is not installed.
    """
    path = Path(path)
    require("rdkit", extra="affinity")
    if not path.is_file():
        raise DataError(f"{path} is not a file", allowed=FORMATS)
    suffixes = [suffix.lower() for suffix in path.suffixes]
    kind = suffixes[-2] if suffixes[-1:] == [".gz"] and len(suffixes) > 1 else "".join(suffixes[-1:])
    readers = {".sdf": _read_sdf, ".mol": _read_sdf, ".mol2": _read_mol2}
    readers |= {".smi": _read_smiles, ".cxsmiles": _read_smiles}
    if kind not in readers:
        raise DataError(f"{path}: {kind or 'no suffix'} is not a ligand format", allowed=FORMATS)
    count = 0
    for count, (name, draft) in enumerate(readers[kind](path), start=1):
        name = name or (path.name.split(".")[0] if count == 1 else f"{path.name.split('.')[0]}-{count}")
        yield _finish(name, draft)
    if not count:
        raise DataError(f"{path} holds no molecule", allowed=FORMATS, do="check the file")


def _open(path: Path) -> Any:
    return gzip.open(path, "rt", errors="replace") if path.suffix == ".gz" else path.open(errors="replace")


def _finish(name: str, draft: Draft | str) -> Ligand | BadLigand:
    if isinstance(draft, str):
        return BadLigand(name, draft)
    if not (draft.elements > 1).any():
        return BadLigand(name, "it has no heavy atoms")
    if not np.isfinite(draft.positions).all():
        return BadLigand(name, "a coordinate is no number")
    if len(draft) > 1 and np.ptp(draft.positions, axis=0).max() == 0:
        return BadLigand(name, "all atoms lie at one point: it has no pose")
    try:
        chemical = _chemical(repair(draft))
    except ValueError as error:
        return BadLigand(name, f"RDKit refuses it: {' '.join(str(error).split())}")
    chemical.SetProp("_Name", name)
    aromatic = None
    if draft.charges is not None:
        aromatic = np.zeros(len(draft), bool)
        aromatic[draft.bonds[draft.orders == 1.5]] = True
    return Ligand(name, _to_molecule(chemical, draft.positions), draft.charges, aromatic, chemical)


def _chemical(draft: Draft) -> Any:
    """The sanitised RDKit molecule of a draft, or of the first alternative that RDKit accepts."""
    from rdkit import Chem

    try:
        return _sanitized(draft)
    except Chem.KekulizeException as error:
        for other in alternatives(draft):
            try:
                return _sanitized(other)
            except ValueError:
                continue
        raise ValueError(str(error)) from error


def _sanitized(draft: Draft) -> Any:
    from rdkit import Chem, rdBase
    from rdkit.Geometry import Point3D

    bond_types = {1.0: Chem.BondType.SINGLE, 2.0: Chem.BondType.DOUBLE, 3.0: Chem.BondType.TRIPLE}
    bond_types[1.5] = Chem.BondType.AROMATIC
    editable = Chem.RWMol()
    for number, charge in zip(draft.elements.tolist(), draft.formal_charges.tolist(), strict=True):
        atom = Chem.Atom(number)
        atom.SetFormalCharge(charge)
        editable.AddAtom(atom)
    for (first, second), order in zip(draft.bonds.tolist(), draft.orders.tolist(), strict=True):
        editable.AddBond(first, second, bond_types[order])
        if order == 1.5:
            for atom in (first, second):
                editable.GetAtomWithIdx(atom).SetIsAromatic(True)
    conformer = Chem.Conformer(len(draft))
    for i, xyz in enumerate(draft.positions.tolist()):
        conformer.SetAtomPosition(i, Point3D(*xyz))
    molecule = editable.GetMol()
    molecule.AddConformer(conformer, assignId=True)
    # A nitrogen of an aromatic ring that shows its hydrogen, or where the file shows none, must not get one.
    with_hydrogens = bool((draft.elements == 1).any())
    for atom in molecule.GetAtoms():
        if with_hydrogens and atom.GetAtomicNum() in (7, 8, 16):
            atom.SetNoImplicit(True)
    with rdBase.BlockLogs():
        Chem.SanitizeMol(molecule)
    return molecule


def _to_molecule(chemical: Any, positions: np.ndarray) -> Molecule:
    atoms, bonds = list(chemical.GetAtoms()), list(chemical.GetBonds())
    ends = np.array([(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in bonds], np.int64).reshape(-1, 2)
    return Molecule(
        np.array([atom.GetAtomicNum() for atom in atoms]),
        positions,
        ends,
        np.array([bond.GetBondTypeAsDouble() for bond in bonds]),
        np.array([atom.GetIsAromatic() for atom in atoms]),
        np.array([atom.GetFormalCharge() for atom in atoms]),
        np.array([atom.GetTotalNumHs() for atom in atoms]),
    )


def _read_sdf(path: Path) -> Iterator[tuple[str, Draft | str]]:
    from rdkit import Chem, rdBase

    for block in _sdf_blocks(path):
        with rdBase.BlockLogs():
            chemical = Chem.MolFromMolBlock(block, sanitize=False, removeHs=False, strictParsing=False)
        name = block.split("\n", 1)[0].strip()
        if chemical is None or not chemical.GetNumAtoms():
            yield name, "it is no MOL block, or an empty one"
        else:
            yield name, _draft_of(chemical)


def _sdf_blocks(path: Path) -> Iterator[str]:
    lines: list[str] = []
    with _open(path) as file:
        for line in file:
            if line.startswith("$$$$"):
                yield "".join(lines)
                lines = []
            else:
                lines.append(line)
    if any(line.strip() for line in lines):
        yield "".join(lines)


def _draft_of(chemical: Any) -> Draft:
    has_pose = chemical.GetNumConformers() > 0
    positions = chemical.GetConformer().GetPositions() if has_pose else np.zeros((chemical.GetNumAtoms(), 3))
    elements, bonds, orders, formal = _to_molecule_unchecked(chemical)
    return Draft(elements, np.asarray(positions), bonds, orders, formal, None)


def _to_molecule_unchecked(chemical: Any) -> tuple[np.ndarray, ...]:
    bonds = list(chemical.GetBonds())
    orders = np.array([bond.GetBondTypeAsDouble() for bond in bonds], float)
    orders[~np.isin(orders, (1.0, 1.5, 2.0, 3.0))] = 1.0
    ends = np.array([(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in bonds], np.int64).reshape(-1, 2)
    elements = np.array([atom.GetAtomicNum() for atom in chemical.GetAtoms()])
    return elements, ends, orders, np.array([atom.GetFormalCharge() for atom in chemical.GetAtoms()])


def _read_smiles(path: Path) -> Iterator[tuple[str, Draft | str]]:
    from rdkit import Chem, rdBase

    options: Any = Chem.SmilesParserParams()
    options.removeHs = options.sanitize = False
    options.allowCXSMILES = True
    with _open(path) as file:
        for line in filter(str.strip, file):
            with rdBase.BlockLogs():
                chemical = Chem.MolFromSmiles(line.strip(), options)
            if chemical is None:
                yield "", f"{line.strip()[:40]!r} is no SMILES"
            elif not chemical.GetNumConformers():
                yield (
                    chemical.GetProp("_Name") if chemical.HasProp("_Name") else "",
                    ("the SMILES carries no coordinates; write CXSMILES: SMILES |(x,y,z;...)| name"),
                )
            else:
                yield chemical.GetProp("_Name") if chemical.HasProp("_Name") else "", _draft_of(chemical)


_MOL2_ORDERS = {"1": 1.0, "2": 2.0, "3": 3.0, "ar": 1.5, "am": 1.0, "du": 1.0, "un": 1.0}


def _read_mol2(path: Path) -> Iterator[tuple[str, Draft | str]]:
    with _open(path) as file:
        for sections in _mol2_molecules(file):
            header = sections.get("MOLECULE", [""])
            name = header[0].strip() if header else ""
            try:
                yield name, _mol2_draft(sections)
            except (ValueError, IndexError, KeyError) as error:
                yield name, f"malformed MOL2: {' '.join(str(error).split())}"


def _mol2_molecules(lines: Iterator[str]) -> Iterator[dict[str, list[str]]]:
    sections: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in lines:
        if line.startswith("@<TRIPOS>"):
            title = line.strip()[9:]
            if title == "MOLECULE" and sections:
                yield sections
                sections = {}
            current = sections.setdefault(title, [])
        elif current is not None and (line.strip() or not current) and not line.startswith("#"):
            current.append(line.rstrip("\n"))
    if sections:
        yield sections


def _mol2_draft(sections: dict[str, list[str]]) -> Draft:
    rows = [line.split() for line in sections.get("ATOM", ()) if line.strip()]
    if not rows:
        raise ValueError("it has no @<TRIPOS>ATOM section")
    index = {row[0]: i for i, row in enumerate(rows)}
    types = [row[5] for row in rows]
    elements = np.array([_mol2_element(kind, row[1]) for kind, row in zip(types, rows, strict=True)])
    positions = np.array([[float(value) for value in row[2:5]] for row in rows])
    charges = np.array([float(row[8]) for row in rows]) if all(len(row) > 8 for row in rows) else None
    bonds = [line.split() for line in sections.get("BOND", ()) if line.strip()]
    bonds = [bond for bond in bonds if bond[3].lower() != "nc"]
    ends = np.array([[index[bond[1]], index[bond[2]]] for bond in bonds], np.int64).reshape(-1, 2)
    orders = np.array([_MOL2_ORDERS[bond[3].lower()] for bond in bonds])
    real = elements > 0  # lone pairs and dummies go
    kept = real[ends].all(axis=1)
    new = np.cumsum(real) - 1
    return Draft(
        elements[real],
        positions[real],
        new[ends[kept]],
        orders[kept],
        np.zeros(int(real.sum()), np.int64),
        None if charges is None else charges[real],
    )


def _mol2_element(kind: str, name: str) -> int:
    """The atomic number of a SYBYL type; 0 for a lone pair or dummy."""
    symbol = kind.split(".")[0].upper()
    if symbol in ("LP", "DU"):
        return 0
    if symbol in NUMBER:
        return NUMBER[symbol]
    raise ValueError(f"atom {name}: the element of type {kind!r} is unknown")
