from __future__ import annotations

import contextlib
import gzip
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem

from hortus.affinity.complexes import PreparedReceptor, read_complex
from hortus.affinity.config import PreparationConfig
from hortus.affinity.features import FEATURE_NAMES
from hortus.affinity.hydrogens import add_water_hydrogens
from hortus.affinity.ligand import BadLigand, read_ligand, read_ligands
from hortus.affinity.receptor import read_receptor
from hortus.affinity.typing import type_receptor
from hortus.errors import ConfigError, DataError

ATOM = (
    "ATOM  {n:5d} {name:<4}{alt}{res:>3} {chain}{num:4d}{ins}   "
    "{x:8.3f}{y:8.3f}{z:8.3f}{occ:6.2f}  0.00          {el:>2}"
)


def line(n, name, res, num, x, y, z, *, el, alt=" ", chain="A", ins=" ", occ=1.0):
    return ATOM.format(
        n=n, name=f" {name}", res=res, num=num, x=x, y=y, z=z, el=el, alt=alt, chain=chain, ins=ins, occ=occ
    )


@pytest.fixture
def files(example):
    return example / "exa1" / "exa1_pocket.pdb", example / "exa1" / "exa1_ligand.sdf"


def write(path, *lines):
    path.write_text("\n".join([*lines, "END"]) + "\n")
    return path


def test_pdb_gz_and_mmcif_read_alike(files, tmp_path):
    import gemmi

    plain = read_receptor(files[0])
    packed = tmp_path / "p.pdb.gz"
    packed.write_bytes(gzip.compress(files[0].read_bytes()))
    structure = gemmi.read_structure(str(files[0]))
    structure.setup_entities()
    structure.make_mmcif_document().write_file(str(tmp_path / "p.cif"))
    for other in (read_receptor(packed), read_receptor(tmp_path / "p.cif")):
        assert np.allclose(other.positions, plain.positions, atol=2e-3)
        assert (other.elements == plain.elements).all() and other.residue_names == plain.residue_names


def test_alternate_locations_keep_the_fuller_one(tmp_path):
    path = write(
        tmp_path / "a.pdb",
        line(1, "CA", "SER", 1, 0, 0, 0, el="C"),
        line(2, "OG", "SER", 1, 1, 0, 0, el="O", alt="A", occ=0.3),
        line(3, "OG", "SER", 1, 2, 0, 0, el="O", alt="B", occ=0.7),
    )
    assert read_receptor(path).positions[:, 0].tolist() == [0, 2]


def test_insertion_codes_are_residues_of_their_own(tmp_path):
    path = write(
        tmp_path / "i.pdb",
        line(1, "CA", "ALA", 27, 0, 0, 0, el="C"),
        line(2, "CA", "ALA", 27, 4, 0, 0, el="C", ins="A"),
    )
    assert read_receptor(path).residue_labels == ("A/27/ALA", "A/27A/ALA")


def test_a_garbled_element_of_water_comes_from_its_name(tmp_path):
    path = write(tmp_path / "w.pdb", line(1, "O", "HOH", 1, 0, 0, 0, el="1-"))
    assert read_receptor(path).elements.tolist() == [8]


def test_missing_atoms_are_named(tmp_path):
    path = write(tmp_path / "m.pdb", line(1, "CA", "PHE", 3, 0, 0, 0, el="C"))
    assert "A/3/PHE" in read_receptor(path).warnings[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not a structure\n", "holds no atoms|neither PDB"),
        ("", "holds no atoms|neither PDB"),
        (
            line(1, "CA", "ALA", 1, 0, 0, 0, el="C").replace("   0.000", "     nan", 1) + "\n",
            "no number|neither PDB",
        ),
        (line(1, "QQ", "UNK", 1, 0, 0, 0, el="  ") + "\n", "element of atom"),
    ],
)
def test_bad_receptors_are_named(tmp_path, text, message):
    path = tmp_path / "bad.pdb"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_receptor(path)


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_give_a_structure_or_a_data_error(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("fuzz") / "x.pdb"
    path.write_bytes(content)
    with contextlib.suppress(DataError):
        read_receptor(path)


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=300), st.sampled_from([".sdf", ".mol2", ".smi"]))
def test_any_text_gives_ligands_or_a_data_error(tmp_path_factory, content, suffix):
    path = tmp_path_factory.mktemp("fuzz") / f"x{suffix}"
    path.write_text(content, encoding="utf-8", errors="replace")
    with contextlib.suppress(DataError):
        for entry in read_ligands(path):
            assert isinstance(entry, BadLigand) or len(entry.molecule)


