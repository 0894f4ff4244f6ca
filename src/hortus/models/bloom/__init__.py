"""BLOOM: network, configuration and checkpoint names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hortus.models.bloom.config import PUBLISHED, BloomConfig, published
from hortus.registry import resolve

if TYPE_CHECKING:
    from hortus.models.bloom.checkpoint import FAMILY
    from hortus.models.bloom.network import Bloom

__all__ = ["FAMILY", "PUBLISHED", "Bloom", "BloomConfig", "published"]

_HOMES = {"FAMILY": "checkpoint", "Bloom": "network"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'hortus.models.bloom' has no attribute {name!r}")
    return resolve(f"hortus.models.bloom.{_HOMES[name]}:{name}")
