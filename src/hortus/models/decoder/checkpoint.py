"""The switchable decoder's parameter names: those of the network itself."""

from __future__ import annotations

from hortus.models.decoder.config import DecoderConfig
from hortus.models.decoder.network import HortusDecoder
from hortus.models.families import Family, NameTable

__all__ = ["FAMILY"]

_OUTER = ("embedding", "position_embedding", "embedding_norm", "final_norm")
_INNER = (
    "attention_norm",
    "attention_after_norm",
    "feed_forward_norm",
    "feed_forward_after_norm",
    "attention.query_key_value",
    "attention.output",
    "feed_forward.expand",
    "feed_forward.gate",
    "feed_forward.contract",
)

NAMES = NameTable(
    {name: name for name in _OUTER}
    | {f"blocks.{{layer}}.{name}": f"blocks.{{layer}}.{name}" for name in _INNER},
    tied={"lm_head.weight": "embedding.weight"},
)

FAMILY = Family(DecoderConfig, HortusDecoder, NAMES)
