"""BLOOM: network, configuration and checkpoint names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hortus.models.bloom.config import PUBLISHED, BloomConfig, published
from hortus.registry import lazy_attributes

if TYPE_CHECKING:
    from hortus.models.bloom.checkpoint import FAMILY
    from hortus.models.bloom.network import Bloom

__all__ = ["FAMILY", "PUBLISHED", "Bloom", "BloomConfig", "published"]

_HOMES = {"FAMILY": "checkpoint", "Bloom": "network"}

__getattr__ = lazy_attributes(__name__, _HOMES)
