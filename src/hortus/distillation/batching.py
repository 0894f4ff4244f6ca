"""Batches of texts whose lengths fall into the same bucket (the published code's are 4 tokens wide)."""

from __future__ import annotations

import numpy as np

from hortus.objectives.examples import Examples

__all__ = ["BucketedExamples"]


class BucketedExamples(Examples):
    """Examples in batches of one bucket each; what is left over of all buckets is batched by length.

    Args:
        examples: the rows, their padding and seed.
        width: tokens of a bucket.
        batch_size: rows of a batch, which the batches are cut for.

    >>> rows = [{"x": [0] * length} for length in (2, 9, 3, 8)]
    >>> data = BucketedExamples(Examples(rows, {"x": 0}, batch_size=2), width=4, batch_size=2)
    >>> sorted(batch["x"].shape[1] for batch in data)
    [3, 9]
    """

    def __init__(self, examples: Examples, width: int, batch_size: int):
        super().__init__(
            examples._rows, examples._padding, batch_size=batch_size, shuffle=True, seed=examples._seed
        )
        self._width = width
        first = next(iter(examples._padding))
        self._lengths = np.array([len(row[first]) for row in examples._rows])

    @property
    def rows(self) -> list[list[int]]:
        """Token ids of every text."""
        return [row["input_ids"] for row in self._rows]

    def _order(self) -> np.ndarray:
        """Whole batches in random order, then the one that is not full."""
        random = np.random.default_rng([self._seed, self._epoch])
        shuffled = random.permutation(len(self._rows))
        buckets = (self._lengths[shuffled] - 1) // self._width
        blocks, rest = [], []
        for bucket in np.unique(buckets):
            mine = shuffled[buckets == bucket]
            whole = len(mine) // self._block * self._block
            blocks += list(mine[:whole].reshape(-1, self._block))
            rest.append(mine[whole:])
        left = np.concatenate(rest)
        whole = len(left) // self._block * self._block
        blocks += list(left[:whole].reshape(-1, self._block))
        order = [blocks[index] for index in random.permutation(len(blocks))]
        return np.concatenate([*order, left[whole:]])
