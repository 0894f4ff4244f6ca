"""BERT: network, configuration and checkpoint names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hortus.models.bert.config import PUBLISHED, BertConfig, published
from hortus.registry import lazy_attributes

if TYPE_CHECKING:
    from hortus.models.bert.checkpoint import FAMILY
    from hortus.models.bert.network import Bert

__all__ = ["FAMILY", "PUBLISHED", "Bert", "BertConfig", "published"]

_HOMES = {"FAMILY": "checkpoint", "Bert": "network"}

__getattr__ = lazy_attributes(__name__, _HOMES)
