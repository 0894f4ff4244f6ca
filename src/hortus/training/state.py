"""Weights and optimizer state as named tensors, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hortus.artifact import check_tensors
from hortus.errors import ConfigError

__all__ = ["copy_to_host", "load_optimizer", "load_weights", "optimizer_tensors", "trained_tensors"]

Groups = list[dict[str, Any]]


def copy_to_host(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous copies in host memory, whatever the device and memory format."""
    return {
        name: torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor.detach())
        for name, tensor in tensors.items()
    }


def trained_tensors(network: nn.Module, parameters: Iterable[Tensor]) -> dict[str, Tensor]:
    """What a checkpoint holds of a network: `parameters` and the persistent buffers, by name.

    Raises:
        ConfigError: a parameter is not the network's.
    """
    trained = {id(parameter) for parameter in parameters}
    weights: dict[str, Tensor] = {name: p for name, p in network.named_parameters() if id(p) in trained}
    if len(weights) != len(trained):
        raise ConfigError(
            "the task's parameter groups hold tensors that its network does not",
            allowed="parameters of task.network",
            do="make what is trained a submodule of the network",
        )
    saved = network.state_dict(keep_vars=True)
    return weights | {name: buffer for name, buffer in network.named_buffers() if name in saved}


@torch.no_grad()
def load_weights(into: Mapping[str, Tensor], found: Mapping[str, Tensor], where: str) -> None:
    """Copy `found` into the network's own tensors.

    Raises:
        ArtifactError: missing, extra or misshapen tensors (lists them).
    """
    shapes = [{name: tuple(tensor.shape) for name, tensor in tensors.items()} for tensors in (into, found)]
    check_tensors(shapes[0], shapes[1], where)
    for name, tensor in into.items():
        tensor.copy_(found[name])


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state as "<index of the parameter>.<name>" -> tensor."""
    return {
        f"{index}.{name}": torch.as_tensor(value)
        for index, entry in optimizer.state_dict()["state"].items()
        for name, value in entry.items()
        if value is not None
    }


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put saved state back; rates, decays and the like stay as the optimizer was built."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, _, name = key.partition(".")
        parameter = parameters[int(index)]
        if tensor.shape == parameter.shape:
            # In the parameter's own memory format, which fused kernels expect (channels_last weights).
            tensor = torch.empty_like(parameter, dtype=tensor.dtype, device="cpu").copy_(tensor)
        state.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
