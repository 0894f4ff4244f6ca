"""HAC-Net against its published numbers, and against Open Babel where it is installed."""

from __future__ import annotations

import csv
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("rdkit")
pytest.importorskip("gemmi")

from hortus.affinity.complexes import Complex, read_complex
from hortus.affinity.config import PreparationConfig
from hortus.affinity.convolution import Head
from hortus.affinity.model import HACNet
from hortus.affinity.published import HEAD_NAMES, from_published, read_checkpoint
from hortus.errors import ArtifactError


@pytest.fixture(scope="module")
def weights(real_data: Path) -> Path:
    folder = real_data / "affinity" / "hacnet_weights"
    if not folder.is_dir():
        pytest.skip("no published weights there")
    return folder


@pytest.fixture(scope="module")
def published(weights: Path) -> HACNet:
    return HACNet.from_published([weights / "GCN0_parameters.pt", weights / "GCN1_parameters.pt"])


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_graph_networks_give_the_published_numbers(weights, published):
    features = np.load(weights / "gcn_parity_features.npz")
    rows = rows_of(weights / "gcn_parity_features_outputs.csv")
    assert len(rows) == 10
    complexes = []
    for row in rows:
        x = features[f"{row['pdbid']}_x"].astype("f4")
        xyz = features[f"{row['pdbid']}_xyz"].astype("f4")
        complexes.append(Complex(row["pdbid"], xyz, x[:, 1:], x[:, 0], int(row["n_ligand_heavy"])))
    parts = published.predict_parts(complexes)
    for part in ("gcn0", "gcn1"):
        assert parts[part] == pytest.approx([float(row[part]) for row in rows], abs=1e-3)


def test_the_head_gives_the_published_numbers(weights):
    head = Head(2048, 100).double().eval()
    tensors = from_published(read_checkpoint(weights / "MLP_parameters.pt"), HEAD_NAMES, "MLP")
    head.load_state_dict({name: t.double() if t.is_floating_point() else t for name, t in tensors.items()})
    r, c = np.meshgrid(np.arange(3), np.arange(2048), indexing="ij")
    x = torch.from_numpy(((r * 2048 + c) * 2654435761 % 1000) / 1000)
    rows = rows_of(weights / "mlp_parity.csv")
    with torch.no_grad():
        assert head(x).numpy() == pytest.approx([float(row["with_batchnorm"]) for row in rows], rel=1e-6)
        skipped = [head(x[i : i + 1], compat_single=True).item() for i in range(3)]
    assert skipped == pytest.approx([float(row["batchnorm_skipped"]) for row in rows], rel=1e-6)


def test_a_file_that_is_no_checkpoint_is_named(weights, tmp_path):
    (tmp_path / "x.pt").write_bytes(b"junk")
    with pytest.raises(ArtifactError, match="plain tensors"):
        read_checkpoint(tmp_path / "x.pt")
    with pytest.raises(ArtifactError, match="not the published network"):
        HACNet.from_published([weights / "MLP_parameters.pt"])


def test_raw_files_come_near_the_stored_predictions(weights, published, real_data, tmp_path):
    """Metal-free core complexes through the compat preparation: within 1 pK of what the authors stored."""
    stored = {row["pdbid"]: row for row in rows_of(weights / "gcn_core2016_published_predictions.csv")}
    names = ["1a30", "1bcu", "2qbp", "3gnw", "1bzc"]
    with tarfile.open(real_data / "affinity" / "core2016_pocket_ligand.tar.gz") as archive:
        wanted = [m for m in archive.getmembers() if m.isfile() and m.name.split("/")[1] in names]
        archive.extractall(tmp_path, members=wanted, filter="data")
    config = PreparationConfig.preset("hacnet")
    complexes = [
        read_complex(
            tmp_path / "core2016" / n / f"{n}_pocket.pdb",
            tmp_path / "core2016" / n / f"{n}_ligand.mol2",
            config,
        )
        for n in names
    ]
    expected = [(float(stored[n]["gcn0_pred"]) + float(stored[n]["gcn1_pred"])) / 2 for n in names]
    difference = np.abs(published.predict(complexes) - expected)
    assert difference.max() < 1.0 and np.median(difference) < 0.5


PATTERNS = (
    "[#6+0!$(*~[#7,#8,F]),SH0+0v2,s+0,S^3,Cl+0,Br+0,I+0]",
    "[a]",
    "[!$([#1,#6,F,Cl,Br,I,o,s,nX3,#7v5,#15v5,#16v4,#16v6,*+1,*+2,*+3])]",
    "[!$([#6,H0,-,-2,-3]),$([!H0;#7,#8,#9])]",
    "[r]",
)