def test_missing_file_and_unknown_format(tmp_path):
    with pytest.raises(DataError, match="is not a file"):
        read_receptor(tmp_path / "none.pdb")
    (tmp_path / "x.docx").write_text("x")
    with pytest.raises(DataError, match="not a ligand format"):
        list(read_ligands(tmp_path / "x.docx"))


MOL2 = """@<TRIPOS>MOLECULE
imine
 6 5 1 0 0
SMALL
USER_CHARGES

@<TRIPOS>ATOM
 1 C1 0.0 0.0 0.0 C.2 1 LIG 0.11
 2 O1 1.2 0.0 0.0 O.co2 1 LIG -0.41
 3 O2 -0.6 1.0 0.0 O.co2 1 LIG -0.42
 4 C2 -0.7 -1.3 0.0 C.3 1 LIG 0.02
 5 H1 -1.2 -1.4 0.9 H 1 LIG 0.05
 6 LP1 0.0 0.0 1.0 LP 1 LIG 0.0
@<TRIPOS>BOND
 1 1 2 ar
 2 1 3 ar
 3 1 4 1
 4 4 5 1
 5 1 6 1
"""


def test_mol2_types_and_charges_are_read(tmp_path):
    (tmp_path / "l.mol2").write_text(MOL2)
    ligand = read_ligand(tmp_path / "l.mol2")
    assert ligand.name == "imine" and ligand.file_charges.tolist() == [0.11, -0.41, -0.42, 0.02, 0.05]
    assert ligand.molecule.elements.tolist() == [6, 8, 8, 6, 1]
    assert ligand.molecule.formal_charges.sum() == -1
    assert ligand.as_published().aromatic.tolist() == [True, True, True, False, False]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("C.2 1", "Qx 1"), "type 'Qx' is unknown"),
        (("0.0 0.0 0.0 C.2", "zero 0.0 0.0 C.2"), "malformed MOL2"),
        (("0.0 0.0 0.0 C.2", "nan 0.0 0.0 C.2"), "no number"),
        (("@<TRIPOS>ATOM", "@<TRIPOS>ATOMS"), "no @<TRIPOS>ATOM"),
    ],
)
def test_a_bad_mol2_says_why(tmp_path, change, message):
    (tmp_path / "l.mol2").write_text(MOL2.replace(*change))
    with pytest.raises(DataError, match=message):
        read_ligand(tmp_path / "l.mol2")


def test_one_bad_pose_does_not_end_a_batch(files, tmp_path):
    good = files[1].read_text()
    unkekulisable = Chem.MolToMolBlock(Chem.MolFromSmiles("C")).replace(" C ", " Xx ")
    path = tmp_path / "many.sdf"
    path.write_text(good + "garbage\n$$$$\n" + unkekulisable + "\n$$$$\n" + good)
    entries = list(read_ligands(path))
    assert [isinstance(entry, BadLigand) for entry in entries] == [False, True, True, False]
    with pytest.raises(DataError, match="4 molecules where one"):
        read_ligand(path)


def test_kekulisation_failure_is_named(tmp_path):
    ring = Chem.MolFromSmiles("c1cccc1", sanitize=False)
    from rdkit.Chem import rdDepictor

    ring.UpdatePropertyCache(strict=False)
    Chem.FastFindRings(ring)
    rdDepictor.Compute2DCoords(ring)
    (tmp_path / "ring.sdf").write_text(Chem.MolToMolBlock(ring, kekulize=False) + "$$$$\n")
    (bad,) = read_ligands(tmp_path / "ring.sdf")
    assert isinstance(bad, BadLigand) and "kekulize" in bad.reason


def test_smiles_with_and_without_coordinates(tmp_path):
    (tmp_path / "s.smi").write_text("CO |(0,0,0;1.4,0,0.1)| posed\nCCO flat\n")
    posed, flat = read_ligands(tmp_path / "s.smi")
    assert posed.molecule.positions[1].tolist() == [1.4, 0, 0.1] and "no coordinates" in flat.reason


def test_the_pocket_holds_residues_within_the_cut(files):
    receptor, ligand = read_receptor(files[0]), read_ligand(files[1])
    prepared = PreparedReceptor(receptor, PreparationConfig(pocket_cutoff=6.0))
    one = prepared.complex_with(ligand)
    rows = one.atom_rows[one.num_ligand_atoms :]
    heavy = ligand.molecule.positions[ligand.molecule.heavy]
    gaps = np.linalg.norm(receptor.positions[:, None] - heavy[None], axis=2).min(axis=1)
    for residue in range(len(receptor.residue_names)):
        inside = (gaps[(receptor.residues == residue) & (receptor.elements > 1)] <= 6.0).any()
        assert inside == (receptor.residues[rows] == residue).any()
    assert np.abs(one.positions[: one.num_ligand_atoms].mean(axis=0)).max() < 1e-5


