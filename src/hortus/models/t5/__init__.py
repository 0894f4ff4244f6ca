"""T5: network, configuration and checkpoint names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hortus.models.t5.config import PUBLISHED, T5Config, published
from hortus.registry import lazy_attributes

if TYPE_CHECKING:
    from hortus.models.t5.checkpoint import FAMILY
    from hortus.models.t5.network import T5

__all__ = ["FAMILY", "PUBLISHED", "T5", "T5Config", "published"]

_HOMES = {"FAMILY": "checkpoint", "T5": "network"}

__getattr__ = lazy_attributes(__name__, _HOMES)
