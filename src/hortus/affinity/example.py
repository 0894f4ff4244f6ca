"""Three small complexes, made up from rules: enough to run every step without any data set.

A short helix-like peptide with a zinc ion and waters stands for the pocket; benzamidine, phenol and acetate,
placed beside it, are the ligands. Labels are invented. Nothing can be learnt from them.
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
            pocket, end = _peptide(7 + number)
            _move(ligand, end)
            (place / f"{name}_pocket.pdb").write_text(pocket, encoding="ascii")
            (place / f"{name}_ligand.sdf").write_text(
                Chem.MolToMolBlock(ligand) + "\n$$$$\n", encoding="utf-8"
            )
        lines = ["name,pK", *(f"{name},{pk}" for name, (_, pk) in _LIGANDS.items())]
        (temporary / "labels.csv").write_text("\n".join(lines) + "\n", encoding="ascii")
    return folder


def _peptide(seed: int) -> tuple[str, np.ndarray]:
    """A folded peptide as PDB text with a zinc ion and two waters, and a free place 3.6 Å off its middle."""
    from rdkit import Chem
    from rdkit.Chem import rdDistGeom

    peptide = Chem.MolFromSequence(_SEQUENCE[: 8 + seed % 5])
    rdDistGeom.EmbedMolecule(peptide, randomSeed=seed, useRandomCoords=True)
    places = peptide.GetConformer().GetPositions()
    middle = places.mean(axis=0)
    random = np.random.default_rng(seed)
    free = middle
    while np.linalg.norm(places - free, axis=1).min() < 5.5:
        free = free + 0.5 * random.normal(size=3)
    lines = [line for line in Chem.MolToPDBBlock(peptide).splitlines() if line.startswith("ATOM")]
    for kind, name, element, offset in (
        ("ZN", "ZN", "ZN", 4.5),
        ("HOH", "O", "O", 5.0),
        ("HOH", "O", "O", -5.0),
    ):
        x, y, z = free + [0, 0, offset]
        number = len(lines) + 1
        lines.append(
            f"HETATM{number:5d} {name:>2}   {kind:>3} A{number:4d}    {x:8.3f}{y:8.3f}{z:8.3f}"
            f"  1.00  0.00          {element:>2}"
        )
    return "\n".join([*lines, "END"]) + "\n", free


def _move(ligand: object, center: np.ndarray) -> None:
    from rdkit.Geometry import Point3D

    conformer = ligand.GetConformer()  # type: ignore[attr-defined]
    places = conformer.GetPositions()
    for i, place in enumerate(places - places.mean(axis=0) + center):
        conformer.SetAtomPosition(i, Point3D(*map(float, place)))
