"""Who owns which cache block: counting, sharing of equal beginnings, eviction.

A block is free, held by one or more texts, or *remembered*: held by none, but its content is known and a
later text that begins alike takes it again. Remembered blocks count as available; the one that was left
alone longest is given away first. Only full blocks are shared, so nobody writes into a shared one.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

__all__ = ["BlockPool", "block_keys"]


def block_keys(tokens: Sequence[int], block_size: int, start: int = 0, before: bytes = b"") -> list[bytes]:
    """One key a full block from block number `start` on, each decided by all tokens up to the block's end.

    Args:
        before: the key of the block before `start`.

    >>> block_keys([1, 2, 3, 4, 5], 2)[1] == block_keys([1, 2, 3, 4], 2, 1, block_keys([1, 2], 2)[0])[0]
    True
    """
    keys = []
    for number in range(start, len(tokens) // block_size):
        block = np.asarray(tokens[number * block_size : (number + 1) * block_size], dtype=np.int64)
        before = hashlib.blake2b(before + block.tobytes(), digest_size=16).digest()
        keys.append(before)
    return keys


class BlockPool:
    """Accounts for `num_blocks` blocks.

    >>> pool = BlockPool(3)
    >>> held = pool.allocate(2)
    >>> pool.remember(held[0], b"key"); pool.release(held); pool.available, pool.match([b"key", b"other"])
    (3, [0])
    """

    def __init__(self, num_blocks: int):
        self.num_blocks = num_blocks
        self._free = list(range(num_blocks - 1, -1, -1))
        self._holders = [0] * num_blocks
        self._key_of: dict[int, bytes] = {}
        self._block_of: dict[bytes, int] = {}
        self._remembered: OrderedDict[int, None] = OrderedDict()  # held by none, oldest first

    @property
    def available(self) -> int:
        """Blocks that can be allocated now."""
        return len(self._free) + len(self._remembered)

    @property
    def held(self) -> int:
        """Blocks held by texts."""
        return self.num_blocks - self.available

    @property
    def remembered(self) -> int:
        """Blocks held by none whose content can still be taken again."""
        return len(self._remembered)

    def allocate(self, count: int) -> list[int]:
        """Hold `count` blocks whose content is forgotten.

        Raises:
            ValueError: so many are not available; look first.
        """
        if count > self.available:
            raise ValueError(f"{count} blocks of {self.available}")
        blocks = []
        for _ in range(count):
            block = self._free.pop() if self._free else self._remembered.popitem(last=False)[0]
            self._forget(block)
            self._holders[block] = 1
            blocks.append(block)
        return blocks

    def match(self, keys: Sequence[bytes]) -> list[int]:
        """Hold the blocks of the longest known beginning of `keys`."""
        blocks = []
        for key in keys:
            block = self._block_of.get(key)
            if block is None:
                break
            self._remembered.pop(block, None)
            self._holders[block] += 1
            blocks.append(block)
        return blocks

    def remember(self, block: int, key: bytes) -> None:
        """Say what a held block contains; another block known to contain the same stays the known one."""
        if key not in self._block_of and block not in self._key_of:
            self._block_of[key] = block
            self._key_of[block] = key

    def release(self, blocks: Sequence[int]) -> None:
        """Stop holding blocks; the last ones of a text are given away before its first ones."""
        for block in reversed(blocks):
            self._holders[block] -= 1
            if self._holders[block]:
                continue
            if block in self._key_of:
                self._remembered[block] = None
            else:
                self._free.append(block)

    def _forget(self, block: int) -> None:
        key = self._key_of.pop(block, None)
        if key is not None:
            del self._block_of[key]
