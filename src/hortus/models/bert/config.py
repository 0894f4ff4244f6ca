"""The shape of a BERT (Devlin et al. 2019) and its two-way reading of Hugging Face's config.json."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from hortus.errors import ConfigError
from hortus.models.encoder_config import EncoderConfig, fit_to_tensors
from hortus.models.keys import Spellings, check_probabilities, check_sizes, release

__all__ = ["PUBLISHED", "BertConfig", "fit", "published"]


@dataclass(frozen=True, kw_only=True)
class BertConfig(EncoderConfig):
    """The shape and settings of a BERT. Defaults are those of the base release.

    pooler: whether there is a dense layer with tanh on the first token; classification needs it.
    classifier_dropout: before the classifier; None is `hidden_dropout`.

    >>> BertConfig(head="none", pooler=True).num_parameters
    109482240
    """

    num_token_types: int = 2
    layer_norm_epsilon: float = 1e-12
    classifier_dropout: float | None = None
    pooler: bool = False

    family: ClassVar[str] = "bert"
    class_prefix: ClassVar[str] = "Bert"
    spellings: ClassVar[Spellings] = {
        "vocab_size": ("vocab_size",),
        "hidden_size": ("hidden_size",),
        "num_layers": ("num_hidden_layers",),
        "num_heads": ("num_attention_heads",),
        "intermediate_size": ("intermediate_size",),
        "activation": ("hidden_act",),
        "hidden_dropout": ("hidden_dropout_prob",),
        "attention_dropout": ("attention_probs_dropout_prob",),
        "max_positions": ("max_position_embeddings",),
        "num_token_types": ("type_vocab_size",),
        "initializer_range": ("initializer_range",),
        "layer_norm_epsilon": ("layer_norm_eps",),
        "classifier_dropout": ("classifier_dropout",),
        "pad_token_id": ("pad_token_id",),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sizes(self, ("num_token_types",))
        check_probabilities(self, ("classifier_dropout",))

    @classmethod
    def from_hugging_face(cls, mapping: Mapping[str, Any]) -> BertConfig:
        """Read the content of a config.json; whether there is a pooler follows from the head or the tensors.

        Raises:
            ConfigError: as `EncoderConfig.from_hugging_face`, and for a decoder or relative positions.
        """
        if mapping.get("is_decoder"):
            raise ConfigError("is_decoder=true: this BERT is a decoder", allowed="encoders")
        kind = mapping.get("position_embedding_type", "absolute")
        if kind != "absolute":
            raise ConfigError(f"position_embedding_type={kind!r}", allowed="absolute")
        config = super().from_hugging_face(mapping)
        return dataclasses.replace(config, pooler=config.head == "classify")

    @property
    def num_parameters(self) -> int:
        """Of the encoder, the pooler and the head; a tied projection counts once."""
        width = self.hidden_size
        tables = (self.vocab_size + self.max_positions + self.num_token_types + 2) * width
        heads = {
            "masked_lm": self.num_masked_head_parameters,
            "classify": len(self.labels) * (width + 1),
            "answer": 2 * (width + 1),
        }
        pooler = width * width + width if self.pooler else 0
        return tables + self.num_block_parameters + pooler + heads.get(self.head or "none", 0)


def fit(config: BertConfig, stored: Mapping[str, Any]) -> BertConfig:
    """The configuration of the network that a file holds: its head and whether there is a pooler."""
    config = fit_to_tensors(config, stored)
    pooler = config.head == "classify" or "pooler.dense.weight" in stored
    return dataclasses.replace(config, pooler=pooler)


def _release(vocab_size: int, large: bool = False) -> BertConfig:
    if not large:
        return BertConfig(vocab_size=vocab_size)
    return BertConfig(
        vocab_size=vocab_size, hidden_size=1024, num_layers=24, num_heads=16, intermediate_size=4096
    )


# With the masked-LM head, without the pooler.
PUBLISHED: dict[str, BertConfig] = {
    "base-uncased": _release(30522),
    "base-cased": _release(28996),
    "large-uncased": _release(30522, large=True),
    "large-cased": _release(28996, large=True),
    "base-multilingual-uncased": _release(105879),
    "base-multilingual-cased": _release(119547),
    "base-chinese": _release(21128),
}


def published(name: str) -> BertConfig:
    """The shape of a release; a ConfigError where there is none of that name.

    >>> published("base-uncased").num_parameters
    109514298
    """
    return release("BERT", PUBLISHED, name)
