"""The shape of a decoder whose parts can be chosen, for ablations and for models of one's own.

"What Language Model to Train if You Have One Million GPU Hours?" (2022), sections 3 and 4, compares these
parts; the defaults are BLOOM's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args, get_type_hints

from hortus.errors import ConfigError, nearest
from hortus.models.keys import check_heads_divide, check_probabilities, check_sizes, read_fields

__all__ = ["PUBLISHED", "DecoderConfig"]

_REQUIRED = ("vocab_size", "hidden_size", "num_layers", "num_heads")
PUBLISHED: dict[str, DecoderConfig] = {}


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """Every switch of the decoder.

    Raises:
        ConfigError: an unknown choice, a size below 1, or heads that do not divide.

    >>> DecoderConfig(vocab_size=250_880, hidden_size=1024, num_layers=24, num_heads=16).num_parameters
    559214592
    >>> DecoderConfig(vocab_size=64, hidden_size=2048, num_heads=16, activation="swiglu").width
    5464
    """

    vocab_size: int = 250_880
    hidden_size: int = 1024
    num_layers: int = 24
    num_heads: int = 16
    num_kv_heads: int | None = None
    """Heads of keys and values: None for as many as of queries, 1 for multi-query attention."""
    inner_size: int | None = None
    """Width inside the feed-forward part: None for 4h, and 8h/3 with a gate, which has as many parameters."""
    position: Literal["none", "learned", "rotary", "alibi"] = "alibi"
    activation: Literal["gelu", "swiglu"] = "gelu"
    embedding_norm: bool = True
    norm_placement: Literal["pre", "post", "sandwich"] = "pre"
    """Norm before each part, after its sum with the residual, or before and after each part."""
    objective: Literal["causal", "prefix", "masked"] = "causal"
    """Whom a token sees: earlier ones; all of the prompt too; all of its document."""
    max_positions: int = 2048
    """Rows of the table of learned positions."""
    rotary_base: float = 10_000.0
    layer_norm_epsilon: float = 1e-5
    initializer_range: float | None = None
    hidden_dropout: float = 0.0
    bos_token_id: int | None = 1
    eos_token_id: int | None = 2
    pad_token_id: int | None = 3

    def __post_init__(self) -> None:
        check_sizes(self, (*_REQUIRED, "max_positions"))
        check_heads_divide(self.hidden_size, self.num_heads)
        check_probabilities(self, ("hidden_dropout",))
        for name, hint in get_type_hints(type(self)).items():
            allowed, value = get_args(hint), getattr(self, name)
            if allowed and all(isinstance(choice, str) for choice in allowed) and value not in allowed:
                raise ConfigError(f"{name}={value!r}", allowed=", ".join(allowed), do=nearest(value, allowed))
        if self.num_heads % self.kv_heads:
            raise ConfigError(f"num_kv_heads={self.num_kv_heads}", allowed=f"divisors of {self.num_heads}")
        if self.position == "rotary" and self.head_size % 2:
            raise ConfigError(f"rotary positions in heads of {self.head_size}", allowed="an even width")

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.num_heads

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values."""
        return self.num_kv_heads or self.num_heads

    @property
    def width(self) -> int:
        """Width inside the feed-forward part; with a gate the multiple of 8 nearest to 8h/3."""
        if self.inner_size is not None:
            return self.inner_size
        return (
            max(8, 8 * round(self.hidden_size / 3)) if self.activation == "swiglu" else 4 * self.hidden_size
        )

    @property
    def initial_deviation(self) -> float:
        """Standard deviation of freshly drawn weights, sqrt(1/(3h)) unless given."""
        return self.initializer_range or math.sqrt(1 / (3 * self.hidden_size))

    @property
    def num_parameters(self) -> int:
        """Of all parts; the head is tied to the embedding and counts once.

        With width h, key and value width k, inner width f, and s = 2 matrices inwards with a gate, else 1, a
        layer has (h+1)(h+2k) + (h+1)h + s(h+1)f + (f+1)h and its norms 2h each.
        """
        h, f, kv = self.hidden_size, self.width, self.kv_heads * self.head_size
        inward = 2 if self.activation == "swiglu" else 1
        norms = 4 if self.norm_placement == "sandwich" else 2
        layer = (h + 1) * (h + 2 * kv) + (h + 1) * h + inward * (h + 1) * f + (f + 1) * h + norms * 2 * h
        outer = 2 * h * (self.embedding_norm + (self.norm_placement != "post"))
        learned = self.max_positions * h if self.position == "learned" else 0
        return self.num_layers * layer + self.num_embedding_parameters + outer + learned

    @property
    def num_embedding_parameters(self) -> int:
        """V·h."""
        return self.vocab_size * self.hidden_size

    @classmethod
    def from_hugging_face(cls, mapping: Mapping[str, Any]) -> DecoderConfig:
        """Read the content of a config.json.

        Raises:
            ConfigError: a size is missing or a value impossible.
        """
        names = {field.name: (field.name,) for field in fields(cls)}
        return cls(**read_fields(mapping, names, _REQUIRED))

    def to_hugging_face(self) -> dict[str, Any]:
        """The content of config.json."""
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        return {"model_type": "hortus_decoder", "architectures": ["HortusDecoder"], **own}
