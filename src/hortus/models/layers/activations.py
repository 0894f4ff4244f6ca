"""Activation functions by the names that configurations use."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from hortus.errors import ConfigError, nearest

__all__ = ["activation"]

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
