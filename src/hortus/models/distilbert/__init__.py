"""DistilBERT: network, configuration and checkpoint names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hortus.models.distilbert.config import PUBLISHED, DistilBertConfig, published
from hortus.registry import lazy_attributes

if TYPE_CHECKING:
    from hortus.models.distilbert.checkpoint import FAMILY
    from hortus.models.distilbert.network import DistilBert

__all__ = ["FAMILY", "PUBLISHED", "DistilBert", "DistilBertConfig", "published"]

_HOMES = {"FAMILY": "checkpoint", "DistilBert": "network"}

__getattr__ = lazy_attributes(__name__, _HOMES)
