"""T5's decoding step for the compiled kernels: the same sums as `hortus.models.t5.network`.

Sources are encoded by the network's modules. A step reads the decoder's weights, the target's keys and values
and those of the source, of which each row sees as many as its source is long.

Legend: B rows, S source tokens, P capacity, n heads, d head width, V vocabulary.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from hortus.models.decoder.compiler import load_kernels
from hortus.models.decoder.program import ACTIVATIONS, Step
from hortus.models.decoder.session import MOST_ROWS, check_tokens, fits_kernels
from hortus.models.t5.cache import T5Cache
from hortus.models.t5.network import T5
from hortus.models.t5.session import T5Session

__all__ = ["CompiledT5Session", "describe_step", "open_session"]


def describe_step(network: T5, step: Step, cache: T5Cache, ends: Tensor) -> Tensor:
    """Append the operations of one step; return the buffer (B, V) that will hold the logits.

    Args:
        ends: (B,) the number of tokens of each source.
    """
    config = network.config
    epsilon, shape = config.layer_norm_epsilon, (-1, config.num_heads, config.head_size)
    biases = cache.bias[0, :, -1].flip(-1)  # (n, P): those of the last position, nearest key first
    distances = F.pad(biases, (0, step.capacity - biases.size(1)))
    states = step.embed(network.embedding)
    blocks: Any = network.decoder.blocks
    for layer, block in enumerate(blocks):
        attention, normed = block.attention, step.norm(states, block.attention_norm, epsilon)
        projections = (attention.query, attention.key, attention.value)
        query, key, value = (step.linear(normed, projection).view(shape) for projection in projections)
        attended = step.attend(query, key, value, layer, scaling=1.0, distances=distances)
        states = step.linear(attended, attention.output, residual=states)
        query = step.linear(step.norm(states, block.cross_norm, epsilon), block.cross_attention.query)
        attended = step.attend_to(query.view(shape), *cache.sources[layer], ends, 1.0)
        states = step.linear(attended, block.cross_attention.output, residual=states)
        states = _feed_forward(network, step, block, states)
    scale = config.hidden_size**-0.5 if config.scale_decoder_outputs else 1.0
    final = SimpleNamespace(weight=network.decoder.final_norm.weight * scale)
    return step.linear(step.norm(states, final, epsilon), SimpleNamespace(weight=network.head_weight))


def _feed_forward(network: T5, step: Step, block: Any, states: Tensor) -> Tensor:
    layer, config = block.feed_forward, network.config
    normed = step.norm(states, block.feed_forward_norm, config.layer_norm_epsilon)
    if config.gated:
        straight = step.linear(normed, layer.linear)
        inner = step.linear(normed, layer.gate, activation=config.activation, factor=straight)
    else:
        inner = step.linear(normed, layer.expand, activation=config.activation)
    return step.linear(inner, layer.contract, residual=states)


class CompiledT5Session(T5Session):
    """Takes its steps through the compiled kernels (CPU, fp32); sources may be padded on the right."""

    def __init__(self, network: T5, input_ids: Tensor, attention_mask: Tensor | None, capacity: int):
        super().__init__(network, input_ids, attention_mask, capacity)
        full = torch.full((input_ids.size(0),), input_ids.size(1))
        self._ends = full if attention_mask is None else (attention_mask != 0).sum(1)
        self._step: tuple[Step, Tensor] | None = None

    @torch.inference_mode()
    def step(self, tokens: Tensor) -> Tensor:
        """(B,) tokens -> (B, V) logits, in a buffer that the next step writes over."""
        own = self.cache.own
        own.check_room(1)
        check_tokens(tokens, self.network.config.vocab_size)
        if self._step is None:
            capacity = max(own.capacity, self.cache.sources[0][0].size(2))
            step = Step(_kernels(), own.keys, own.values, own.batch, capacity)
            self._step = step, describe_step(self.network, step, self.cache, self._ends)
        step, logits = self._step
        positions, first = torch.full((own.batch,), own.length), torch.zeros(own.batch, dtype=torch.long)
        blocks = torch.arange(own.batch)[:, None]  # the static cache is one long block a row
        step.run(tokens.to(torch.long).contiguous(), positions, first, blocks)
        own.advance()
        return logits

    def select(self, rows: Tensor) -> None:
        """Go on with the given rows only."""
        super().select(rows)
        self._ends, self._step = self._ends.index_select(0, rows), None


def open_session(network: T5, input_ids: Tensor, attention_mask: Tensor | None, capacity: int) -> T5Session:
    """The fastest session for this network on its device; arguments as for `T5Session`.

    >>> from hortus.models.t5 import T5Config
    >>> network = T5(T5Config(vocab_size=32, hidden_size=16, inner_size=32, num_layers=1, num_heads=2)).eval()
    >>> session = open_session(network, torch.tensor([[5, 6, 7]]), None, capacity=4)
    >>> session.step(torch.tensor([0])).shape, session.length
    (torch.Size([1, 32]), 1)
    """
    fits = (
        input_ids.size(0) <= MOST_ROWS and network.config.activation in ACTIVATIONS and fits_kernels(network)
    )
    if attention_mask is not None:
        real = attention_mask != 0
        fits = fits and bool(real[:, 0].all()) and not bool((real[:, 1:] & ~real[:, :-1]).any())
    kind = CompiledT5Session if fits and load_kernels() is not None else T5Session
    return kind(network, input_ids, attention_mask, capacity)


def _kernels() -> Any:
    kernels = load_kernels()
    assert kernels is not None  # `open_session` has looked
    return kernels
