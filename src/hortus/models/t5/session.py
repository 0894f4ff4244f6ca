"""A batch of sources being answered: encoded once, then one target token a row and step.

Legend: B rows, S source tokens, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hortus.models.t5.network import T5

__all__ = ["T5Session"]


class T5Session:
    """Target tokens of each source, step by step over a static cache.

    Args:
        network: in evaluation mode.
        input_ids: (B, S).
        attention_mask: (B, S), 0 at padding; None without any.
        capacity: target tokens there is room for, the start token included.

    >>> from hortus.models.t5 import T5Config
    >>> network = T5(T5Config(vocab_size=32, hidden_size=16, inner_size=32, num_layers=1, num_heads=2)).eval()
    >>> session = T5Session(network, torch.tensor([[5, 6, 7]]), None, capacity=4)
    >>> session.step(torch.tensor([0])).shape, session.length
    (torch.Size([1, 32]), 1)
    """

    @torch.inference_mode()
    def __init__(self, network: T5, input_ids: Tensor, attention_mask: Tensor | None, capacity: int):
        self.network = network
        encoded = network.encode(input_ids, attention_mask)
        self.cache = network.open_cache(encoded, attention_mask, capacity=capacity)

    @property
    def length(self) -> int:
        """Target tokens held so far."""
        return self.cache.length

    @torch.inference_mode()
    def step(self, tokens: Tensor) -> Tensor:
        """Run one token a row, (B,) -> (B, V) logits of the next one."""
        return self.network.head(self.network.decode(tokens[:, None], cache=self.cache)[:, -1])

    @torch.inference_mode()
    def select(self, rows: Tensor) -> None:
        """Go on with the given rows only."""
        self.cache = self.cache.select(rows)
