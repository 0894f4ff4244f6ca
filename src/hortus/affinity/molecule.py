"""A molecule as arrays: atoms, bonds, charges. Ligands and receptors become this before features are made.

N atoms, M bonds
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from hortus.affinity.neighbors import atoms_in_rings

__all__ = ["Molecule"]


@dataclass(frozen=True, eq=False)
class Molecule:
    """Atoms and bonds; hydrogens are atoms where their places are known, else numbers on their heavy atom.

    Args:
        elements: (N,) atomic numbers.
        positions: (N, 3) in Å.
        bonds: (M, 2) indices of atoms.
        orders: (M,) 1, 2, 3, or 1.5 for an aromatic bond.
        aromatic: (N,) bool.
        formal_charges: (N,) in elementary charges.
        hydrogens: (N,) hydrogens that are no atoms here.
        charges: (N,) partial charges, or None before they are computed.
    """

    elements: np.ndarray
    positions: np.ndarray
    bonds: np.ndarray
    orders: np.ndarray
    aromatic: np.ndarray
    formal_charges: np.ndarray
    hydrogens: np.ndarray
    charges: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.elements)

    @property
    def heavy(self) -> np.ndarray:
        """(N,) bool: not hydrogen."""
        return self.elements > 1

    @cached_property
    def in_ring(self) -> np.ndarray:
        """(N,) bool: on some ring of bonds, however large."""
        return np.asarray(atoms_in_rings(self.bonds, len(self)))

    def sum_over_neighbors(self, values: np.ndarray) -> np.ndarray:
        """(N,): the sum of `values` (N,) over the atoms bonded to each atom."""
        first, second = self.bonds.T
        total = np.bincount(first, values[second], len(self))
        return total + np.bincount(second, values[first], len(self))

    @cached_property
    def degree(self) -> np.ndarray:
        """(N,) bonded atoms, among those that are here."""
        return np.bincount(self.bonds.ravel(), minlength=len(self))

    @cached_property
    def num_hydrogens(self) -> np.ndarray:
        """(N,) bonded hydrogens, here or not."""
        return self.sum_over_neighbors((self.elements == 1).astype(float)).astype(np.int64) + self.hydrogens

    @cached_property
    def valence(self) -> np.ndarray:
        """(N,) sum of bond orders, absent hydrogens included; aromatic bonds rounded down in pairs to 3."""
        twice = np.repeat(self.orders[:, None], 2, axis=1).ravel()
        return np.floor(np.bincount(self.bonds.ravel(), twice, len(self)) + 1e-6) + self.hydrogens

    def with_charges(self, charges: np.ndarray) -> Molecule:
        return replace(self, charges=charges)

    @property
    def hydrogen_owners(self) -> np.ndarray:
        """(H,) the heavy atom of each hydrogen that is no atom here."""
        return np.repeat(np.arange(len(self)), self.hydrogens)

    def with_hydrogens(self, positions: np.ndarray) -> Molecule:
        """The molecule with the hydrogens that are no atoms here as atoms, after the others.

        Args:
            positions: (H, 3) in the order of `hydrogen_owners`.
        """
        owners = self.hydrogen_owners
        added = np.arange(len(self), len(self) + len(owners))
        none = np.zeros(len(owners), np.int64)
        return Molecule(
            np.concatenate([self.elements, none + 1]),
            np.concatenate([self.positions, positions]),
            np.concatenate([self.bonds, np.column_stack([owners, added])]),
            np.concatenate([self.orders, none + 1.0]),
            np.concatenate([self.aromatic, none > 0]),
            np.concatenate([self.formal_charges, none]),
            np.zeros(len(self) + len(owners), np.int64),
        )

    def subset(self, keep: np.ndarray) -> Molecule:
        """The atoms where `keep` (N,) is true, with the bonds among them.

        >>> water = Molecule(np.array([8, 1, 1]), np.zeros((3, 3)), np.array([[0, 1], [0, 2]]), np.ones(2),
        ...     np.zeros(3, bool), np.zeros(3, int), np.zeros(3, int))
        >>> water.subset(np.array([True, True, False])).bonds.tolist()
        [[0, 1]]
        """
        kept_bonds = keep[self.bonds].all(axis=1)
        new_index = np.cumsum(keep) - 1
        return Molecule(
            self.elements[keep],
            self.positions[keep],
            new_index[self.bonds[kept_bonds]],
            self.orders[kept_bonds],
            self.aromatic[keep],
            self.formal_charges[keep],
            self.hydrogens[keep],
            None if self.charges is None else self.charges[keep],
        )
