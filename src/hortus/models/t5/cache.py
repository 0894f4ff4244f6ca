"""What decoding by T5 keeps between steps.

Legend: B sources, R rows of the decoder, S source tokens, P capacity, n heads, d head width.
"""

from __future__ import annotations

from torch import Tensor

from hortus.models.layers.cache import StaticCache

__all__ = ["T5Cache"]


class T5Cache:
    """Keys and values of the source, of the target so far, and the biases of every step to come.

    Args:
        sources: for each layer the cross attention's keys and values, (B, n, S, d).
        source_bias: (B, 1, 1, S) hiding the source's padding; None without any.
        bias: (1, n, P, P) of the decoder's own attention.
        num_rows: R, a multiple of B.
    """

    def __init__(
        self,
        sources: list[tuple[Tensor, Tensor]],
        source_bias: Tensor | None,
        bias: Tensor,
        num_rows: int,
    ):
        key = sources[0][0]
        self.sources, self.source_bias, self.bias = sources, source_bias, bias
        self.own = StaticCache(
            num_layers=len(sources),
            batch=num_rows,
            num_heads=key.size(1),
            capacity=bias.size(-1),
            head_size=key.size(-1),
            dtype=key.dtype,
            device=key.device,
        )

    @property
    def length(self) -> int:
        """Target tokens held."""
        return self.own.length

    def rows_of_bias(self, length: int) -> Tensor:
        """(1, n, T, past + T) for the next T tokens.

        Raises:
            DataError: there is no room for them.
        """
        self.own.check_room(length)
        end = self.length + length
        return self.bias[:, :, self.length : end, :end]

    def select(self, rows: Tensor) -> T5Cache:
        """A new cache of the given rows, where each source has one row."""
        chosen = T5Cache.__new__(T5Cache)
        chosen.own, chosen.bias = self.own.select(rows), self.bias
        chosen.sources = [
            (key.index_select(0, rows), value.index_select(0, rows)) for key, value in self.sources
        ]
        chosen.source_bias = None if self.source_bias is None else self.source_bias.index_select(0, rows)
        return chosen
