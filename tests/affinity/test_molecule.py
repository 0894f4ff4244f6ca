from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem
from rdkit.Chem import AllChem

from hortus.affinity.charges import are_formal, eqeq_charges, gasteiger_charges
from hortus.affinity.elements import ELECTRON_AFFINITY, IONIZATION_ENERGY, VAN_DER_WAALS_RADIUS
from hortus.affinity.features import FEATURE_NAMES, atom_features, van_der_waals_radii
from hortus.affinity.ligand import _to_molecule
from hortus.affinity.neighbors import atoms_in_rings, neighbor_table, pairs_within, smallest_distances
from hortus.affinity.valences import Draft, repair
from hortus.errors import DataError

SMILES = [
    "CC(=O)Nc1ccc(O)cc1",
    "C[N+](C)(C)CC([O-])=O",
    "NC(=[NH2+])c1ccc(CS(=O)(=O)N2CCCC2)cc1",
    "O=c1cc[nH]c(=O)[nH]1",
    "FC(F)(F)c1nc2ccccc2s1",
    "C#CCOP(=O)([O-])[O-]",
    "N#Cc1ccoc1Cl",
    "CSCC[C@H]([NH3+])C(=O)[O-]",
    "Brc1ccc(I)cc1B(O)O",
    "O=[N+]([O-])c1cnn(C)c1",
]
PATTERNS = {
    "aromatic": "[a]",
    "acceptor": "[!$([#1,#6,F,Cl,Br,I,o,s,nX3,#7v5,#15v5,#16v4,#16v6,*+1,*+2,*+3])]",
    "donor": "[!$([#6,H0,-,-2,-3]),$([!H0;#7,#8,#9])]",
    "ring": "[r]",
    "hydrophobic": "[#6+0!$(*~[#7,#8,F]),SH0+0v2,s+0,S^3,Cl+0,Br+0,I+0]",
}


def built(smiles: str, *, hydrogens: bool) -> tuple[Chem.Mol, object]:
    chemical = Chem.MolFromSmiles(smiles)
    if hydrogens:
        chemical = Chem.AddHs(chemical)
    return chemical, _to_molecule(chemical, np.zeros((chemical.GetNumAtoms(), 3)))


@pytest.mark.parametrize("smiles", SMILES)
@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("hydrogens", [True, False])
def test_patterns_equal_smarts(smiles, name, hydrogens):
    chemical, molecule = built(smiles, hydrogens=hydrogens)
    column = FEATURE_NAMES.index(name)
    found = atom_features(molecule, ligand=True)[:, column]
    query = Chem.MolFromSmarts(PATTERNS[name])
    expected = np.zeros(chemical.GetNumAtoms())
    expected[[match[0] for match in chemical.GetSubstructMatches(query, maxMatches=999)]] = 1
    heavy = molecule.heavy
    # RDKit's ^3 excludes sulfonyl sulfur, Open Babel's S^3 (any aliphatic sulfur with two or more bonds) not.
    same = heavy & ~((molecule.elements == 16) & (molecule.valence > 2) & (name == "hydrophobic"))
    assert (found[same[heavy]] == expected[same]).all()


def test_features_of_known_atoms():
    _, molecule = built("CC(=O)[O-]", hydrogens=True)
    rows = atom_features(molecule.with_charges(np.arange(7) / 10), ligand=True)
    by_name = [dict(zip(FEATURE_NAMES, row.tolist(), strict=True)) for row in rows]
    assert [row["hybridization"] for row in by_name] == [3, 2, 2, 2]
    assert [row["heavy_degree"] for row in by_name] == [1, 3, 1, 1]
    assert [row["hetero_degree"] for row in by_name] == [0, 2, 0, 0]
    assert rows[:, 12] == pytest.approx([0, 0.1, 0.2, 0.3])
    assert (rows[:, 13] == 1).all() and (atom_features(molecule, ligand=False)[:, 13] == -1).all()


def test_an_unclassed_element_has_no_class_and_a_metal_has_one():
    _, molecule = built("C[Si](C)(C)C.[Zn+2]", hydrogens=False)
    rows = atom_features(molecule, ligand=True)
    assert rows[1, :9].sum() == 0 and rows[-1, 8] == 1
    assert van_der_waals_radii(molecule)[-1] == pytest.approx(1.39)


def test_tabulated_radii():
    expected = {1: 1.2, 5: 2.0, 6: 1.7, 7: 1.55, 8: 1.52, 9: 1.47, 11: 2.27, 16: 1.8, 35: 1.85, 80: 1.55}
    for number, radius in expected.items():
        assert VAN_DER_WAALS_RADIUS[number] == radius


# RDKit has other parameters for boron, and for phosphorus and sulfur with double bonds to oxygen.
@pytest.mark.parametrize("smiles", [s for s in SMILES if not any(p in s for p in ("B(", "P(=", "S(=O)"))])
@pytest.mark.parametrize("hydrogens", [True, False])
def test_gasteiger_equals_rdkit(smiles, hydrogens):
    chemical, molecule = built(smiles, hydrogens=hydrogens)
    AllChem.ComputeGasteigerCharges(chemical)
    expected = np.array([atom.GetDoubleProp("_GasteigerCharge") for atom in chemical.GetAtoms()])
    found = gasteiger_charges(molecule)
    assert np.abs(found - expected).max() < 0.03
    if hydrogens:
        assert found.sum() == pytest.approx(Chem.GetFormalCharge(chemical), abs=1e-9)


