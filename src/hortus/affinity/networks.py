"""The networks of an ensemble by the names of its parts: built anew, filled with tensors, written out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hortus.affinity.config import HACNetConfig
from hortus.affinity.convolution import ConvolutionNetwork
from hortus.affinity.graph_network import GraphNetwork
from hortus.artifact import check_tensors

__all__ = ["build_networks", "load_checked"]


def build_networks(config: HACNetConfig, seed: int = 0) -> dict[str, Any]:
    """{part: network} with fresh weights; each part has a seed of its own.

    >>> list(build_networks(HACNetConfig.size("graph")))
    ['gcn0', 'gcn1']
    """
    networks: dict[str, Any] = {}
    with torch.random.fork_rng(devices=[]):
        for number, part in enumerate(config.parts):
            torch.manual_seed(seed + number)
            if part == "cnn":
                networks[part] = ConvolutionNetwork(config.convolution, config.grid)
            else:
                networks[part] = GraphNetwork(config.graph)
    return networks


def load_checked(network: nn.Module, tensors: Mapping[str, Tensor], where: str | Path) -> None:
    """Fill a network with exactly its tensors.

    Raises:
        ArtifactError: a tensor is missing, extra or misshapen.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    check_tensors(expected, {name: tuple(tensor.shape) for name, tensor in tensors.items()}, where)
    network.load_state_dict(dict(tensors))
