"""Weights kept in fewer bits than the arithmetic: int8 with a scale an output row, or bfloat16.

One token's step is bound by reading the weights, so a quarter of the bytes is up to four times the speed.
What differs from quantised checkpoints: the stored model stays as it is, nothing is calibrated, and states,
keys and values stay fp32. int8 is symmetric rounding: scale = max|w| / 127 of the row, w ≈ scale · round(w /
scale).

Legend: K in, O out, V vocabulary, D width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hortus.errors import ConfigError, DeviceError
from hortus.models.decoder.compiler import load_kernels
from hortus.models.decoder.program import Step

__all__ = ["PACKINGS", "PackedEmbedding", "PackedLinear", "pack_network", "pack_weight"]

PACKINGS = ("int8", "bfloat16")
# Up to here a product is bound by reading weights; above, widening them once for a stock product pays.
_FEW_ROWS = 64


def pack_weight(weight: Tensor, packing: str) -> tuple[Tensor, Tensor | None]:
    """(O, K) -> the packed weight and, for int8, its (O,) fp32 scale.

    >>> pack_weight(torch.tensor([[1.0, -2.54, 0.0]]), "int8")
    (tensor([[  50, -127,    0]], dtype=torch.int8), tensor([0.0200]))
    """
    if packing == "bfloat16":
        return weight.to(torch.bfloat16).contiguous(), None
    weight = weight.float()
    scale = (weight.abs().amax(1) / 127).clamp_min(torch.finfo(torch.float32).tiny)
    return (weight / scale[:, None]).round().to(torch.int8).contiguous(), scale


class _Packed(nn.Module):
    weight: Tensor
    scale: Tensor | None

    def __init__(self, weight: Tensor, packing: str):
        super().__init__()
        packed, scale = pack_weight(weight, packing)
        self.register_buffer("weight", packed)
        self.register_buffer("scale", scale)

    def _wide(self, rows: Tensor, scale: Tensor | None, dtype: torch.dtype) -> Tensor:
        return rows.to(dtype) if scale is None else rows.to(dtype) * scale.to(dtype)[..., None]

    def _product(self, states: Tensor, bias: Tensor | None) -> Tensor:
        """(…, K) -> (…, O)."""
        flat = states.flatten(0, -2)
        if flat.size(0) <= _FEW_ROWS and states.device.type == "cpu" and states.dtype == torch.float32:
            product = self._few(flat, bias)
        else:
            product = F.linear(flat, self._wide(self.weight, self.scale, states.dtype), bias)
        return product.unflatten(0, states.shape[:-1])

    def _few(self, rows: Tensor, bias: Tensor | None) -> Tensor:
        kernels = load_kernels()
        if kernels is not None:
            none = torch.empty(1, 1, 1, 1, 1)
            step = Step(kernels, none, none, rows.size(0), 1)
            output = step.linear(rows.contiguous(), self)
            unused = torch.zeros(rows.size(0), 1, dtype=torch.long)
            step.run(unused[:, 0], unused[:, 0], unused[:, 0], unused)
            return output
        if self.scale is None:
            return F.linear(rows.to(torch.bfloat16), self.weight).float() + (0 if bias is None else bias)
        product = torch.ops.aten._weight_int8pack_mm(rows, self.weight, self.scale)
        return product if bias is None else product + bias


class PackedLinear(_Packed):
    """A linear layer whose weight is packed.

    >>> layer = nn.Linear(64, 8)
    >>> states = torch.ones(2, 64)
    >>> (PackedLinear(layer, "int8")(states) - layer(states)).abs().max() < 0.05
    tensor(True)
    """

    bias: Tensor | None

    def __init__(self, linear: nn.Linear, packing: str):
        super().__init__(linear.weight.detach(), packing)
        bias = linear.bias
        self.register_buffer("bias", None if bias is None else bias.detach().float())

    def forward(self, states: Tensor) -> Tensor:
        """(…, K) -> (…, O)."""
        return self._product(states, self.bias)


class PackedEmbedding(_Packed):
    """An embedding whose table (V, D) is packed, and the head tied to it."""

    def forward(self, ids: Tensor) -> Tensor:
        """(…) ids -> (…, D)."""
        scale = None if self.scale is None else self.scale[ids]
        return self._wide(self.weight[ids], scale, torch.float32)

    def project(self, hidden: Tensor) -> Tensor:
        """(…, D) -> logits (…, V)."""
        return self._product(hidden, None)


@torch.no_grad()
def pack_network(network: Any, packing: str) -> None:
    """Replace a BLOOM's linear layers and its embedding by packed ones, in place; it can then only be run.

    Raises:
        ConfigError: an unknown packing, or another family.
        DeviceError: the network is not on the CPU.
    """
    if packing not in PACKINGS:
        raise ConfigError(f"weights={packing!r}", allowed=", ".join(PACKINGS))
    if network.model_type != "bloom":
        raise ConfigError(f"weights={packing!r} of a {network.model_type}", allowed="decoder models (bloom)")
    if next(network.parameters()).device.type != "cpu":
        raise DeviceError(f"weights={packing!r} on a GPU", do="use device='cpu', or dtype='bfloat16' there")
    network.float()
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear):
                setattr(parent, name, PackedLinear(child, packing))
    network.embedding = PackedEmbedding(network.embedding.weight.detach(), packing)
    network.packing = packing  # marks a network that cannot be saved
