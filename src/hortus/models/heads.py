"""Another head on a trained encoder."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch

from hortus.errors import ConfigError
from hortus.models.encoder_config import Head
from hortus.models.families import family

__all__ = ["with_head"]


def with_head(network: Any, head: Head, labels: Sequence[str] = ()) -> Any:
    """A network with the same encoder and the given head; the given network's tensors are used, not copied.

    A head that is already there, with the same labels, is kept; a new one is drawn afresh.

    Args:
        network: an encoder.
        head: masked_lm, classify, answer or none.
        labels: names of the classes, for classify.

    Raises:
        ConfigError: not an encoder.
    """
    if getattr(network, "architecture", "") != "encoder":
        raise ConfigError(
            f"a {network.model_type} has no place for a head {head!r}", allowed="bert, distilbert"
        )
    config = network.config
    if config.head == head and (head != "classify" or config.labels == tuple(labels)):
        return network
    changes: dict[str, Any] = {"head": head, "labels": tuple(labels)}
    if hasattr(config, "pooler"):
        changes["pooler"] = config.pooler or head == "classify"
    other: Any = family(network.model_type).build(dataclasses.replace(config, **changes))
    own = dict(network.named_parameters())
    weight = network.embedding.weight
    other.to(device=weight.device, dtype=weight.dtype)
    with torch.no_grad():
        for name, _ in list(other.named_parameters()):
            if name in own and not name.startswith("classifier."):
                _replace(other, name, own[name])
    return other.train(network.training)


def _replace(network: torch.nn.Module, name: str, parameter: torch.nn.Parameter) -> None:
    place, _, last = name.rpartition(".")
    setattr(network.get_submodule(place), last, parameter)
