"""A decoding step as a list of operations for the compiled kernels.

A family describes its step once, in the vocabulary of `Step`; the list holds addresses of the network's own
weights, of the cache and of a few buffers, and serves any number of rows up to the one it was made for.

Legend: B rows, D width, V vocabulary, n heads, d head width, L layers, N blocks of P positions each.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

__all__ = ["ACTIVATIONS", "Step"]

_EMBED, _NORM, _LINEAR, _STORE, _ATTEND = range(5)
_TYPES = {torch.float32: 0, torch.bfloat16: 1, torch.int8: 2}
# What a product may be followed by; "gelu_new" is the tanh form.
ACTIVATIONS = {None: 0, "gelu_new": 1, "gelu_pytorch_tanh": 1, "relu": 2}


class _Operation(ctypes.Structure):
    """The struct of kernels.c."""

    _fields_ = (
        [(name, ctypes.c_int64) for name in ("kind", "in_", "out", "activation", "heads", "block")]
        + [(name, ctypes.c_int64) for name in ("capacity", "type", "scored", "stride")]
        + [(name, ctypes.c_void_p) for name in ("input", "weight", "scale", "bias", "residual", "factor")]
        + [(name, ctypes.c_void_p) for name in ("output", "keys", "values", "scratch")]
        + [(name, ctypes.c_void_p) for name in ("key", "value", "slopes", "distances", "ends")]
        + [(name, ctypes.c_double) for name in ("epsilon", "scaling")]
    )


class _Batch(ctypes.Structure):
    """The struct of kernels.c."""

    _fields_ = (
        [(name, ctypes.c_int64) for name in ("rows", "scored", "width")]
        + [(name, ctypes.c_void_p) for name in ("tokens", "positions", "first", "tables", "wide")]
        + [("stride", ctypes.c_int64)]
    )


class Step:
    """Collects the operations of one step, then runs them for up to `rows` rows.

    Each method appends an operation and returns its output buffer; tensors are contiguous, on the CPU and
    fp32 but for weights, which may be bf16, or int8 with a scale.

    Args:
        kernels: from `load_kernels`.
        keys: (L, N, n, P, d) what `attend` extends; a static cache is one block a row.
        values: of the same shape.
        rows: the most rows of a run.
        capacity: the most positions of a row.
    """

    def __init__(self, kernels: ctypes.CDLL, keys: Tensor, values: Tensor, rows: int, capacity: int):
        self._kernels, self._keys, self._values = kernels, keys, values
        self._rows, self.capacity = rows, capacity
        self._operations: list[_Operation] = []
        self._kept: list[Tensor] = []  # whatever an address points into must live as long as the list
        self._scratch = torch.empty(torch.get_num_threads(), capacity)
        self._wide = torch.empty(0)  # a thread's: four weight rows as fp32, or the inputs as int16
        self._ready: ctypes.Array[_Operation] | None = None

    def embed(self, module: Any) -> Tensor:
        """An embedding (V, D) -> (B, D): the rows of the step's tokens."""
        return self._append(_EMBED, module.weight.size(0), out=module.weight.size(1), **_weights(module))

    def norm(self, states: Tensor, module: Any, epsilon: float, *, scored: bool = False) -> Tensor:
        """(B, D) -> (B, D): layer norm, or RMS norm where the module has no bias."""
        return self._append(
            _NORM,
            states.size(1),
            out=states.size(1),
            scored=scored,
            input=states,
            epsilon=epsilon,
            **_weights(module),
        )

    def linear(
        self,
        states: Tensor,
        module: Any,
        *,
        activation: str | None = None,
        residual: Tensor | None = None,
        factor: Tensor | None = None,
        scored: bool = False,
    ) -> Tensor:
        """(B, K) -> (B, O): activation(states·weightᵀ + bias + residual) ⊙ factor.

        Args:
            module: holds `weight` (O, K), perhaps `bias`, and `scale` (O,) if the weight is int8.
            activation: one of `ACTIVATIONS`.
            scored: only for the rows whose logits are wanted.
        """
        return self._append(
            _LINEAR,
            module.weight.size(1),
            out=module.weight.size(0),
            activation=ACTIVATIONS[activation],
            scored=scored,
            input=states,
            residual=residual,
            factor=factor,
            **_weights(module),
        )

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        layer: int,
        *,
        scaling: float,
        slopes: Tensor | None = None,
        distances: Tensor | None = None,
    ) -> Tensor:
        """(B, n, d) queries, keys and values of the new positions, perhaps views of one buffer -> (B, n·d).

        Args:
            scaling: of the scores.
            slopes: (n,) of ALiBi.
            distances: (n, capacity), a bias for each distance from the new position back.
        """
        shape: dict[str, Any] = {"stride": query.stride(1), "key": key, "value": value}
        pool = (self._keys[layer], self._values[layer])
        # Rows may be neighbours in one text: all must be stored before any looks.
        self._attention(_STORE, pool, **shape)
        biases = {"slopes": slopes, "distances": distances}
        return self._attention(_ATTEND, pool, input=query, scaling=scaling, **shape, **biases)

    def attend_to(self, query: Tensor, keys: Tensor, values: Tensor, ends: Tensor, scaling: float) -> Tensor:
        """As `attend`, to keys and values (B, n, S, d) that were there before: the first (B,) `ends` of S."""
        shape = {"stride": query.stride(1), "scaling": scaling, "ends": ends}
        return self._attention(_ATTEND, (keys, values), input=query, **shape)

    def _attention(self, kind: int, pool: tuple[Tensor, Tensor], **values: Any) -> Tensor:
        _, heads, block, width = pool[0].shape
        return self._append(
            kind,
            width,
            out=heads * width,
            heads=heads,
            block=block,
            capacity=self.capacity,
            keys=pool[0],
            values=pool[1],
            scratch=self._scratch,
            **values,
        )

    def run(
        self, tokens: Tensor, positions: Tensor, first: Tensor, tables: Tensor, scored: int | None = None
    ) -> None:
        """Run all operations; the last one's buffer then holds the result.

        Args:
            tokens: (B,) int64, as all of these; ids are not checked here.
            positions: (B,) the position of each token.
            first: (B,) the first position that the row sees.
            tables: (B, W) the blocks of each row's positions, in order.
            scored: the number of rows, from the first on, whose logits are wanted; None is all.
        """
        if self._ready is None:
            self._ready = (_Operation * len(self._operations))(*self._operations)
            longest = max(operation.in_ for operation in self._operations)
            self._wide = torch.empty(self._scratch.size(0), max(4, -(-self._rows // 2)) * longest)
        rows = tokens.size(0)
        batch = _Batch(rows=rows, scored=rows if scored is None else scored, width=tables.size(1))
        batch.tokens, batch.positions = tokens.data_ptr(), positions.data_ptr()
        batch.first, batch.tables = first.data_ptr(), tables.data_ptr()
        batch.wide, batch.stride = self._wide.data_ptr(), self._wide.size(1)
        count, team = ctypes.c_int64(len(self._operations)), ctypes.c_int64(self._scratch.size(0))
        self._kernels.hortus_step(self._ready, count, ctypes.byref(batch), team)

    def _append(self, kind: int, in_: int, *, out: int, **values: Any) -> Tensor:
        output = torch.empty(0) if kind == _STORE else torch.empty(self._rows, out)
        operation = _Operation(kind=kind, in_=in_, out=out)
        for name, value in {**values, "output": output}.items():
            if isinstance(value, Tensor):
                self._kept.append(value)
                value = value.data_ptr()
            setattr(operation, name, value)
        self._operations.append(operation)
        return output


def _weights(module: Any) -> dict[str, Any]:
    names = ("weight", "scale", "bias")
    return {name: getattr(module, name, None) for name in names} | {"type": _TYPES[module.weight.dtype]}
