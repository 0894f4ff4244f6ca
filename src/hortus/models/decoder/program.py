"""A decoding step as a list of operations for the compiled kernels.

A family describes its step once, in the vocabulary of `Step`; the list holds addresses of the network's own
weights and of a few buffers, and is made anew when the rows of the batch change.

Legend: B rows, D width, V vocabulary, S capacity, n heads, d head width.
"""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor, nn

from hortus.models.layers.cache import StaticCache

__all__ = ["Step"]

_EMBED, _NORM, _LINEAR, _ATTEND = range(4)


class _Operation(ctypes.Structure):
    """The struct of kernels.c."""

    _fields_ = (
        [(name, ctypes.c_int64) for name in ("kind", "in_", "out", "gelu", "heads", "capacity")]
        + [(name, ctypes.c_void_p) for name in ("input", "weight", "bias", "residual")]
        + [(name, ctypes.c_void_p) for name in ("output", "keys", "values", "scratch", "slopes")]
        + [("epsilon", ctypes.c_double)]
    )


class Step:
    """Collects the operations of one step over B rows, then runs them.

    Each method appends an operation and returns its output buffer; tensors are fp32, contiguous, on the CPU.

    Args:
        kernels: from `load_kernels`.
        cache: what `attend` extends.
        first: (B,) int64, the first position of each row that is not padding.
    """

    def __init__(self, kernels: ctypes.CDLL, cache: StaticCache, first: Tensor):
        self._kernels, self._cache, self._first = kernels, cache, first
        self._operations: list[_Operation] = []
        self._kept: list[Tensor] = [first]  # whatever an address points into must live as long as the list
        self._scratch = torch.empty(torch.get_num_threads(), cache.capacity)
        self._ready: ctypes.Array[_Operation] | None = None

    def embed(self, weight: Tensor) -> Tensor:
        """(V, D) -> (B, D): the rows of the step's tokens."""
        return self._append(_EMBED, weight.size(0), out=weight.size(1), weight=weight)

    def norm(self, states: Tensor, module: nn.LayerNorm) -> Tensor:
        """(B, D) -> (B, D)."""
        return self._append(
            _NORM,
            states.size(1),
            out=states.size(1),
            input=states,
            weight=module.weight,
            bias=module.bias,
            epsilon=module.eps,
        )

    def linear(
        self,
        states: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        *,
        gelu: bool = False,
        residual: Tensor | None = None,
    ) -> Tensor:
        """(B, K) -> (B, O): states·weightᵀ + bias + residual, then GELU (tanh form) if asked."""
        return self._append(
            _LINEAR,
            weight.size(1),
            out=weight.size(0),
            gelu=gelu,
            input=states,
            weight=weight,
            bias=bias,
            residual=residual,
        )

    def attend(self, fused: Tensor, layer: int, slopes: Tensor) -> Tensor:
        """(B, n·3·d) query, key and value by head -> (B, n·d); ALiBi slopes (n,)."""
        _, _, heads, capacity, width = self._cache.keys.shape
        return self._append(
            _ATTEND,
            width,
            out=heads * width,
            heads=heads,
            capacity=capacity,
            input=fused,
            keys=self._cache.keys[layer],
            values=self._cache.values[layer],
            slopes=slopes,
            scratch=self._scratch,
        )

    def run(self, tokens: Tensor, output: Tensor) -> Tensor:
        """Run all operations for tokens (B,) int64 at the cache's next position; return `output`."""
        if self._ready is None:
            self._ready = (_Operation * len(self._operations))(*self._operations)
        self._kernels.hortus_step(
            self._ready,
            ctypes.c_int64(len(self._operations)),
            ctypes.c_int64(self._cache.batch),
            ctypes.c_int64(self._cache.length),
            ctypes.c_void_p(tokens.data_ptr()),
            ctypes.c_void_p(self._first.data_ptr()),
            ctypes.c_int64(self._scratch.size(0)),
        )
        self._cache.advance()
        return output

    def _append(self, kind: int, in_: int, *, out: int, epsilon: float = 0.0, **values: object) -> Tensor:
        output = torch.empty(self._cache.batch, out)
        operation = _Operation(kind=kind, in_=in_, out=out, epsilon=epsilon)
        for name, value in {**values, "output": output}.items():
            if isinstance(value, Tensor):
                self._kept.append(value)
                value = value.data_ptr()
            setattr(operation, name, value)
        self._operations.append(operation)
        return output
