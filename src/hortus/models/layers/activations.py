"""Activation functions by the names that configurations use, and their results made twice instead of kept."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hortus.errors import ConfigError, nearest

__all__ = ["activation", "project_activated"]

_tanh_gelu = partial(F.gelu, approximate="tanh")

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_new": _tanh_gelu,
    "gelu_pytorch_tanh": _tanh_gelu,
    "relu": F.relu,
    "silu": F.silu,
    "swish": F.silu,
    "tanh": nn.Tanh(),
}


def activation(name: str) -> Callable[[Tensor], Tensor]:
    """The function of that name: "gelu" is the exact one, "gelu_new" its tanh form.

    Raises:
        ConfigError: not known.
    """
    if name not in _ACTIVATIONS:
        raise ConfigError(f"the activation {name!r} is not known", do=nearest(name, _ACTIVATIONS))
    return _ACTIVATIONS[name]


def project_activated(linear: nn.Module, function: Callable[[Tensor], Tensor], states: Tensor) -> Tensor:
    """linear(function(states)) whose backward pass computes function(states) again instead of keeping it.

    The function's own backward pass keeps `states` anyway. With GELU four times wider than the network this
    saves a fifth of a layer's activations for 1.5 % of a training step (8 layers of width 512, fp32).

    >>> project_activated(nn.Linear(8, 2), torch.tanh, torch.zeros(3, 8)).shape
    torch.Size([3, 2])
    """
    activated = function(states)
    if torch.compiler.is_compiling() or not torch.is_grad_enabled():
        return linear(activated)
    place, size = activated.data_ptr(), activated.numel()

    def pack(saved: Tensor) -> Tensor | torch.Size:
        again = saved.data_ptr() == place and saved.numel() == size and saved.is_contiguous()
        return saved.shape if again else saved

    def unpack(kept: Tensor | torch.Size) -> Tensor:
        return kept if isinstance(kept, Tensor) else function(states).contiguous().view(kept)

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        return linear(activated)
