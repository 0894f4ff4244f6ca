"""Networks that eat tensors: one folder a family, each with two-way Hugging Face checkpoint names.

Nothing heavy is imported until a name is used, so a family's `config` stays light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hortus.registry import lazy_attributes

if TYPE_CHECKING:
    from hortus.models.checkpoint import build_network, load_network, save_network, state_for_saving
    from hortus.models.families import FAMILIES, available, family
    from hortus.models.heads import with_head

__all__ = [
    "FAMILIES",
    "available",
    "build_network",
    "family",
    "load_network",
    "save_network",
    "state_for_saving",
    "with_head",
]

_HOMES = {
    "FAMILIES": "families",
    "available": "families",
    "family": "families",
    "build_network": "checkpoint",
    "load_network": "checkpoint",
    "save_network": "checkpoint",
    "state_for_saving": "checkpoint",
    "with_head": "heads",
}

__getattr__ = lazy_attributes(__name__, _HOMES)
