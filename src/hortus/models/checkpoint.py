"""Networks from checkpoint folders and back, strictly: every tensor accounted for, in published names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hortus.artifact import ModelCard, check_tensors, read_config, read_tensors, write_artifact
from hortus.errors import ArtifactError
from hortus.models.families import Family, family

__all__ = ["build_network", "load_network", "save_network", "state_for_saving"]


def build_network(config: Mapping[str, Any]) -> nn.Module:
    """A network with freshly drawn weights, in training mode.

    Args:
        config: the content of a config.json, with `model_type`.

    Raises:
        ConfigError: an unknown model type or an impossible shape.

    >>> build_network({"model_type": "bloom", "vocab_size": 8, "hidden_size": 8, "n_layer": 1,
    ...                "n_head": 2}).config.num_parameters
    968
    """
    kind = family(config.get("model_type"))
    shape = kind.read_config(config)
    return kind.build(shape if kind.fit is None else kind.fit(shape, {}))


def load_network(folder: str | Path, dtype: torch.dtype | None = None) -> nn.Module:
    """Open a checkpoint folder: published or ours, one file or shards, with or without the name prefix.

    Args:
        folder: holds config.json and safetensors files.
        dtype: what the weights become; None keeps what the largest stored tensor has.

    Returns:
        The network in eval mode.

    Raises:
        ConfigError: config.json describes no known network.
        ArtifactError: a file is corrupt; a tensor is missing, extra or misshapen; a head that must be tied
            to the embedding differs from it.
    """
    folder = Path(folder)
    config = read_config(folder)
    kind = family(config.get("model_type"))
    stored = _unprefixed(read_tensors(folder), kind, folder)
    shape = kind.read_config(config)
    shape = shape if kind.fit is None else kind.fit(shape, stored)
    with torch.device("meta"):
        network = kind.build(shape)
    expected = {kind.names.short(kind.names.published(name)): x for name, x in _state(network).items()}
    _drop_tied(stored, expected, kind, folder)
    check_tensors(
        {name: tuple(x.shape) for name, x in expected.items()},
        {name: tuple(x.shape) for name, x in stored.items()},
        str(folder),
    )
    dtype = dtype or max(stored.values(), key=Tensor.numel).dtype
    state = {str(kind.names.own(name)): tensor.to(dtype) for name, tensor in stored.items()}
    network.load_state_dict(state, assign=True)
    return network.eval()


def _state(network: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach() for name, parameter in network.named_parameters()}


def _unprefixed(tensors: Mapping[str, Tensor], kind: Family, folder: Path) -> dict[str, Tensor]:
    stored: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        short = kind.names.short(name)
        if short in kind.names.ignored:
            continue
        if short in stored:
            raise ArtifactError(
                f"{folder} holds {short!r} with and without the prefix {kind.names.prefix!r}",
                allowed="each tensor once",
                do="write the checkpoint again from its source",
            )
        stored[short] = tensor
    return stored


def _drop_tied(stored: dict[str, Tensor], expected: Mapping[str, Tensor], kind: Family, folder: Path) -> None:
    """Remove repeats of other tensors, once they prove to be repeats; one without its original becomes it."""
    for repeated, own in kind.names.tied.items():
        if repeated in expected:  # this network has a tensor of its own there
            continue
        copy = stored.pop(repeated, None)
        if copy is None:
            continue
        original = stored.setdefault(kind.names.short(kind.names.published(own)), copy)
        if not torch.equal(copy, original):
            raise ArtifactError(
                f"{folder}: {repeated!r} differs from the tensor that it should repeat",
                allowed="a head equal to the embedding, or absent",
                do="convert the checkpoint to a tied one",
            )


def state_for_saving(network: Any) -> dict[str, Tensor]:
    """Every parameter under its published name, as the network holds it (no copy of contiguous tensors).

    Raises:
        ArtifactError: the network's weights are packed, which loses what was stored.
    """
    if getattr(network, "packing", None):
        raise ArtifactError(
            f"a network with packed weights ({network.packing}) cannot be saved",
            do="load it without weights=",
        )
    names = family(network.model_type).names
    return {names.published(name): tensor.contiguous() for name, tensor in _state(network).items()}


def save_network(
    network: Any,
    folder: str | Path,
    card: ModelCard | None = None,
    *,
    recipe: dict[str, Any] | None = None,
    extra: Callable[[Path], None] | None = None,
    max_shard_bytes: int = 5 * 10**9,
) -> None:
    """Write a folder that hortus and transformers open. See `hortus.artifact.write_artifact`."""
    kind = family(network.model_type)
    tensors = state_for_saving(network)
    dtype = str(next(iter(tensors.values())).dtype).removeprefix("torch.")
    write_artifact(
        folder,
        config=kind.write_config(network.config) | {"dtype": dtype},
        tensors=tensors,
        card=card,
        recipe=recipe,
        extra=extra,
        max_shard_bytes=max_shard_bytes,
    )
