"""The shape of a T5 (Raffel et al. 2020) and its two-way reading of Hugging Face's config.json.

What differs from that file: whether the head is the embedding (`tied_head`) and whether the decoder's output
is scaled by 1/√D before it (`scale_decoder_outputs`) are two fields. In the file, `tie_word_embeddings` has
meant both: false stood for "version 1.1: a head of its own and no scaling". Later files may say true and
`scale_decoder_outputs: false` beside it, and a stored `lm_head` may or may not repeat the embedding. So the
second key goes first, and the tensors have the last word on the head.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hortus.errors import ConfigError
from hortus.models.keys import check_probabilities, check_sizes, read_architecture, read_fields, release

__all__ = ["PUBLISHED", "T5Config", "fit", "published"]

_SPELLINGS: dict[str, tuple[str, ...]] = {
    "vocab_size": ("vocab_size",),
    "hidden_size": ("d_model", "hidden_size"),
    "head_size": ("d_kv",),
    "inner_size": ("d_ff",),
    "num_layers": ("num_layers", "num_hidden_layers"),
    "num_decoder_layers": ("num_decoder_layers",),
    "num_heads": ("num_heads", "num_attention_heads"),
    "num_buckets": ("relative_attention_num_buckets",),
    "max_distance": ("relative_attention_max_distance",),
    "feed_forward": ("feed_forward_proj",),
    "dropout": ("dropout_rate",),
    "layer_norm_epsilon": ("layer_norm_epsilon",),
    "initializer_factor": ("initializer_factor",),
    "pad_token_id": ("pad_token_id",),
    "eos_token_id": ("eos_token_id",),
    "decoder_start_token_id": ("decoder_start_token_id",),
}
_REQUIRED = ("vocab_size", "hidden_size", "head_size", "inner_size", "num_layers", "num_heads")
_CLASSES = dict.fromkeys(("T5ForConditionalGeneration", "T5WithLMHeadModel", "T5Model"), "language model")


@dataclass(frozen=True, kw_only=True)
class T5Config:
    """The shape and settings of a T5. Defaults are those of version 1.1, size small.

    num_decoder_layers: None is `num_layers`.
    feed_forward: an activation, or "gated-" and one; "gated-gelu" means the tanh form of GELU.
    tied_head: the head is the embedding; None leaves it to the tensors of the file that is being read.
    scale_decoder_outputs: multiply what goes into the head by 1/√D, as version 1.0 does.

    Raises:
        ConfigError: a size is not positive, a probability lies outside [0, 1), or fewer than four buckets.

    >>> T5Config().num_parameters
    76961152
    """

    vocab_size: int = 32128
    hidden_size: int = 512
    head_size: int = 64
    inner_size: int = 1024
    num_layers: int = 8
    num_decoder_layers: int | None = None
    num_heads: int = 6
    num_buckets: int = 32
    max_distance: int = 128
    feed_forward: str = "gated-gelu"
    dropout: float = 0.1
    layer_norm_epsilon: float = 1e-6
    initializer_factor: float = 1.0
    tied_head: bool | None = False
    scale_decoder_outputs: bool = False
    pad_token_id: int | None = 0
    eos_token_id: int | None = 1
    decoder_start_token_id: int | None = 0

    def __post_init__(self) -> None:
        sizes = (*_REQUIRED, "num_buckets", "max_distance")
        check_sizes(self, sizes if self.num_decoder_layers is None else (*sizes, "num_decoder_layers"))
        check_probabilities(self, ("dropout",))
        if self.num_buckets < 4 or self.num_buckets % 2 or self.max_distance <= self.num_buckets // 2:
            raise ConfigError(
                f"num_buckets={self.num_buckets}, max_distance={self.max_distance}",
                allowed="an even number from 4, and a distance above half of it",
            )

    @property
    def decoder_layers(self) -> int:
        """Number of blocks in the decoder."""
        return self.num_layers if self.num_decoder_layers is None else self.num_decoder_layers

    @property
    def gated(self) -> bool:
        """Whether the feed-forward layer has a gate."""
        return self.feed_forward.startswith("gated-")

    @property
    def activation(self) -> str:
        """Name of the feed-forward layer's activation."""
        return "gelu_new" if self.feed_forward == "gated-gelu" else self.feed_forward.removeprefix("gated-")

    @property
    def num_parameters(self) -> int:
        """Of both stacks, the embedding and, unless it is the embedding, the head."""
        width, inner = self.hidden_size, self.num_heads * self.head_size
        attention = 4 * width * inner + width
        feed_forward = (3 if self.gated else 2) * width * self.inner_size + width
        encoder = self.num_layers * (attention + feed_forward)
        decoder = self.decoder_layers * (2 * attention + feed_forward)
        tables = (1 if self.tied_head else 2) * self.vocab_size * width
        return tables + encoder + decoder + 2 * (self.num_buckets * self.num_heads + width)

    @classmethod
    def from_hugging_face(cls, mapping: Mapping[str, Any]) -> T5Config:
        """Read the content of a config.json. Keys that do not change the function are ignored.

        Raises:
            ConfigError: a size is missing, two spellings disagree, or the class is not known.
        """
        read_architecture(mapping, _CLASSES)
        values = read_fields(mapping, _SPELLINGS, _REQUIRED)
        values.setdefault("feed_forward", "relu")
        # An old file's "not tied" is certain; its "tied" is also written for files with a head of their own.
        untied = mapping.get("tie_word_embeddings") is False
        scale = mapping.get("scale_decoder_outputs")
        return cls(
            **values,
            tied_head=False if untied else None,
            scale_decoder_outputs=not untied if scale is None else bool(scale),
        )

    def to_hugging_face(self) -> dict[str, Any]:
        """The content of config.json, as transformers reads it."""
        written = {keys[0]: getattr(self, field) for field, keys in _SPELLINGS.items()}
        written["num_decoder_layers"] = self.decoder_layers
        fixed = {"is_encoder_decoder": True, "use_cache": True}
        tied = {
            "tie_word_embeddings": bool(self.tied_head),
            "scale_decoder_outputs": self.scale_decoder_outputs,
        }
        head = {"model_type": "t5", "architectures": ["T5ForConditionalGeneration"]}
        return head | written | tied | fixed