def eqeq_by_loops(elements, positions, total):
    count = len(elements)
    matrix, right = np.zeros((count + 1, count + 1)), np.zeros(count + 1)
    for i in range(count):
        hard_i = IONIZATION_ENERGY[elements[i]] - ELECTRON_AFFINITY[elements[i]]
        right[i] = -(IONIZATION_ENERGY[elements[i]] + ELECTRON_AFFINITY[elements[i]]) / 2
        matrix[i, i], matrix[i, count], matrix[count, i] = hard_i, 1, 1
        for j in range(count):
            if i != j:
                hard_j = IONIZATION_ENERGY[elements[j]] - ELECTRON_AFFINITY[elements[j]]
                a, r = (hard_i * hard_j) ** 0.5 / 14.4, np.linalg.norm(positions[i] - positions[j])
                overlap = np.exp(-(a**2) * r**2) * (2 * a - a**2 * r - 1 / r)
                matrix[i, j] = 1.2 * 14.4 / 2 * (1 / r + overlap)
    right[count] = total
    return np.linalg.solve(matrix, right)[:count]


def test_eqeq_equals_its_formula():
    random = np.random.default_rng(3)
    elements, positions = random.choice([1, 6, 7, 8, 30], 12), 3 * random.normal(size=(12, 3))
    assert eqeq_charges(elements, positions, 1.0) == pytest.approx(eqeq_by_loops(elements, positions, 1.0))


def test_eqeq_names_what_it_lacks():
    with pytest.raises(DataError, match="no energies for U"):
        eqeq_charges(np.array([92, 8]), np.eye(3)[:2])
    with pytest.raises(DataError, match="one place"):
        eqeq_charges(np.array([6, 8]), np.zeros((2, 3)))


def test_formal_charges_are_told_from_partial_ones():
    assert are_formal(np.array([0, 1, -0.5, -0.3333, -0.6667])) and not are_formal(np.array([0.05, -0.3]))


places = st.lists(st.tuples(*[st.floats(-9, 9, allow_nan=False, width=32)] * 3), min_size=2, max_size=30).map(
    lambda rows: np.array(rows)
)


@settings(max_examples=60, deadline=None)
@given(places, st.floats(0.5, 6))
def test_pairs_equal_all_distances(positions, cutoff):
    found, distances = pairs_within(positions, cutoff)
    gaps = np.linalg.norm(positions[:, None] - positions[None], axis=2)
    clear = np.abs(gaps - cutoff) > 1e-9
    expected = {(i, j) for i, j in zip(*np.nonzero(np.triu((gaps <= cutoff) & (gaps > 0), 1)), strict=True)}
    near = {pair for pair in map(tuple, found.tolist()) if clear[pair]}
    assert near == {pair for pair in expected if clear[pair]}
    assert distances == pytest.approx(gaps[found[:, 0], found[:, 1]])
    nearest = smallest_distances(positions, positions[:1])
    assert nearest == pytest.approx(gaps[:, 0])


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=18))
def test_rings_equal_removing_each_bond(count, raw):
    bonds = np.array(sorted({(min(p), max(p)) for p in raw if p[0] != p[1] and max(p) < count}), int).reshape(
        -1, 2
    )
    expected = np.zeros(count, bool)
    for skip in range(len(bonds)):
        group = list(range(count))
        for a, b in np.delete(bonds, skip, axis=0):
            group = [group[a] if g == group[b] else g for g in group]
        if group[bonds[skip, 0]] == group[bonds[skip, 1]]:
            expected[bonds[skip]] = True
    assert (atoms_in_rings(bonds, count) == expected).all()


def test_neighbor_table_lists_both_directions():
    starts, columns, origin = neighbor_table(np.array([[0, 1], [0, 2]]), 3)
    assert (
        starts.tolist() == [0, 2, 3, 4]
        and columns.tolist() == [1, 2, 0, 0]
        and origin.tolist() == [0, 1, 0, 1]
    )


@pytest.mark.parametrize(
    ("elements", "bonds", "orders", "total"),
    [
        ([6, 8, 8, 1], [(0, 1), (0, 2), (0, 3)], [2, 2, 1], -1),  # formate, both oxygens double
        ([6, 8, 8, 1], [(0, 1), (0, 2), (0, 3)], [1.5, 1.5, 1], -1),
        (
            [6, 7, 7, 7, *[1] * 6],
            [(0, 1), (0, 2), (0, 3), *[(1 + i // 2, 4 + i) for i in range(6)]],
            [1.5, 1.5, 1.5, *[1] * 6],
            1,
        ),  # guanidinium
        ([7, 1, 1, 1, 1], [(0, i) for i in range(1, 5)], [1] * 4, 1),  # ammonium without its charge
        (
            [*[6] * 6, *[1] * 7],
            [*[(i, (i + 1) % 6) for i in range(6)], (0, 6), *[(i, 7 + i) for i in range(6)]],
            [*[1.5] * 6, *[1] * 7],
            0,
        ),  # an "aromatic" ring with a CH2
        ([15, 8, 8, 8, 8, 1], [(0, 1), (0, 2), (0, 3), (0, 4), (4, 5)], [2, 2, 2, 1, 1], -2),
    ],
)
def test_repair_gives_molecules_that_rdkit_accepts(elements, bonds, orders, total):
    from hortus.affinity.ligand import _sanitized

    count = len(elements)
    draft = Draft(
        np.array(elements),
        np.zeros((count, 3)),
        np.array(bonds),
        np.array(orders, float),
        np.zeros(count, int),
        None,
    )
    mended = repair(draft)
    assert mended.formal_charges.sum() == total
    assert Chem.GetFormalCharge(_sanitized(mended)) == total
