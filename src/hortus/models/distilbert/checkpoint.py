"""DistilBERT's parameter names here and in published checkpoints."""

from __future__ import annotations

from hortus.models.distilbert.config import DistilBertConfig
from hortus.models.distilbert.network import DistilBert
from hortus.models.encoder_config import fit_to_tensors
from hortus.models.families import Family, NameTable

__all__ = ["FAMILY"]

_LAYER = "transformer.layer.{layer}"

NAMES = NameTable(
    {
        "embedding": "embeddings.word_embeddings",
        "position_embedding": "embeddings.position_embeddings",
        "embedding_norm": "embeddings.LayerNorm",
        "blocks.{layer}.attention.query": f"{_LAYER}.attention.q_lin",
        "blocks.{layer}.attention.key": f"{_LAYER}.attention.k_lin",
        "blocks.{layer}.attention.value": f"{_LAYER}.attention.v_lin",
        "blocks.{layer}.attention.output": f"{_LAYER}.attention.out_lin",
        "blocks.{layer}.attention_norm": f"{_LAYER}.sa_layer_norm",
        "blocks.{layer}.expand": f"{_LAYER}.ffn.lin1",
        "blocks.{layer}.contract": f"{_LAYER}.ffn.lin2",
        "blocks.{layer}.output_norm": f"{_LAYER}.output_layer_norm",
    },
    prefix="distilbert.",
    heads={
        "masked_head": "vocab_projector",
        "masked_head.transform": "vocab_transform",
        "masked_head.norm": "vocab_layer_norm",
        "pre_classifier": "pre_classifier",
        "classifier": "classifier",
        "span": "qa_outputs",
    },
    tied={"vocab_projector.weight": "embedding.weight"},
    ignored=("embeddings.position_ids",),
    old_endings={"gamma": "weight", "beta": "bias"},
)

FAMILY = Family(DistilBertConfig, DistilBert, NAMES, fit_to_tensors)
