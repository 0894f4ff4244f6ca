"""Decoders: the one with switches, and decoding of any causal network.

`config`, `network` and `checkpoint` are the family `hortus_decoder`, whose parts an ablation varies. The
other files run a causal network step by step over a static cache, by the fastest path that fits.

Nothing heavy is imported until a name is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hortus.registry import lazy_attributes

if TYPE_CHECKING:
    from hortus.models.decoder.checkpoint import FAMILY
    from hortus.models.decoder.config import PUBLISHED, DecoderConfig
    from hortus.models.decoder.network import HortusDecoder
    from hortus.models.decoder.packed import pack_network
    from hortus.models.decoder.paged import PagedDecoder, PagedRow
    from hortus.models.decoder.session import Decoder, open_decoder
    from hortus.models.decoder.t5 import open_session

__all__ = [
    "FAMILY",
    "PUBLISHED",
    "Decoder",
    "DecoderConfig",
    "HortusDecoder",
    "PagedDecoder",
    "PagedRow",
    "open_decoder",
    "open_session",
    "pack_network",
]

_HOMES = {
    "FAMILY": "checkpoint",
    "PUBLISHED": "config",
    "DecoderConfig": "config",
    "HortusDecoder": "network",
    "Decoder": "session",
    "open_decoder": "session",
    "open_session": "t5",
    "PagedDecoder": "paged",
    "PagedRow": "paged",
    "pack_network": "packed",
}

__getattr__ = lazy_attributes(__name__, _HOMES)
