"""One receptor and its posed ligands, made into atoms with features: what the networks read.

Order of the published path, kept by typing="hacnet": cut, then water hydrogens, then charges, then features.
By default typing and charges are those of the whole receptor, made once, and a pose only cuts its pocket:
thousands of poses against one receptor cost one preparation.

N heavy atoms of a complex: the ligand's first, then the pocket's
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hortus.affinity.charges import are_formal, eqeq_charges, gasteiger_charges
from hortus.affinity.config import PreparationConfig
from hortus.affinity.elements import COVALENT_RADIUS, MASS, SYMBOLS, is_among
from hortus.affinity.features import atom_features, van_der_waals_radii
from hortus.affinity.hydrogens import add_molecule_hydrogens, add_water_hydrogens
from hortus.affinity.ligand import Ligand, read_ligand
from hortus.affinity.molecule import Molecule
from hortus.affinity.neighbors import smallest_distances
from hortus.affinity.receptor import Receptor, read_receptor
from hortus.affinity.typing import type_receptor
from hortus.errors import DataError

__all__ = ["Complex", "PreparedReceptor", "prepare_complex", "read_complex"]

# What PDBbind ligands are made of; anything else is outside what a network can have learnt.
_USUAL_ELEMENTS = (1, 5, 6, 7, 8, 9, 14, 15, 16, 17, 34, 35, 53)


@dataclass(frozen=True, eq=False)
class Complex:
    """A pocket with a posed ligand, ready for the networks.

    Args:
        name: unique within a set.
        positions: (N, 3) float32 in Å, the mean of the ligand's heavy atoms at the origin.
        features: (N, 19) float32 in the order of FEATURE_NAMES.
        radii: (N,) float32 van der Waals radii in Å.
        num_ligand_atoms: the first rows, which are the ligand's.
        center: (3,) what was subtracted from the file's coordinates.
        ligand_mass: g/mol, hydrogens included.
        warnings: what a reader of the prediction should know.
        smiles: of the ligand, "" when unknown.
        atom_rows: (N,) row of each atom in the ligand's or the receptor's own order.
    """

    name: str
    positions: np.ndarray
    features: np.ndarray
    radii: np.ndarray
    num_ligand_atoms: int
    center: np.ndarray = field(default_factory=lambda: np.zeros(3))
    ligand_mass: float = float("nan")
    warnings: tuple[str, ...] = ()
    smiles: str = ""
    atom_rows: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def graph_features(self) -> np.ndarray:
        """(N, 20) float32: the radius, then the 19 features, as the graph networks read them."""
        return np.concatenate([self.radii[:, None], self.features], axis=1)


def read_complex(
    receptor: str | Path, ligand: str | Path, config: PreparationConfig | None = None, name: str | None = None
) -> Complex:
    """Read and prepare one complex from its two files.

    Raises:
        DataError: a file can't be read, holds several ligands, or no receptor atom is near the ligand.
    """
    prepared = PreparedReceptor(read_receptor(receptor), config or PreparationConfig())
    return prepared.complex_with(read_ligand(ligand), name=name)


def prepare_complex(
    receptor: Receptor, ligand: Ligand, config: PreparationConfig | None = None, name: str | None = None
) -> Complex:
    """A complex from what was read already."""
    return PreparedReceptor(receptor, config or PreparationConfig()).complex_with(ligand, name=name)


class PreparedReceptor:
    """A receptor typed and charged once, for any number of poses.

    Args:
        receptor: as read.
        config: how to prepare.

    Raises:
        DataError: EQeq lacks an element.
    """

    def __init__(self, receptor: Receptor, config: PreparationConfig):
        self.config, self.receptor = config, receptor
        kinds = receptor.residue_kinds
        dropped = [
            kind
            for kind, kept in (("water", config.water), ("metal", config.metals), ("other", config.cofactors))
            if not kept
        ]
        self._allowed = ~np.isin(kinds, dropped)
        self._cached: Molecule | None = None

    def complex_with(self, ligand: Ligand, name: str | None = None) -> Complex:
        """The pocket of this ligand, and the ligand, as one complex.

        Raises:
            DataError: no receptor atom within the cut, or every one of them left out by the settings.
        """
        heavy = ligand.molecule.positions[ligand.molecule.heavy]
        distances = smallest_distances(self.receptor.positions, heavy)
        overlap = self._overlapping_residues(distances, ligand)
        kept = self._pocket(distances, overlap)
        if not kept.any():
            nearest = float(distances[self.receptor.elements > 1].min())
            raise DataError(
                f"the pocket of {ligand.name} is empty: the nearest receptor atom is {nearest:.1f} Å away",
                allowed=f"a pose within {self.config.pocket_cutoff:g} Å of the receptor",
                do="check that receptor and ligand share one coordinate frame",
            )
        pocket, rows = self._typed_pocket(kept)
        pair = (ligand_with_charges(ligand, self.config), pocket)
        warnings = [*self.receptor.warnings, *self._doubts(distances, overlap, ligand)]
        return _assemble(name or ligand.name, ligand, pair, rows, warnings)

    def _pocket(self, distances: np.ndarray, overlap: np.ndarray) -> np.ndarray:
        """(N,) bool: atoms of residues with an atom within the cut."""
        receptor = self.receptor
        counted = receptor.elements > 1
        if self.config.pocket_rule == "polar":
            counted = counted | self._polar_hydrogens()
        near = counted & (distances <= self.config.pocket_cutoff)
        residues = np.zeros(len(receptor.residue_names), bool)
        residues[receptor.residues[near]] = True
        return np.asarray((residues & self._allowed & ~overlap)[receptor.residues])

    def _polar_hydrogens(self) -> np.ndarray:
        if not hasattr(self, "_polar"):
            receptor = self.receptor
            hydrogen = np.flatnonzero(receptor.elements == 1)
            polar = np.flatnonzero(is_among(receptor.elements, (7, 8, 16)))
            self._polar = np.zeros(len(receptor), bool)
            if len(hydrogen) and len(polar):
                gaps = smallest_distances(receptor.positions[hydrogen], receptor.positions[polar])
                self._polar[hydrogen] = gaps < 1.45
        return self._polar

    def _overlapping_residues(self, distances: np.ndarray, ligand: Ligand) -> np.ndarray:
        """(R,) bool: molecules of the receptor file that lie where the ligand lies: itself, mostly."""
        receptor = self.receptor
        heavy = receptor.elements > 1
        size = np.bincount(receptor.residues[heavy], minlength=len(receptor.residue_names))
        clash = np.bincount(
            receptor.residues[heavy & (distances < 0.8)], minlength=len(receptor.residue_names)
        )
        return np.asarray((clash * 2 > size) & (size > 0))

    def _typed_pocket(self, kept: np.ndarray) -> tuple[Molecule, np.ndarray]:
        """The pocket with charges, and the receptor's row of each atom (-1 for added hydrogens)."""
        rows = np.flatnonzero(kept)
        if self.config.typing == "chemical":
            whole = self._whole()
            return whole.subset(kept), rows
        cut = add_water_hydrogens(self.receptor.subset(kept))
        molecule = type_receptor(cut, published=True)
        rows = np.concatenate([rows, np.full(len(molecule) - len(rows), -1)])
        return molecule.with_charges(self._charges(molecule)), rows

    def _whole(self) -> Molecule:
        if self._cached is None:
            molecule = type_receptor(self.receptor)
            self._cached = molecule.with_charges(self._charges(molecule))
        return self._cached

    def _charges(self, molecule: Molecule) -> np.ndarray:
        kind = self.config.receptor_charges
        if kind == "zero":
            return np.zeros(len(molecule))
        if kind == "gasteiger":
            return gasteiger_charges(molecule)
        total = 0.0 if self.config.typing == "hacnet" else float(molecule.formal_charges.sum())
        placed = add_molecule_hydrogens(molecule)
        return eqeq_charges(placed.elements, placed.positions, total)[: len(molecule)]

    def _doubts(self, distances: np.ndarray, overlap: np.ndarray, ligand: Ligand) -> list[str]:
        receptor, doubts = self.receptor, []
        heavy = (receptor.elements > 1) & ~overlap[receptor.residues]
        nearest = float(distances[heavy].min(initial=np.inf))
        if nearest > self.config.maximum_distance:
            doubts.append(f"the ligand is {nearest:.1f} Å from the receptor: is it posed?")
        for row in np.flatnonzero(overlap):
            doubts.append(f"{receptor.residue_labels[row]} overlaps the ligand and was left out")
        bonded = heavy & (distances < 1.3 + np.nan_to_num(COVALENT_RADIUS[receptor.elements], nan=1.5) / 2)
        metal = (receptor.residue_kinds == "metal")[receptor.residues]
        if (close := np.flatnonzero(bonded & ~metal)).size:
            label = receptor.residue_labels[receptor.residues[close[0]]]
            doubts.append(f"the ligand is within bonding distance of {label}: covalent, or a clash")
        odd = sorted(set(ligand.molecule.elements.tolist()) - set(_USUAL_ELEMENTS))
        if odd:
            doubts.append(
                f"the ligand has elements rarely or never seen: {', '.join(SYMBOLS[z] for z in odd)}"
            )
        return doubts