def open_babel_rows(pybel, molecule, code: int = 0) -> np.ndarray:
    """(N, 19): the published features of every atom, hydrogens among them, as Open Babel gives them."""
    from hortus.affinity.features import _CLASS_OF

    rows = np.zeros((len(molecule.atoms), 19))
    for i, atom in enumerate(molecule.atoms):
        inner = atom.OBAtom
        if _CLASS_OF[atom.atomicnum] >= 0:
            rows[i, _CLASS_OF[atom.atomicnum]] = 1
        rows[i, 9:12] = inner.GetHyb(), inner.GetHvyDegree(), inner.GetHeteroDegree()
        rows[i, 12:14] = atom.partialcharge, code
    for column, pattern in enumerate(PATTERNS, start=14):
        rows[[match[0] - 1 for match in pybel.Smarts(pattern).findall(molecule)], column] = 1
    return rows


@pytest.mark.slow
def test_graph_networks_give_all_published_numbers(weights, published, real_data, tmp_path):
    """285 core complexes, features made by Open Babel from the raw files as the parity file's were."""
    pybel = pytest.importorskip("openbabel.pybel")
    from openbabel import openbabel

    from hortus.affinity.elements import VAN_DER_WAALS_RADIUS

    openbabel.obErrorLog.SetOutputLevel(0)
    with tarfile.open(real_data / "affinity" / "core2016_pocket_ligand.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    rows = rows_of(weights / "gcn_parity.csv")
    assert len(rows) == 285
    for row in rows:
        name, parts = row["pdbid"], []
        for kind, suffix, code in (("ligand", "mol2", 1), ("pocket", "pdb", -1)):
            path = tmp_path / "core2016" / name / f"{name}_{kind}.{suffix}"
            molecule = next(pybel.readfile(suffix, str(path)))
            numbers = np.array([atom.atomicnum for atom in molecule.atoms])
            places = np.array([atom.coords for atom in molecule.atoms], "f4")
            columns = [places, VAN_DER_WAALS_RADIUS[numbers], open_babel_rows(pybel, molecule, code)]
            parts.append(np.column_stack(columns).astype("f4")[numbers > 1])
        x = np.concatenate(parts)
        x[:, :3] -= parts[0][:, :3].mean(axis=0)
        one = Complex(name, x[:, :3], x[:, 4:], x[:, 3], len(parts[0]))
        for part, values in published.predict_parts([one]).items():
            assert values[0] == pytest.approx(float(row[part]), abs=1e-3), name


def test_pocket_features_equal_open_babel(real_data, tmp_path):
    """Every feature but the charge of every pocket atom, through the mol2 text of the published path."""
    pybel = pytest.importorskip("openbabel.pybel")
    from openbabel import openbabel

    from hortus.affinity.complexes import PreparedReceptor
    from hortus.affinity.elements import SYMBOLS
    from hortus.affinity.features import atom_features
    from hortus.affinity.receptor import read_receptor

    openbabel.obErrorLog.SetOutputLevel(0)
    with tarfile.open(real_data / "affinity" / "core2016_pocket_ligand.tar.gz") as archive:
        archive.extract("core2016/3gnw/3gnw_pocket.pdb", tmp_path, filter="data")
    config = PreparationConfig(receptor_charges="zero", typing="hacnet")
    receptor = read_receptor(tmp_path / "core2016/3gnw/3gnw_pocket.pdb")
    molecule, _ = PreparedReceptor(receptor, config)._typed_pocket(np.ones(len(receptor), bool))
    atoms = [
        f"{i + 1} X {x:.4f} {y:.4f} {z:.4f} {SYMBOLS[element]} 1 RES 0.1"
        for i, (element, (x, y, z)) in enumerate(zip(molecule.elements, molecule.positions, strict=True))
    ]
    bonds = [
        f"{k + 1} {a + 1} {b + 1} {int(order)}"
        for k, ((a, b), order) in enumerate(zip(molecule.bonds, molecule.orders, strict=True))
    ]
    head = f"@<TRIPOS>MOLECULE\nx\n{len(atoms)} {len(bonds)} 1 0 0\nSMALL\nUSER_CHARGES\n@<TRIPOS>ATOM"
    text = "\n".join([head, *atoms, "@<TRIPOS>BOND", *bonds]) + "\n"
    peer = pybel.readstring("mol2", text)
    expected = open_babel_rows(pybel, peer)[:, [9, 10, 11, 14, 15, 16, 17, 18]]
    found = atom_features(molecule, ligand=False)[:, [9, 10, 11, 14, 15, 16, 17, 18]]
    assert (found == expected[molecule.heavy].astype("f4")).all()


def test_published_splits_are_read(real_data):
    from hortus.affinity.splits import read_split

    path = real_data / "affinity" / "labels" / "hacnet_splits.json.gz"
    sizes = {side: len(names) for side, names in read_split(path, "core2016").items()}
    assert sizes == {"train": 18_818, "val": 300, "test": 290}
    gems = read_split(real_data / "affinity" / "labels" / "gems_cleansplit.json.gz")
    assert len(gems["train"]) == 16_908 and json.dumps(gems["casf2016_indep"])
