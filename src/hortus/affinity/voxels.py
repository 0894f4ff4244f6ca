"""Atoms on a grid, exactly as published, in compiled code.

The box is centred at the middle of the smallest and largest coordinate of all atoms, per axis. An atom adds
its features to the one voxel that holds its centre, floor((x - low) / spacing); atoms outside are dropped,
atoms in one voxel add up. Options: a Gaussian spread, as other networks of the field use, and rotations for
training.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numba import njit
from torch import Tensor

from hortus.affinity.complexes import Complex
from hortus.affinity.config import NUM_FEATURES, GridConfig

__all__ = ["random_rotation", "voxel_batch", "voxel_indices", "voxelize"]


def voxel_indices(positions: np.ndarray, grid: GridConfig) -> np.ndarray:
    """(N, 3) int64: the voxel of each atom along each axis; outside 0..size-1 where it is not in the box."""
    positions = np.asarray(positions, dtype=np.float32)
    middle = (positions.min(axis=0) + positions.max(axis=0)) / np.float32(2)
    low = middle - np.float32(grid.size * grid.spacing / 2)
    return np.floor((positions - low) / np.float32(grid.spacing)).astype(np.int64)


@njit(cache=True)
def _deposit(indices, features, box):  # type: ignore[no-untyped-def]
    size = box.shape[1]
    for atom in range(len(indices)):
        x, y, z = indices[atom]
        if 0 <= x < size and 0 <= y < size and 0 <= z < size:
            for channel in range(features.shape[1]):
                box[channel, x, y, z] += features[atom, channel]


@njit(cache=True)
def _spread(places, features, deviation, box):  # type: ignore[no-untyped-def]
    """Share each atom over the voxels within three deviations, by a Gaussian that sums to one."""
    size = box.shape[1]
    reach = int(np.ceil(3 * deviation))
    width = 2 * reach + 1
    weights = np.empty((3, width))
    for atom in range(len(places)):
        center = np.floor(places[atom]).astype(np.int64)
        for axis in range(3):
            for k in range(width):
                gap = center[axis] + k - reach + 0.5 - places[atom, axis]
                weights[axis, k] = np.exp(-0.5 * (gap / deviation) ** 2)
            weights[axis] /= weights[axis].sum()
        for i in range(width):
            x = center[0] + i - reach
            if not 0 <= x < size:
                continue
            for j in range(width):
                y = center[1] + j - reach
                if not 0 <= y < size:
                    continue
                for k in range(width):
                    z = center[2] + k - reach
                    if 0 <= z < size:
                        share = weights[0, i] * weights[1, j] * weights[2, k]
                        for channel in range(features.shape[1]):
                            box[channel, x, y, z] += share * features[atom, channel]


def random_rotation(random: np.random.Generator) -> np.ndarray:
    """(3, 3): a rotation drawn evenly from all (a normalised random quaternion)."""
    w, x, y, z = (q := random.normal(size=4)) / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def voxel_batch(
    complexes: Sequence[Complex], grid: GridConfig, random: np.random.Generator | None = None
) -> dict[str, Tensor]:
    """{"voxels": (B, 19, D, W, Z)}; with grid.rotations and `random`, each complex turned at random."""
    turns = [random_rotation(random) if grid.rotations and random else None for _ in complexes]
    boxes = [voxelize(one, grid, rotation=turn) for one, turn in zip(complexes, turns, strict=True)]
    return {"voxels": torch.from_numpy(np.stack(boxes))}


def voxelize(
    complex: Complex, grid: GridConfig, *, rotation: np.ndarray | None = None, out: np.ndarray | None = None
) -> np.ndarray:
    """(19, D, W, Z) float32: the complex on its grid.

    Args:
        rotation: (3, 3), applied to the coordinates first.
        out: a zeroed array to write into.

    >>> one = Complex("atom", np.zeros((1, 3), "f4"), np.ones((1, 19), "f4"), np.ones(1, "f4"), 1)
    >>> box = voxelize(one, GridConfig())
    >>> box.shape, float(box[:, 24, 24, 24].sum())
    ((19, 48, 48, 48), 19.0)
    """
    box = np.zeros((NUM_FEATURES, grid.size, grid.size, grid.size), np.float32) if out is None else out
    positions = complex.positions if rotation is None else complex.positions @ rotation.T
    if grid.spread > 0:
        low = (positions.min(axis=0) + positions.max(axis=0)) / 2 - grid.size * grid.spacing / 2
        places = (positions - low).astype(np.float64) / grid.spacing
        _spread(places, complex.features, grid.spread / grid.spacing, box)
    else:
        _deposit(voxel_indices(positions, grid), complex.features, box)
    return box
