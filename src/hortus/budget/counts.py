"""Parameters and floating-point operations of a network, from its shape alone.

A multiplication and an addition are two operations; only matrix products count, as in the literature: scores
are counted over all T² pairs, causal or not. The backward pass of a product is two products of its size, so
training is exactly three times the forward pass, and four with recomputed activations. For a decoder of
width h and L layers that is the BLOOM scripts' 24·h² + 4·T·h a token and layer, and 2·h·V for the head.

Legend: B rows, T tokens, S source tokens, h width, f inner width, i = heads × head width, L layers,
V vocabulary, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hortus.errors import ConfigError
from hortus.models.bloom.config import BloomConfig
from hortus.models.decoder.config import DecoderConfig
from hortus.models.encoder_config import EncoderConfig
from hortus.models.t5.config import T5Config

__all__ = ["Counts", "count"]


@dataclass(frozen=True)
class Counts:
    """What a network holds and what one forward pass of a batch computes."""

    parameters: int
    """All of them; a tied head counts once."""
    embedding_parameters: int
    """Of them, tables that are looked up: words, positions, token types; not a head of its own."""
    forward_flops: int
    """Of a batch: matrix products, attention and head included."""
    attention_flops: int
    """Of them, scores and weighted sums, which grow with the square of the length."""
    tokens: int
    """Of the batch; targets for an encoder-decoder."""

    @property
    def training_flops(self) -> int:
        """Forward and backward."""
        return 3 * self.forward_flops

    @property
    def training_flops_per_token(self) -> float:
        """Of one token of the batch."""
        return self.training_flops / self.tokens


def count(config: Any, *, rows: int = 1, length: int = 2048, target_length: int | None = None) -> Counts:
    """Count a network of this shape on a batch.

    Args:
        config: a BloomConfig, DecoderConfig, T5Config, BertConfig or DistilBertConfig.
        rows, length: B and T; for an encoder-decoder the source's.
        target_length: of an encoder-decoder's target (default: length).

    Raises:
        ConfigError: not a configuration of a known family.

    >>> from hortus.models.bloom.config import published
    >>> counts = count(published("176b"), rows=1, length=2048)
    >>> counts.parameters, round(counts.training_flops_per_token / counts.parameters, 2)
    (176247271424, 6.14)
    """
    match config:
        case BloomConfig():
            flops, scores = _decoder(config, length)
            tables = config.num_embedding_parameters
        case DecoderConfig():
            flops, scores = _switched_decoder(config, length)
            learned = config.max_positions * config.hidden_size if config.position == "learned" else 0
            tables = config.num_embedding_parameters + learned
        case EncoderConfig():
            flops, scores = _encoder(config, length)
            positions = config.max_positions + getattr(config, "num_token_types", 0)
            tables = (config.vocab_size + positions) * config.hidden_size
        case T5Config():
            target_length = length if target_length is None else target_length
            flops, scores = _encoder_decoder(config, length, target_length)
            tables = config.vocab_size * config.hidden_size + 2 * config.num_buckets * config.num_heads
        case _:
            raise ConfigError(
                f"{type(config).__name__} is not a configuration of a network that can be counted",
                allowed="BloomConfig, DecoderConfig, T5Config, BertConfig, DistilBertConfig",
            )
    tokens = rows * (length if target_length is None else target_length)
    return Counts(config.num_parameters, tables, rows * (flops + scores), rows * scores, tokens)


def _decoder(config: BloomConfig, length: int) -> tuple[int, int]:
    """Products of one row, without and within attention's core."""
    width = config.hidden_size
    blocks = config.num_layers * 24 * width**2
    return length * (blocks + 2 * width * config.vocab_size), config.num_layers * 4 * length**2 * width


def _switched_decoder(config: DecoderConfig, length: int) -> tuple[int, int]:
    width, shared = config.hidden_size, config.kv_heads * config.head_size
    inward = 2 if config.activation == "swiglu" else 1
    block = 2 * width * (2 * width + 2 * shared + (inward + 1) * config.width)
    whole = length * (config.num_layers * block + 2 * width * config.vocab_size)
    return whole, config.num_layers * 4 * length**2 * width


def _encoder(config: EncoderConfig, length: int) -> tuple[int, int]:
    width, inner = config.hidden_size, config.intermediate_size
    blocks = length * config.num_layers * (8 * width**2 + 4 * width * inner)
    heads = {
        "masked_lm": length * (2 * width**2 + 2 * width * config.vocab_size),
        "classify": 2 * width**2 + 2 * width * len(config.labels),  # of the first token only
        "answer": length * 4 * width,
    }
    return blocks + heads.get(config.head or "none", 0), config.num_layers * 4 * length**2 * width


def _encoder_decoder(config: T5Config, source: int, target: int) -> tuple[int, int]:
    width, inner = config.hidden_size, config.num_heads * config.head_size
    attention = 8 * width * inner
    fed = (6 if config.gated else 4) * width * config.inner_size
    encoder = config.num_layers * source * (attention + fed)
    crossed = target * 4 * width * inner + source * 4 * width * inner
    decoder = config.decoder_layers * (target * (attention + fed) + crossed)
    scores = config.num_layers * 4 * source**2 * inner
    scores += config.decoder_layers * 4 * (target**2 + target * source) * inner
    return encoder + decoder + 2 * target * width * config.vocab_size, scores
