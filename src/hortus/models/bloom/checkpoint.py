"""BLOOM's parameter names here and in published checkpoints."""

from __future__ import annotations

from hortus.models.bloom.config import BloomConfig
from hortus.models.bloom.network import Bloom
from hortus.models.families import Family, NameTable

__all__ = ["FAMILY"]

NAMES = NameTable(
    {
        "embedding": "word_embeddings",
        "embedding_norm": "word_embeddings_layernorm",
        "blocks.{layer}.attention_norm": "h.{layer}.input_layernorm",
        "blocks.{layer}.attention.query_key_value": "h.{layer}.self_attention.query_key_value",
        "blocks.{layer}.attention.output": "h.{layer}.self_attention.dense",
        "blocks.{layer}.feed_forward_norm": "h.{layer}.post_attention_layernorm",
        "blocks.{layer}.feed_forward.expand": "h.{layer}.mlp.dense_h_to_4h",
        "blocks.{layer}.feed_forward.contract": "h.{layer}.mlp.dense_4h_to_h",
        "final_norm": "ln_f",
    },
    prefix="transformer.",
    tied={"lm_head.weight": "embedding.weight"},
)

FAMILY = Family(BloomConfig, Bloom, NAMES)
