"""The budget room: what to train, how large, on how much, at what cost; scaling laws; ablation grids.

Only settings are imported at once; the rest when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hortus.registry import lazy_attributes

if TYPE_CHECKING:
    from hortus.budget.counts import Counts, count

__all__ = [
    "Counts",
    "count",
]

_HOMES = {
    "Counts": "counts",
    "count": "counts",
}

__getattr__ = lazy_attributes(__name__, _HOMES)