@pytest.mark.parametrize(("option", "column"), [("metals", "metal"), ("water", None)])
def test_water_and_metals_can_be_left_out(files, option, column):
    kept = read_complex(*files, PreparationConfig())
    less = read_complex(*files, PreparationConfig(**{option: False}))
    assert len(less) < len(kept)
    if column:
        place = FEATURE_NAMES.index(column)
        assert kept.features[:, place].sum() == 1 and less.features[:, place].sum() == 0


def test_a_distant_ligand_and_an_empty_pocket(files, tmp_path):
    ligand = Chem.MolFromMolFile(str(files[1]), removeHs=False)
    from rdkit.Geometry import Point3D

    conformer = ligand.GetConformer()
    for i, place in enumerate(conformer.GetPositions()):
        conformer.SetAtomPosition(i, Point3D(*(place + [0, 0, 40]).tolist()))
    Chem.MolToMolFile(ligand, str(tmp_path / "far.mol"))
    with pytest.raises(DataError, match="pocket of .* is empty: the nearest receptor atom is"):
        read_complex(files[0], tmp_path / "far.mol")
    far = read_complex(files[0], tmp_path / "far.mol", PreparationConfig(pocket_cutoff=50))
    assert any("is it posed" in warning for warning in far.warnings)


def test_a_copy_of_the_ligand_in_the_receptor_is_left_out(files, tmp_path):
    lines = [row for row in files[0].read_text().splitlines() if row != "END"]
    ligand = read_ligand(files[1])
    for i in np.flatnonzero(ligand.molecule.heavy):
        x, y, z = ligand.molecule.positions[i]
        lines.append(line(900 + i, "C1", "STI", 999, x, y, z, el="C").replace("ATOM  ", "HETATM"))
    both = read_complex(write(tmp_path / "both.pdb", *lines), files[1])
    assert len(both) == len(read_complex(*files)) and any("overlaps" in text for text in both.warnings)


def test_typing_of_side_chains():
    from rdkit.Chem import AllChem

    peptide = Chem.MolFromSequence("DFRHK")
    AllChem.EmbedMolecule(peptide, randomSeed=1)
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "p.pdb"
        path.write_text(Chem.MolToPDBBlock(peptide))
        receptor = read_receptor(path)
    molecule = type_receptor(receptor)
    expected = Chem.MolFromSequence("DFRHK")
    assert molecule.aromatic.sum() == sum(atom.GetIsAromatic() for atom in expected.GetAtoms())
    assert len(molecule.bonds) == expected.GetNumBonds()
    keys = list(
        itertools.starmap(
            lambda residue, atom: (receptor.residue_names[residue], str(atom)),
            zip(receptor.residues, receptor.atom_names, strict=True),
        )
    )
    charge = dict(zip(keys, molecule.formal_charges, strict=True))
    assert charge["ASP", "OD2"] == -1 and charge["LYS", "NZ"] == 1 and charge["ARG", "NH2"] == 1
    hydrogens = dict(zip(keys, molecule.num_hydrogens, strict=True))
    assert hydrogens["LYS", "NZ"] == 3 and hydrogens["PHE", "CE1"] == 1 and hydrogens["PHE", "CG"] == 0
    published = type_receptor(receptor, published=True)
    assert not published.aromatic.any() and not published.formal_charges.any()


def test_water_hydrogens_have_the_shape_of_water(files):
    receptor = add_water_hydrogens(read_receptor(files[0]))
    added = np.flatnonzero(receptor.elements == 1)
    assert len(added) == 4
    for first, second in added.reshape(-1, 2):
        oxygen = np.flatnonzero((receptor.residues == receptor.residues[first]) & (receptor.elements == 8))[0]
        arms = receptor.positions[[first, second]] - receptor.positions[oxygen]
        assert np.linalg.norm(arms, axis=1) == pytest.approx(0.9572)
        angle = np.degrees(np.arccos(arms[0] @ arms[1] / 0.9572**2))
        assert angle == pytest.approx(104.52, abs=0.01)


@pytest.mark.parametrize("charges", ["gasteiger", "eqeq", "zero"])
def test_charges_of_the_pocket(files, charges):
    one = read_complex(*files, PreparationConfig(receptor_charges=charges))
    pocket = one.features[one.num_ligand_atoms :, FEATURE_NAMES.index("partial_charge")]
    assert np.isfinite(pocket).all() and (not pocket.any()) == (charges == "zero")


def test_presets_and_ranges():
    assert PreparationConfig.preset("hacnet").receptor_charges == "eqeq"
    with pytest.raises(ConfigError, match="did you mean 'hacnet'"):
        PreparationConfig.preset("hacnett")
    with pytest.raises(ConfigError, match="pocket_cutoff"):
        PreparationConfig(pocket_cutoff=0)
