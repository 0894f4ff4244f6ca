"""BERT's parameter names here and in published checkpoints."""

from __future__ import annotations

from hortus.models.bert.config import BertConfig, fit
from hortus.models.bert.network import Bert
from hortus.models.families import Family, NameTable

__all__ = ["FAMILY"]

_LAYER = "encoder.layer.{layer}"

NAMES = NameTable(
    {
        "embedding": "embeddings.word_embeddings",
        "position_embedding": "embeddings.position_embeddings",
        "token_type_embedding": "embeddings.token_type_embeddings",
        "embedding_norm": "embeddings.LayerNorm",
        "blocks.{layer}.attention.query": f"{_LAYER}.attention.self.query",
        "blocks.{layer}.attention.key": f"{_LAYER}.attention.self.key",
        "blocks.{layer}.attention.value": f"{_LAYER}.attention.self.value",
        "blocks.{layer}.attention.output": f"{_LAYER}.attention.output.dense",
        "blocks.{layer}.attention_norm": f"{_LAYER}.attention.output.LayerNorm",
        "blocks.{layer}.expand": f"{_LAYER}.intermediate.dense",
        "blocks.{layer}.contract": f"{_LAYER}.output.dense",
        "blocks.{layer}.output_norm": f"{_LAYER}.output.LayerNorm",
        "pooler": "pooler.dense",
    },
    prefix="bert.",
    heads={
        "masked_head": "cls.predictions",
        "masked_head.transform": "cls.predictions.transform.dense",
        "masked_head.norm": "cls.predictions.transform.LayerNorm",
        "classifier": "classifier",
        "span": "qa_outputs",
    },
    tied={
        "cls.predictions.decoder.weight": "embedding.weight",
        "cls.predictions.decoder.bias": "masked_head.bias",
    },
    # Buffers of older files, and next-sentence prediction, which nothing here uses.
    ignored=(
        "embeddings.position_ids",
        "embeddings.token_type_ids",
        "cls.seq_relationship.weight",
        "cls.seq_relationship.bias",
    ),
    old_endings={"gamma": "weight", "beta": "bias"},
)

FAMILY = Family(BertConfig, Bert, NAMES, fit)