def ligand_with_charges(ligand: Ligand, config: PreparationConfig) -> Molecule:
    """The ligand's molecule with partial charges as the settings ask."""
    published = config.typing == "hacnet"
    molecule = ligand.as_published() if published else ligand.molecule
    if config.ligand_charges == "zero":
        return molecule.with_charges(np.zeros(len(molecule)))
    from_file = ligand.file_charges
    if config.ligand_charges == "file" and from_file is not None and not are_formal(from_file):
        return molecule.with_charges(from_file)
    return molecule.with_charges(gasteiger_charges(ligand.molecule, published=published))


def _assemble(
    name: str, ligand: Ligand, pair: Sequence[Molecule], rows: np.ndarray, warnings: Sequence[str]
) -> Complex:
    small, pocket = pair
    positions = np.concatenate([part.positions[part.heavy] for part in pair])
    center = small.positions[small.heavy].mean(axis=0)
    features = [atom_features(small, ligand=True), atom_features(pocket, ligand=False)]
    mass = MASS[small.elements].sum() + MASS[1] * small.hydrogens.sum()
    return Complex(
        name=name,
        positions=(positions - center).astype(np.float32),
        features=np.concatenate(features),
        radii=np.concatenate([van_der_waals_radii(part) for part in pair]),
        num_ligand_atoms=int(small.heavy.sum()),
        center=center,
        ligand_mass=float(mass),
        warnings=tuple(warnings),
        smiles=_smiles(ligand),
        atom_rows=np.concatenate([np.flatnonzero(small.heavy), rows[pocket.heavy]]),
    )


def _smiles(ligand: Ligand) -> str:
    from rdkit import Chem

    return str(Chem.MolToSmiles(Chem.RemoveHs(ligand.chemical, sanitize=False)))
