"""How often each task is drawn, and in which order its rows come: pure functions of seed and position.

Every choice is computed from (seed, position), never from a generator's history, so a mixture resumes
anywhere without replaying, and any number of processes can share it.
"""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from hortus.errors import ConfigError
from hortus.prompts.config import MixtureConfig

__all__ = ["RowOrder", "draw_tasks", "permuted", "task_rate"]

T0_CAP = 500_000
XP3_CAP = 100_000
# Blocks whose rows are shuffled together: many enough to mix a sorted file, few enough to stay decoded.
BLOCKS_MIXED = 16
_MASK = (1 << 64) - 1


def task_rate(config: MixtureConfig, rows: int, num_templates: int, weight: float = 1.0) -> float:
    """The unnormalised share of one (dataset, template) task.

    t0           rows, or cap // num_templates for a dataset of more than cap (500,000) rows
    xp3          min(rows, cap), cap 100,000 for each dataset and prompt
    temperature  min(rows, cap) ** (1 / temperature) / num_templates
    weights      weight / num_templates

    Args:
        rows: rows of the dataset.
        num_templates: templates of the dataset, used or not, as T0 counts them.

    >>> from hortus.prompts.config import DatasetConfig, TaskConfig
    >>> task = TaskConfig(name="big", data=DatasetConfig(source="big.jsonl"), templates="big")
    >>> task_rate(MixtureConfig(training=(task,)), rows=3_600_000, num_templates=9)
    55555
    """
    if config.rule == "weights":
        return weight / num_templates
    if config.rule == "xp3":
        return min(rows, config.cap or XP3_CAP)
    cap = config.cap or T0_CAP
    if config.rule == "temperature":
        return min(rows, cap) ** (1 / config.temperature) / num_templates
    return rows if rows <= cap else cap // num_templates


def draw_tasks(rates: Sequence[float], window: int, size: int, seed: int) -> np.ndarray:
    """The tasks of one window of `size` draws, each with probability rate / sum of rates.

    Raises:
        ConfigError: the rates sum to 0.
    """
    total = sum(rates)
    if not total > 0:
        raise ConfigError(
            f"the mixture's weights sum to {total:g}", do="give at least one task a share above 0"
        )
    bounds = np.cumsum(np.asarray(rates, dtype=np.float64)) / total
    # Rounding must not leave a gap above the last task that has a share.
    bounds[bounds == bounds[-1]] = 1.0
    generator = np.random.Generator(np.random.Philox(key=seed & _MASK, counter=[0, window, 0, 0]))
    # A task of rate 0 has an empty interval, which `right` never returns.
    return np.searchsorted(bounds, generator.random(size), side="right")


def permuted(index: int, size: int, key: int) -> int:
    """Where a keyed permutation of range(size) sends `index`: four Feistel rounds, walked into the range.

    >>> sorted(permuted(index, 10, key=7) for index in range(10)) == list(range(10))
    True
    """
    half = max(1, ((size - 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    while True:
        left, right = index >> half, index & mask
        for turn in range(4):
            left, right = right, left ^ (_mixed(right + key + turn * 0x9E3779B97F4A7C15) & mask)
        index = (left << half) | right
        if index < size:
            return index


def _mixed(value: int) -> int:
    """The finalizer of splitmix64."""
    value &= _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


def keyed(*parts: object) -> int:
    """A 64-bit key of a few words."""
    return int.from_bytes(hashlib.blake2b(":".join(map(str, parts)).encode(), digest_size=8).digest(), "big")


class RowOrder:
    """One epoch's order of rows: blocks are shuffled, and rows within each group of blocks.

    A file without blocks (one block) gets a full permutation. Uses O(blocks) memory, never O(rows).
    """

    def __init__(self, blocks: Sequence[tuple[int, int]], key: int):
        self.key = key
        order = [blocks[permuted(index, len(blocks), key)] for index in range(len(blocks))]
        self._groups = [order[start : start + BLOCKS_MIXED] for start in range(0, len(order), BLOCKS_MIXED)]
        sizes = [sum(stop - start for start, stop in group) for group in self._groups]
        self._starts = [0, *accumulate(sizes)]

    def __len__(self) -> int:
        return self._starts[-1]

    def row(self, position: int) -> int:
        """The row at a position of the epoch."""
        number = bisect.bisect_right(self._starts, position) - 1
        size = self._starts[number + 1] - self._starts[number]
        offset = permuted(position - self._starts[number], size, self.key + number + 1)
        for start, stop in self._groups[number]:
            if offset < stop - start:
                return start + offset
            offset -= stop - start
        raise IndexError(position)
