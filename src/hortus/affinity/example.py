"""Three small complexes, made up from rules: enough to run every step without any data set.

Amino acids on a sphere, with a zinc ion and two waters, stand for the pocket; benzamidine, phenol and
acetate in its middle are the ligands. Labels are invented. Nothing can be learnt from them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hortus.artifact import replacing_folder

__all__ = ["write_example"]

_LIGANDS = {"exa1": ("NC(=[NH2+])c1ccccc1", 4.7), "exa2": ("Oc1ccccc1", 3.4), "exa3": ("CC(=O)[O-]", 2.2)}
_SEQUENCE = "GASVDKEFWHRYTNQ"


def write_example(folder: str | Path) -> Path:
    """Write ID/ID_pocket.pdb, ID/ID_ligand.sdf and labels.csv; returns the folder.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as place:
    ...     sorted(path.name for path in write_example(Path(place) / "example").iterdir())
    ['exa1', 'exa2', 'exa3', 'labels.csv']
    """
    from rdkit import Chem
    from rdkit.Chem import rdDistGeom

    folder = Path(folder)
    with replacing_folder(folder) as temporary:
        for number, (name, (smiles, _)) in enumerate(_LIGANDS.items()):
            place = temporary / name
            place.mkdir()
            ligand = Chem.AddHs(Chem.MolFromSmiles(smiles))
            rdDistGeom.EmbedMolecule(ligand, randomSeed=7)
            ligand.SetProp("_Name", name)
            _move(ligand, np.zeros(3))
            (place / f"{name}_pocket.pdb").write_text(_pocket(number), encoding="ascii")
            (place / f"{name}_ligand.sdf").write_text(
                Chem.MolToMolBlock(ligand) + "\n$$$$\n", encoding="utf-8"
            )
        lines = ["name,pK", *(f"{name},{pk}" for name, (_, pk) in _LIGANDS.items())]
        (temporary / "labels.csv").write_text("\n".join(lines) + "\n", encoding="ascii")
    return folder


def _pocket(number: int) -> str:
    """Amino acids, a zinc ion and two waters around the origin, as PDB text."""
    sequence = _SEQUENCE[number : number + 10]
    places = _directions(len(sequence) + 3)
    lines: list[str] = []
    for row, letter in enumerate(sequence, start=1):
        lines += _residue(letter, row, 8.0 * places[row - 1], len(lines))
    for name, element, place in zip(
        ("ZN", "O", "O"), ("ZN", "O", "O"), 4.6 * places[len(sequence) :], strict=True
    ):
        kind = "ZN" if name == "ZN" else "HOH"
        lines.append(_line("HETATM", len(lines) + 1, name, kind, 100 + len(lines), place, element))
    return "\n".join([*lines, "END"]) + "\n"


def _directions(count: int) -> np.ndarray:
    """(count, 3): unit vectors spread evenly over a sphere (a golden spiral)."""
    steps = np.arange(count) + 0.5
    height, turn = 1 - 2 * steps / count, np.pi * (1 + 5**0.5) * steps
    ring = np.sqrt(1 - height**2)
    return np.column_stack([ring * np.cos(turn), ring * np.sin(turn), height])


def _residue(letter: str, number: int, center: np.ndarray, before: int) -> list[str]:
    from rdkit import Chem, rdBase
    from rdkit.Chem import rdDistGeom

    residue = Chem.MolFromSequence(letter)
    with rdBase.BlockLogs():
        rdDistGeom.EmbedMolecule(residue, randomSeed=11)
    places = residue.GetConformer().GetPositions()
    places += center - places.mean(axis=0)
    lines: list[str] = []
    for atom, place in zip(residue.GetAtoms(), places, strict=True):
        info = atom.GetPDBResidueInfo()
        if info.GetName().strip() != "OXT":  # a chain that goes on has none
            name, kind = info.GetName().strip(), info.GetResidueName()
            row = before + len(lines) + 1
            lines.append(_line("ATOM", row, name, kind, number, place, atom.GetSymbol().upper()))
    return lines


def _line(
    record: str, row: int, name: str, residue: str, number: int, place: np.ndarray, element: str
) -> str:
    x, y, z = place
    shown = name if len(element) == 2 else f" {name}"
    return (
        f"{record:<6}{row:5d} {shown:<4} {residue:>3} A{number:4d}    "
        f"{x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00          {element:>2}"
    )


def _move(ligand: object, center: np.ndarray) -> None:
    from rdkit.Geometry import Point3D

    conformer = ligand.GetConformer()  # type: ignore[attr-defined]
    places = conformer.GetPositions()
    for i, place in enumerate(places - places.mean(axis=0) + center):
        conformer.SetAtomPosition(i, Point3D(*map(float, place)))
