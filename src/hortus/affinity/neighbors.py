"""Compiled searches over atoms: pairs by distance, the cut of a pocket, atoms in rings.

N atoms, M bonds, E directed edges
"""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["atoms_in_rings", "neighbor_table", "pairs_within", "smallest_distances"]


@njit(cache=True)
def _sort_into_cells(positions, edge):  # type: ignore[no-untyped-def]
    """Atoms in the order of their cells, where each cell's atoms begin, and the shape of the cells."""
    low = np.array([positions[:, axis].min() for axis in range(3)])
    shape = np.array([int((positions[:, axis].max() - low[axis]) / edge) + 1 for axis in range(3)])
    cells = np.empty((len(positions), 3), np.int64)
    for i in range(len(positions)):
        for axis in range(3):
            cells[i, axis] = int((positions[i, axis] - low[axis]) / edge)
    starts = np.zeros(shape[0] * shape[1] * shape[2] + 1, np.int64)
    keys = (cells[:, 0] * shape[1] + cells[:, 1]) * shape[2] + cells[:, 2]
    for key in keys:
        starts[key + 1] += 1
    starts = np.cumsum(starts)
    order, filled = np.empty(len(keys), np.int64), starts[:-1].copy()
    for i in range(len(keys)):
        order[filled[keys[i]]] = i
        filled[keys[i]] += 1
    return order, starts, cells, shape


@njit(cache=True)
def _pairs(positions, cutoff, order, starts, cells, shape, found, distances):  # type: ignore[no-untyped-def]
    """Count the pairs i < j with 0 < distance <= cutoff; write those for which there is room."""
    count = 0
    limit = cutoff * cutoff
    for i in range(len(positions)):
        x, y, z = cells[i]
        for a in range(max(x - 1, 0), min(x + 2, shape[0])):
            for b in range(max(y - 1, 0), min(y + 2, shape[1])):
                row = (a * shape[1] + b) * shape[2]
                first, last = max(z - 1, 0), min(z + 1, shape[2] - 1)
                for place in range(starts[row + first], starts[row + last + 1]):
                    j = order[place]
                    if j <= i:
                        continue
                    square = 0.0
                    for axis in range(3):
                        step = positions[i, axis] - positions[j, axis]
                        square += step * step
                    if 0.0 < square <= limit:
                        if count < len(found):
                            found[count, 0], found[count, 1] = i, j
                            distances[count] = np.sqrt(square)
                        count += 1
    return count


def pairs_within(positions: np.ndarray, cutoff: float) -> tuple[np.ndarray, np.ndarray]:
    """Pairs i < j of atoms with 0 < distance <= cutoff.

    Args:
        positions: (N, 3) in Å.

    Returns:
        (P, 2) indices, and (P,) distances in Å.

    >>> pairs_within(np.array([[0.0, 0, 0], [1, 0, 0], [5, 0, 0]]), 2.0)[0].tolist()
    [[0, 1]]
    """
    positions = np.ascontiguousarray(positions, dtype=np.float64)
    if len(positions) < 2:
        return np.empty((0, 2), np.int64), np.empty(0)
    extent = np.ptp(positions, axis=0)
    # Atoms strewn over a huge box must not ask for as many cells: widen them instead.
    edge = max(cutoff, float(np.prod(extent + cutoff) / 1e6) ** (1 / 3))
    order, starts, cells, shape = _sort_into_cells(positions, edge)
    room = 16 * len(positions)
    while True:
        found, distances = np.empty((room, 2), np.int64), np.empty(room)
        count = _pairs(positions, cutoff, order, starts, cells, shape, found, distances)
        if count <= room:
            return found[:count], distances[:count]
        room = count


@njit(cache=True)
def smallest_distances(positions, others):  # type: ignore[no-untyped-def]
    """(N,): from each of `positions` (N, 3) to the nearest of `others` (K, 3), in Å; inf where K is 0."""
    result = np.full(len(positions), np.inf)
    for i in range(len(positions)):
        best = np.inf
        for j in range(len(others)):
            dx = positions[i, 0] - others[j, 0]
            dy = positions[i, 1] - others[j, 1]
            dz = positions[i, 2] - others[j, 2]
            best = min(best, dx * dx + dy * dy + dz * dz)
        result[i] = np.sqrt(best)
    return result


@njit(cache=True)
def neighbor_table(pairs, num_atoms):  # type: ignore[no-untyped-def]
    """Both directions of the pairs (P, 2), by first atom: row starts (N + 1,), columns and pairs (2P,)."""
    starts = np.zeros(num_atoms + 1, np.int64)
    for p in range(len(pairs)):
        starts[pairs[p, 0] + 1] += 1
        starts[pairs[p, 1] + 1] += 1
    starts = np.cumsum(starts)
    filled = starts[:-1].copy()
    columns, origin = np.empty(2 * len(pairs), np.int64), np.empty(2 * len(pairs), np.int64)
    for p in range(len(pairs)):
        for side in range(2):
            here, there = pairs[p, side], pairs[p, 1 - side]
            columns[filled[here]], origin[filled[here]] = there, p
            filled[here] += 1
    return starts, columns, origin


@njit(cache=True)
def atoms_in_rings(bonds, num_atoms):  # type: ignore[no-untyped-def]
    """(N,) bool: atoms on a bond (M, 2) that is no bridge, by one depth-first walk (Tarjan's low links)."""
    starts, columns, origin = neighbor_table(bonds, num_atoms)
    order, low = np.full(num_atoms, -1), np.zeros(num_atoms, np.int64)
    parent_bond, place = np.full(num_atoms, -1), starts[:-1].copy()
    inside = np.zeros(num_atoms, np.bool_)
    stack, count = np.empty(num_atoms, np.int64), 0
    for root in range(num_atoms):
        if order[root] >= 0:
            continue
        depth, stack[0] = 1, root
        order[root], low[root], count = count, count, count + 1
        while depth:
            atom = stack[depth - 1]
            if place[atom] < starts[atom + 1]:
                other, bond = columns[place[atom]], origin[place[atom]]
                place[atom] += 1
                if bond == parent_bond[atom]:
                    continue
                if order[other] < 0:
                    order[other], low[other], count = count, count, count + 1
                    parent_bond[other], stack[depth] = bond, other
                    depth += 1
                else:
                    low[atom] = min(low[atom], order[other])
            else:
                depth -= 1
                if depth:
                    above = stack[depth - 1]
                    low[above] = min(low[above], low[atom])
                    if low[atom] <= order[above]:
                        inside[atom] = inside[above] = True
    return inside
