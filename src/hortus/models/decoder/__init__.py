"""Decoding: a causal network run step by step over a static cache, by the fastest path that fits.

Nothing heavy is imported until a name is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hortus.registry import resolve

if TYPE_CHECKING:
    from hortus.models.decoder.session import Decoder, open_decoder

__all__ = ["Decoder", "open_decoder"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'hortus.models.decoder' has no attribute {name!r}")
    return resolve(f"hortus.models.decoder.session:{name}")
