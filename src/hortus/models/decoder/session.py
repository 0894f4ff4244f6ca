"""A batch of texts being decoded: one pass over the prompts, then one token a row and step.

Legend: B rows, T new tokens, S positions so far, V vocabulary.
"""

from __future__ import annotations

import copy
import ctypes
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from hortus.errors import DataError
from hortus.models.decoder.compiler import load_kernels
from hortus.models.decoder.program import Step
from hortus.models.layers.cache import StaticCache
from hortus.registry import resolve

__all__ = [
    "COMPILED",
    "MOST_ROWS",
    "CompiledDecoder",
    "Decoder",
    "check_tokens",
    "compiled_step",
    "fits_kernels",
    "open_decoder",
]

# model_type -> the function that describes a step of such a network to the compiled kernels.
COMPILED: dict[str, str] = {"bloom": "hortus.models.decoder.bloom:describe_step"}
# Above this many rows PyTorch's kernels are the faster ones.
MOST_ROWS = 64


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

    def __init__(self, network: Any, batch: int, capacity: int):
        self.network = network
        config, weight = network.config, next(network.parameters())
        self.cache = StaticCache(
            num_layers=config.num_layers,
            batch=batch,
            num_heads=getattr(config, "kv_heads", config.num_heads),
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
        """As `prefill`, but (B, T, D) states of all T tokens.

        Raises:
            DataError: there is no room for T more positions.
        """
        self.cache.check_room(input_ids.size(1))
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
            (B, V) logits of the next token, good until the next step.
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


class CompiledDecoder(Decoder):
    """Runs prompts through the network's modules and steps through the compiled kernels (CPU, fp32)."""

    def __init__(
        self,
        network: Any,
        batch: int,
        capacity: int,
        kernels: ctypes.CDLL,
        describe: Callable[[Any, Step], Tensor],
    ):
        super().__init__(network, batch, capacity)
        self._kernels, self._describe = kernels, describe
        self._step: tuple[Step, Tensor, Tensor] | None = None

    @torch.inference_mode()
    def step(self, tokens: Tensor) -> Tensor:
        """(B,) tokens -> (B, V) logits, in a buffer that the next step writes over."""
        if self.batch > MOST_ROWS or self.length == self.cache.capacity:
            return super().step(tokens)
        if self._step is None:
            keys, values = self.cache.keys, self.cache.values
            step = Step(self._kernels, keys, values, self.batch, self.cache.capacity)
            self._step = step, self._describe(self.network, step), self._first_positions()
        step, output, first = self._step
        check_tokens(tokens, self.network.config.vocab_size)
        positions = torch.full((self.batch,), self.length)
        blocks = torch.arange(self.batch)[:, None]  # the static cache is one long block a row
        step.run(tokens.to(torch.long).contiguous(), positions, first, blocks)
        self.cache.advance()
        return output

    def select(self, rows: Tensor) -> None:
        """Go on with the given rows only, each as often as it is named."""
        super().select(rows)
        self._step = None

    def _first_positions(self) -> Tensor:
        if self._mask is None:
            return torch.zeros(self.batch, dtype=torch.long)
        return self._mask.argmax(1)


def check_tokens(tokens: Tensor, vocab_size: int) -> None:
    """Refuse ids outside the vocabulary: in a kernel they would read foreign memory.

    Raises:
        DataError: there is one.
    """
    if bool(((tokens < 0) | (tokens >= vocab_size)).any()):
        raise DataError(f"tokens {tokens.tolist()}", allowed=f"0 to {vocab_size - 1}")


def open_decoder(network: Any, batch: int, capacity: int) -> Decoder:
    """The fastest decoder for this network on its device.

    Args:
        batch: number of rows.
        capacity: positions there is room for, prompt and new tokens together.
    """
    compiled = compiled_step(network)
    return (
        Decoder(network, batch, capacity)
        if compiled is None
        else CompiledDecoder(network, batch, capacity, *compiled)
    )


def compiled_step(network: Any) -> tuple[ctypes.CDLL, Callable[[Any, Step], Tensor]] | None:
    """The kernels and the description of this network's step for them, or None if they do not fit it."""
    description = COMPILED.get(getattr(network, "model_type", ""))
    kernels = load_kernels() if description is not None and fits_kernels(network) else None
    return None if kernels is None else (kernels, resolve(str(description)))


def fits_kernels(network: Any) -> bool:
    """Whether all weights are where and what the kernels read: on the CPU, fp32, contiguous."""
    return all(
        weight.device.type == "cpu" and weight.dtype == torch.float32 and weight.is_contiguous()
        for weight in network.parameters()
    )
