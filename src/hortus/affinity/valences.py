"""Mending the bond orders and formal charges that structure files get wrong.

Known habits, all harmless once mended: carboxylate, phosphate and sulfonate with every terminal oxygen
double; guanidinium and amidinium with every nitrogen double; nitro groups with five-valent nitrogen;
four-valent nitrogen without its charge; aromatic bonds outside rings; a charge on an atom that carries a
hydrogen.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from hortus.affinity.neighbors import atoms_in_rings

__all__ = ["Draft", "alternatives", "repair"]

# The largest sum of bond orders that an uncharged atom has.
_LARGEST = {1: 1, 5: 3, 6: 4, 7: 3, 8: 2, 9: 1, 15: 5, 16: 6, 17: 1, 34: 6, 35: 1}


@dataclass(eq=False)
class Draft:
    """Atoms and bonds as a file has them, before they are checked.

    Args:
        elements: (N,); positions: (N, 3) in Å; bonds: (M, 2); orders: (M,), 1.5 for aromatic.
        formal_charges: (N,).
        charges: (N,) partial charges of the file, or None.
    """

    elements: np.ndarray
    positions: np.ndarray
    bonds: np.ndarray
    orders: np.ndarray
    formal_charges: np.ndarray
    charges: np.ndarray | None

    def __len__(self) -> int:
        return len(self.elements)


def repair(draft: Draft) -> Draft:
    """The draft with plausible orders and charges; what is already right stays as it is.

    >>> formate = Draft(np.array([6, 8, 8, 1]), np.zeros((4, 3)), np.array([[0, 1], [0, 2], [0, 3]]),
    ...     np.array([2.0, 2.0, 1.0]), np.zeros(4, int), None)
    >>> mended = repair(formate)
    >>> mended.orders.tolist(), mended.formal_charges.tolist()
    ([2.0, 1.0, 1.0], [0, 0, -1, 0])
    """
    orders, formal = draft.orders.astype(float).copy(), draft.formal_charges.astype(np.int64).copy()
    touching: list[list[int]] = [[] for _ in range(len(draft))]
    for bond, (first, second) in enumerate(draft.bonds.tolist()):
        touching[first].append(bond)
        touching[second].append(bond)
    mended = Draft(draft.elements, draft.positions, draft.bonds, orders, formal, draft.charges)
    _open_chain_aromatics(mended, touching)
    for atom in range(len(draft)):
        _lower_excess(mended, touching, atom)
    for atom in range(len(draft)):
        _charge(mended, touching, atom)
    return mended


def _other(draft: Draft, bond: int, atom: int) -> int:
    first, second = draft.bonds[bond]
    return int(second if first == atom else first)


def _valence(draft: Draft, touching: list[list[int]], atom: int) -> float:
    """Sum of orders; aromatic bonds beside a true double bond, as in quinones, count one each."""
    orders = draft.orders[touching[atom]]
    if (orders >= 2).any():
        orders = np.where(orders == 1.5, 1.0, orders)
    return float(orders.sum())


def _open_chain_aromatics(draft: Draft, touching: list[list[int]]) -> None:
    """Aromatic bonds outside aromatic rings: one double, the rest single, around each center."""
    # A carbon with four neighbours is in no aromatic ring, whatever the file calls it.
    crowded = (np.bincount(draft.bonds.ravel(), minlength=len(draft)) > 3) & (draft.elements == 6)
    draft.orders[(draft.orders == 1.5) & crowded[draft.bonds].any(axis=1)] = 1.0
    aromatic = draft.orders == 1.5
    ring = np.asarray(atoms_in_rings(draft.bonds[aromatic], len(draft)))
    loose = aromatic & ~ring[draft.bonds].all(axis=1)
    for atom in range(len(draft)):
        here = [bond for bond in touching[atom] if loose[bond] and draft.orders[bond] == 1.5]
        if len(here) < 2:
            continue
        # The double bond goes to the end with the fewest bonds, which can best carry the charge.
        here.sort(key=lambda bond: len(touching[_other(draft, bond, atom)]))
        draft.orders[here] = [2.0] + [1.0] * (len(here) - 1)
    draft.orders[loose & (draft.orders == 1.5)] = 1.0


def _lower_excess(draft: Draft, touching: list[list[int]], atom: int) -> None:
    """Turn double bonds to terminal O, S or N into single ones until the atom's valence is possible."""
    largest = _LARGEST.get(int(draft.elements[atom]))
    if largest is None or draft.elements[atom] not in (6, 7, 15, 16):
        return
    # An aromatic sum of 4.5 is a fused carbon, not an excess.
    while _valence(draft, touching, atom) > largest + 0.5 + (draft.elements[atom] == 7):
        ends = [
            (len(touching[_other(draft, bond, atom)]), draft.elements[_other(draft, bond, atom)] == 7, -bond)
            for bond in touching[atom]
            if draft.orders[bond] == 2 and draft.elements[_other(draft, bond, atom)] in (7, 8, 16)
        ]
        if len(ends) < 1:
            return
        draft.orders[-min(ends)[2]] = 1.0


def _charge(draft: Draft, touching: list[list[int]], atom: int) -> None:
    """Formal charges that the bonds ask for; a wrong one in the file gives way."""
    element, valence = int(draft.elements[atom]), _valence(draft, touching, atom)
    with_hydrogens = bool((draft.elements == 1).any())
    aromatic = any(draft.orders[bond] == 1.5 for bond in touching[atom])
    neighbors = [int(draft.elements[_other(draft, bond, atom)]) for bond in touching[atom]]
    if element == 7 and not aromatic:
        if valence == 4:
            draft.formal_charges[atom] = 1
        elif valence == 3:
            draft.formal_charges[atom] = 0
    elif element == 8 and not aromatic:
        if valence == 3:
            draft.formal_charges[atom] = 1
        elif valence == 2:
            draft.formal_charges[atom] = 0
        elif valence == 1 and with_hydrogens and neighbors[0] != 1:
            draft.formal_charges[atom] = -1
    elif (
        element == 16
        and valence == 1
        and with_hydrogens
        and neighbors[0] != 1
        or element == 5
        and valence == 4
    ):
        draft.formal_charges[atom] = -1
    elif element == 6 and valence >= 4:
        draft.formal_charges[atom] = 0


def alternatives(draft: Draft) -> Iterator[Draft]:
    """Drafts to try when a ring has no alternating bonds: a charge on one or two of its nitrogens.

    Three-bonded aromatic nitrogen becomes N+ (pyridinium, protonated acridine), two-bonded N- (tetrazolate).
    """
    aromatic = np.zeros(len(draft), bool)
    aromatic[draft.bonds[draft.orders == 1.5]] = True
    degree = np.bincount(draft.bonds.ravel(), minlength=len(draft))
    choices = [
        (int(i), 1 if degree[i] == 3 else -1) for i in np.flatnonzero(aromatic & (draft.elements == 7))
    ]
    for number in (1, 2):
        for chosen in itertools.combinations(choices, number):
            formal = draft.formal_charges.copy()
            for atom, charge in chosen:
                formal[atom] = charge
            yield replace(draft, formal_charges=formal)
