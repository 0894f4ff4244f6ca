"""A batch of texts being decoded: one pass over the prompts, then one token a row and step.

Legend: B rows, T new tokens, S positions so far, V vocabulary.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from hortus.models.layers.cache import StaticCache

__all__ = ["Decoder", "open_decoder"]


class Decoder:
    """Runs a network over a static cache with the network's own modules.

    Args:
        network: has `.hidden(input_ids, attention_mask=, cache=)`, `.head` and `.config` with `num_layers`,
            `num_heads` and `head_size`.
        batch: number of rows.
        capacity: positions there is room for, prompt and new tokens together.

    >>> from hortus.models.bloom import Bloom, BloomConfig
    >>> network = Bloom(BloomConfig(vocab_size=32, hidden_size=16, num_layers=2, num_heads=4)).eval()
    >>> decoder = Decoder(network, batch=1, capacity=8)
    >>> logits = decoder.prefill(torch.tensor([[5, 6, 7]]))
    >>> decoder.step(logits.argmax(-1)).shape, decoder.length
    (torch.Size([1, 32]), 4)
    """

    def __init__(self, network: nn.Module, batch: int, capacity: int):
        self.network = network
        config, weight = network.config, next(network.parameters())
        self.cache = StaticCache(
            num_layers=config.num_layers,
            batch=batch,
            num_heads=config.num_heads,
            capacity=capacity,
            head_size=config.head_size,
            dtype=weight.dtype,
            device=weight.device,
        )
        # (B, S): nonzero at real tokens; None while no row is padded, which spares the work of a mask.
        self._mask: Tensor | None = None

    @property
    def length(self) -> int:
        """Positions held so far, padding included."""
        return self.cache.length

    @property
    def batch(self) -> int:
        """Number of rows."""
        return self.cache.batch

    @torch.inference_mode()
    def prefill(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Run (B, T) further tokens; the first call's may be padded on the left, (B, T) 0 at padding.

        Returns:
            (B, V) logits after the last token.
        """
        return self.network.head(self.hidden(input_ids, attention_mask)[:, -1])

    @torch.inference_mode()
    def hidden(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """As `prefill`, but (B, T, D) states of all T tokens."""
        if attention_mask is not None and bool((attention_mask == 0).any()):
            self._mask = torch.ones(
                self.batch, self.cache.capacity, dtype=torch.long, device=input_ids.device
            )
            self._mask[:, self.length : self.length + input_ids.size(1)] = attention_mask
        mask = None if self._mask is None else self._mask[:, : self.length + input_ids.size(1)]
        return self.network.hidden(input_ids, attention_mask=mask, cache=self.cache)

    @torch.inference_mode()
    def step(self, tokens: Tensor) -> Tensor:
        """Run one token a row, (B,).

        Returns:
            (B, V) logits of the next token.
        """
        return self.prefill(tokens[:, None])

    def select(self, rows: Tensor) -> None:
        """Go on with the given rows only, each as often as it is named."""
        self.cache = self.cache.select(rows)
        self._mask = None if self._mask is None else self._mask.index_select(0, rows)

    def branch(self, rows: Tensor) -> Decoder:
        """A new decoder that goes on from the given rows, each as often as it is named; this one stays."""
        other = copy.copy(self)
        other.select(rows)
        return other


def open_decoder(network: nn.Module, batch: int, capacity: int) -> Decoder:
    """The fastest decoder for this network on its device.

    Args:
        batch: number of rows.
        capacity: positions there is room for, prompt and new tokens together.
    """
    return Decoder(network, batch, capacity)
