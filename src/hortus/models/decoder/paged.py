"""Decoding texts that come and go: keys and values in blocks, rows at positions of their own.

What differs from `session`: there is no batch that starts and ends together. A row is any token of any text,
given with its position and the table of blocks that hold the text; prompts and single steps of other texts
share one run of the compiled kernels. Who owns which block is the caller's business.

Legend: B rows, T tokens of one text, S positions so far, V vocabulary, D width, n heads, d head width,
L layers, N blocks of P positions each, W blocks of a table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hortus.errors import DataError
from hortus.models.decoder.program import Step
from hortus.models.decoder.session import check_tokens, compiled_step

__all__ = ["MOST_ROWS", "PagedDecoder", "PagedRow"]

MOST_ROWS = 64  # of one run of the compiled kernels; above, PyTorch's are the faster ones


@dataclass(frozen=True)
class PagedRow:
    """One token: its id, its position in its text, and the blocks of that text's positions in order."""

    token: int
    position: int
    table: Sequence[int]


class PagedDecoder:
    """Runs rows of many texts over one pool of cache blocks.

    Args:
        network: as `hortus.models.decoder.Decoder` takes it.
        num_blocks: blocks in the pool.
        block_size: positions of a block.

    >>> from hortus.models.bloom import Bloom, BloomConfig
    >>> network = Bloom(BloomConfig(vocab_size=32, hidden_size=16, num_layers=2, num_heads=4)).eval()
    >>> decoder = PagedDecoder(network, num_blocks=4, block_size=4)
    >>> hidden = decoder.extend([5, 6, 7], start=0, table=[3])
    >>> decoder.run([PagedRow(8, 3, [3]), PagedRow(5, 0, [1])]).shape
    torch.Size([2, 32])
    """

    def __init__(self, network: Any, num_blocks: int, block_size: int):
        self.network, self.block_size, self.num_blocks = network, block_size, num_blocks
        config, weight = network.config, next(network.parameters())
        shape = (config.num_layers, num_blocks, config.num_heads, block_size, config.head_size)
        # Zeros, not garbage: a kernel may multiply a hidden position by a weight of zero, and 0·inf is NaN.
        self.keys = torch.zeros(shape, dtype=weight.dtype, device=weight.device)
        self.values = torch.zeros(shape, dtype=weight.dtype, device=weight.device)
        self._compiled = compiled_step(network)
        self._step: tuple[Step, Tensor] | None = None

    @property
    def compiled(self) -> bool:
        """Whether tokens of one text may be rows of one run, beside those of others."""
        return self._compiled is not None

    @property
    def capacity(self) -> int:
        """The most positions of a text."""
        return self.num_blocks * self.block_size

    @torch.inference_mode()
    def extend(self, tokens: Sequence[int], start: int, table: Sequence[int]) -> Tensor:
        """Run T further tokens of one text through the network's modules; return their (T, D) states.

        Args:
            start: position of the first of them; those before are in the blocks.

        Raises:
            DataError: the table has no room for them.
        """
        ids = torch.tensor([tokens], device=self.keys.device)
        store = _Gathered(self, [table], torch.tensor([start]), len(tokens))
        return self.network.hidden(ids, cache=store)[0]

    @torch.inference_mode()
    def run(self, rows: Sequence[PagedRow], scored: int | None = None) -> Tensor:
        """Run up to `MOST_ROWS` rows, each a token at the end of its text so far.

        Rows of one text must be neighbouring positions in ascending order, and need `compiled`.

        Args:
            scored: logits are wanted for so many rows from the first on; None is all.

        Returns:
            (scored, V) logits, good until the next call.
        """
        scored = len(rows) if scored is None else scored
        tokens = torch.tensor([row.token for row in rows])
        positions = torch.tensor([row.position for row in rows])
        check_tokens(tokens, self.network.config.vocab_size)
        if self._compiled is None:
            store = _Gathered(self, [row.table for row in rows], positions, 1)
            device = self.keys.device
            hidden = self.network.hidden(tokens[:, None].to(device), attention_mask=store.mask, cache=store)
            return self.network.head(hidden[:scored, 0])
        if self._step is None:
            kernels, describe = self._compiled
            step = Step(kernels, self.keys, self.values, MOST_ROWS, self.capacity)
            self._step = step, describe(self.network, step)
        step, logits = self._step
        step.run(tokens, positions, torch.zeros_like(positions), self._tables(rows), scored)
        return logits[:scored]

    def _tables(self, rows: Sequence[PagedRow]) -> Tensor:
        """(B, W) tables, filled up with block 0, which is then never looked at."""
        for row in rows:
            self._check_room(row.position + 1, row.table)
        width = max(len(row.table) for row in rows)
        return torch.tensor([[*row.table, *[0] * (width - len(row.table))] for row in rows])

    def _check_room(self, positions: int, table: Sequence[int]) -> None:
        if positions > len(table) * self.block_size:
            raise DataError(
                f"{positions} positions do not fit {len(table)} blocks",
                allowed=f"{len(table) * self.block_size}",
                do="give the text more blocks",
            )


class _Gathered:
    """A `KeyValueStore` over blocks: it collects the rows' keys, padded on the left to one length.

    It copies S·D numbers a layer and call, little beside the products of a prompt; single steps take this
    way only where the compiled kernels cannot run.
    """

    def __init__(self, decoder: PagedDecoder, tables: Sequence[Sequence[int]], past: Tensor, new: int):
        self._keys, self._values = decoder.keys, decoder.values
        size = decoder.block_size
        ends = past + new
        for table, end in zip(tables, ends.tolist(), strict=True):
            decoder._check_room(end, table)
        longest = int(ends.max())
        places = torch.arange(longest)[None] - (longest - ends)[:, None]  # (B, S), negative at padding
        visible = places >= 0
        places = places.clamp_min(0)
        wide = torch.zeros(len(tables), -(-longest // size), dtype=torch.long)
        for row, table in enumerate(tables):
            used = list(table)[: wide.size(1)]
            wide[row, : len(used)] = torch.tensor(used)
        device = self._keys.device
        self._blocks = wide.gather(1, places // size).to(device)
        self._offsets = (places % size).to(device)
        self._new = new
        self.length = longest - new
        self.mask = None if bool(visible.all()) else visible.long().to(device)

    def update(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Put (B, n, T, d) keys and values into their blocks; return (B, n, S, d) of all positions."""
        gathered = []
        for pool, new in ((self._keys[layer], key), (self._values[layer], value)):
            pool[self._blocks[:, -self._new :], :, self._offsets[:, -self._new :]] = new.transpose(1, 2)
            gathered.append(pool[self._blocks, :, self._offsets].transpose(1, 2))
        return gathered[0], gathered[1]
