"""The shape of a BLOOM and its two-way reading of Hugging Face's config.json.

BLOOM: A 176B-Parameter Open-Access Multilingual Language Model (2022), section 3.2. The six published
shapes are data here (`PUBLISHED`). Published files spell some keys in two ways (`hidden_size` or `n_embed`,
`n_layer` or `num_hidden_layers`, `n_head` or `num_attention_heads`); either is read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hortus.errors import ConfigError
from hortus.models.keys import check_heads_divide, check_probabilities, check_sizes, read_fields, release

__all__ = ["PUBLISHED", "BloomConfig", "published"]

# Field -> the spellings of it in config.json; the first one is written.
_SPELLINGS: dict[str, tuple[str, ...]] = {
    "vocab_size": ("vocab_size",),
    "hidden_size": ("hidden_size", "n_embed"),
    "num_layers": ("n_layer", "num_hidden_layers"),
    "num_heads": ("n_head", "num_attention_heads"),
    "layer_norm_epsilon": ("layer_norm_epsilon",),
    "initializer_range": ("initializer_range",),
    "apply_residual_connection_post_layernorm": ("apply_residual_connection_post_layernorm",),
    "hidden_dropout": ("hidden_dropout",),
    "attention_dropout": ("attention_dropout",),
    "bos_token_id": ("bos_token_id",),
    "eos_token_id": ("eos_token_id",),
    "pad_token_id": ("pad_token_id",),
    "pretraining_tp": ("pretraining_tp",),
    "slow_but_exact": ("slow_but_exact",),
}
_REQUIRED = ("vocab_size", "hidden_size", "num_layers", "num_heads")


@dataclass(frozen=True, kw_only=True)
class BloomConfig:
    """The shape and settings of a BLOOM. Defaults are those of the 560m release.

    `initializer_range` None means sqrt(1 / (3 * hidden_size)), the rule behind the 0.0048 of every release.
    `pretraining_tp` and `slow_but_exact` are kept for the file's sake: they choose a summation order in the
    published code, not another function, and hortus always sums in one piece.

    Raises:
        ConfigError: a size is not positive, `num_heads` does not divide `hidden_size`, or a dropout
            probability lies outside [0, 1).

    >>> BloomConfig(hidden_size=1024, num_layers=24, num_heads=16).num_parameters
    559214592
    """

    vocab_size: int = 250_880
    hidden_size: int = 1024
    num_layers: int = 24
    num_heads: int = 16
    layer_norm_epsilon: float = 1e-5
    initializer_range: float | None = None
    apply_residual_connection_post_layernorm: bool = False
    hidden_dropout: float = 0.0
    attention_dropout: float = 0.0
    bos_token_id: int | None = 1
    eos_token_id: int | None = 2
    pad_token_id: int | None = 3
    pretraining_tp: int = 1
    slow_but_exact: bool = False

    def __post_init__(self) -> None:
        check_sizes(self, _REQUIRED)
        check_heads_divide(self.hidden_size, self.num_heads)
        check_probabilities(self, ("hidden_dropout", "attention_dropout"))

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.num_heads

    @property
    def initial_deviation(self) -> float:
        """Standard deviation of freshly drawn weights."""
        return (
            math.sqrt(1 / (3 * self.hidden_size))
            if self.initializer_range is None
            else self.initializer_range
        )

    @property
    def num_parameters(self) -> int:
        """L(12h² + 13h) + V·h + 4h; the head is tied to the embedding and counts once."""
        width = self.hidden_size
        return self.num_layers * (12 * width**2 + 13 * width) + self.num_embedding_parameters + 4 * width

    @property
    def num_embedding_parameters(self) -> int:
        """V·h."""
        return self.vocab_size * self.hidden_size

    @classmethod
    def from_hugging_face(cls, mapping: Mapping[str, Any]) -> BloomConfig:
        """Read the content of a config.json. Keys that do not change the function are ignored.

        Raises:
            ConfigError: a size is missing, two spellings of one key disagree, the model type is another one,
                or the head is declared untied (no published BLOOM has that).
        """
        model_type = mapping.get("model_type", "bloom")
        if model_type != "bloom":
            raise ConfigError(
                f"model_type={model_type!r} is not a BLOOM",
                allowed="bloom",
                do="open the folder with hortus.models.load_network",
            )
        if mapping.get("tie_word_embeddings") is False:
            raise ConfigError(
                "tie_word_embeddings=false: a BLOOM's head is its embedding",
                allowed="true or absent",
                do="convert the checkpoint to a tied one",
            )
        return cls(**read_fields(mapping, _SPELLINGS, _REQUIRED))

    def to_hugging_face(self) -> dict[str, Any]:
        """The content of config.json, as transformers reads it."""
        written = {spellings[0]: getattr(self, field) for field, spellings in _SPELLINGS.items()}
        written["initializer_range"] = self.initial_deviation
        fixed = {"attention_softmax_in_fp32": True, "use_cache": True, "tie_word_embeddings": True}
        return {"model_type": "bloom", "architectures": ["BloomForCausalLM"]} | written | fixed


def _release(num_layers: int, hidden_size: int, num_heads: int, pretraining_tp: int) -> BloomConfig:
    return BloomConfig(
        num_layers=num_layers,
        hidden_size=hidden_size,
        num_heads=num_heads,
        initializer_range=0.0048,
        pretraining_tp=pretraining_tp,
    )


# Layers, width, heads and tensor-parallel degree of the releases; vocabulary 250,880 in all of them.
PUBLISHED: dict[str, BloomConfig] = {
    "560m": _release(24, 1024, 16, 1),
    "1b1": _release(24, 1536, 16, 1),
    "1b7": _release(24, 2048, 16, 2),
    "3b": _release(30, 2560, 32, 4),
    "7b1": _release(30, 4096, 32, 4),
    "176b": _release(70, 14336, 112, 4),
}


def published(name: str) -> BloomConfig:
    """The shape of a release; a ConfigError where there is none of that name.

    >>> published("176b").num_parameters
    176247271424
    """
    return release("BLOOM", PUBLISHED, name)
