"""A decoding step as a list of operations for the compiled kernels.

A family describes its step once, in the vocabulary of `Step`; the list holds addresses of the network's own
weights, of the cache and of a few buffers, and serves any number of rows up to the one it was made for.

Legend: B rows, D width, V vocabulary, n heads, d head width, L layers, N blocks of P positions each.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Step"]

_EMBED, _NORM, _LINEAR, _STORE, _ATTEND = range(5)
_TYPES = {torch.float32: 0, torch.bfloat16: 1, torch.int8: 2}


class _Operation(ctypes.Structure):
    """The struct of kernels.c."""

    _fields_ = (
        [(name, ctypes.c_int64) for name in ("kind", "in_", "out", "gelu", "heads", "block")]
        + [(name, ctypes.c_int64) for name in ("capacity", "type", "scored")]
        + [(name, ctypes.c_void_p) for name in ("input", "weight", "scale", "bias", "residual")]
        + [(name, ctypes.c_void_p) for name in ("output", "keys", "values", "scratch", "slopes")]
        + [("epsilon", ctypes.c_double)]
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
        self._rows = rows
        self._operations: list[_Operation] = []
        self._kept: list[Tensor] = []  # whatever an address points into must live as long as the list
        self._scratch = torch.empty(torch.get_num_threads(), capacity)
        self._wide = torch.empty(0)  # a thread's: four weight rows as fp32, or the inputs as int16
        self._ready: ctypes.Array[_Operation] | None = None

    def embed(self, module: Any) -> Tensor:
        """An embedding (V, D) -> (B, D): the rows of the step's tokens."""
        return self._append(_EMBED, module.weight.size(0), out=module.weight.size(1), **_weights(module))

    def norm(self, states: Tensor, module: nn.LayerNorm, *, scored: bool = False) -> Tensor:
        """(B, D) -> (B, D)."""
        return self._append(
            _NORM,
            states.size(1),
            out=states.size(1),
            scored=scored,
            input=states,
            epsilon=module.eps,
            **_weights(module),
        )

    def linear(
        self,
        states: Tensor,
        module: Any,
        *,
        gelu: bool = False,
        residual: Tensor | None = None,
        scored: bool = False,
    ) -> Tensor:
        """(B, K) -> (B, O): states·weightᵀ + bias + residual, then GELU (tanh form) if asked.

        Args:
            module: holds `weight` (O, K), perhaps `bias`, and `scale` (O,) if the weight is int8.
            scored: only for the rows whose logits are wanted.
        """
        return self._append(
            _LINEAR,
            module.weight.size(1),
            out=module.weight.size(0),
            gelu=gelu,
            scored=scored,
            input=states,
            residual=residual,
            **_weights(module),
        )

    def attend(self, fused: Tensor, layer: int, slopes: Tensor) -> Tensor:
        """(B, n·3·d) query, key and value by head -> (B, n·d); ALiBi slopes (n,)."""
        _, _, heads, block, width = self._keys.shape
        shape: dict[str, Any] = {
            "out": heads * width,
            "heads": heads,
            "block": block,
            "capacity": self._scratch.size(1),
            "input": fused,
            "keys": self._keys[layer],
            "values": self._values[layer],
            "slopes": slopes,
            "scratch": self._scratch,
        }
        # Rows may be neighbours in one text: all must be stored before any looks.
        self._append(_STORE, width, **shape)
        return self._append(_ATTEND, width, **shape)

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

    def _append(self, kind: int, in_: int, *, out: int, epsilon: float = 0.0, **values: Any) -> Tensor:
        output = torch.empty(0) if kind == _STORE else torch.empty(self._rows, out)
        operation = _Operation(kind=kind, in_=in_, out=out, epsilon=epsilon)
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