def fit(config: T5Config, stored: Mapping[str, Any]) -> T5Config:
    """The configuration of the network that a file holds: a stored head that differs is one of its own."""
    if config.tied_head is not None:
        return config
    head, embedding = stored.get("lm_head.weight"), stored.get("shared.weight")
    if embedding is None:
        embedding = stored.get("encoder.embed_tokens.weight")
    own = head is not None and embedding is not None and not bool((head == embedding).all())
    return dataclasses.replace(config, tied_head=not own)


def _second(hidden_size: int, inner_size: int, num_heads: int, num_layers: int) -> T5Config:
    return T5Config(
        hidden_size=hidden_size, inner_size=inner_size, num_heads=num_heads, num_layers=num_layers
    )


def _first(hidden_size: int, inner_size: int, num_heads: int, layers: int, head_size: int = 64) -> T5Config:
    return T5Config(
        hidden_size=hidden_size,
        inner_size=inner_size,
        num_heads=num_heads,
        num_layers=layers,
        head_size=head_size,
        feed_forward="relu",
        tied_head=True,
        scale_decoder_outputs=True,
    )


_XL, _XXL = _second(2048, 5120, 32, 24), _second(4096, 10240, 64, 24)

# Version 1.0 under its bare names; version 1.1, whose shapes the LM-adapted models, Flan-T5 and T0 have too.
PUBLISHED: dict[str, T5Config] = {
    "small": _first(512, 2048, 8, 6),
    "base": _first(768, 3072, 12, 12),
    "large": _first(1024, 4096, 16, 24),
    "3b": _first(1024, 16384, 32, 24, head_size=128),
    "11b": _first(1024, 65536, 128, 24, head_size=128),
    "v1.1-small": _second(512, 1024, 6, 8),
    "v1.1-base": _second(768, 2048, 12, 12),
    "v1.1-large": _second(1024, 2816, 16, 24),
    "v1.1-xl": _XL,
    "v1.1-xxl": _XXL,
    "t0-3b": _XL,
    "t0": _XXL,
    "t0p": _XXL,
    "t0pp": _XXL,
}


def published(name: str) -> T5Config:
    """The shape of a release; a ConfigError where there is none of that name.

    >>> published("t0").num_parameters
    11135332352
    """
    return release("T5", PUBLISHED, name)
