"""Memory of one hortus process that trains a BLOOM in 32 bits without other devices, as on a processor.

The Trainer holds weights and Adam's two moments (12 bytes a parameter) all the time. The most is held at one
of three moments: when the backward pass begins (activations, the head's gradient), when it ends (gradients of
all, and the embedding's from its two uses), or when a checkpoint is copied for the thread that writes it
(12 bytes a parameter more).

Of a layer hortus keeps, a token: what enters both norms and what leaves them, query, key and value, the
context, and what enters GELU, 12·h numbers; and the attention weights of a layer where they take at most 32
MiB (hortus.models.layers.alibi), which leaves out what ALiBi makes vanish.

Legend: b rows, T tokens, h width, n heads, V vocabulary, L layers.
"""

from __future__ import annotations

from hortus.budget.estimate import Memory
from hortus.models.bloom.config import BloomConfig

__all__ = ["process_memory"]

_NUMBER = 4  # bytes
_KEPT_WEIGHTS = 2**25  # bytes of a layer's attention weights
_SEEN = 0.6  # share of the causal scores that ALiBi leaves, in the mean over heads
_LOGITS = 2**25  # bytes of logits at a time, or 256 rows of them
_WASTE = 1.36  # of activations in the heap, set by two measured runs
_LAYER_NUMBERS, _WORKING_NUMBERS = 12, 20  # a token and unit of width: kept, and in the layer at work


def process_memory(
    shape: BloomConfig,
    rows: int,
    length: int,
    *,
    checkpointing: bool = False,
    base_bytes: float = 3.5e8,
    saves: bool = True,
) -> Memory:
    """Bytes of the process.

    Args:
        rows, length: of a micro-batch.
        base_bytes: what the process holds before it has a network; measured best.
        saves: whether checkpoints are written, as the Trainer does at the end at the latest.

    >>> small = BloomConfig(vocab_size=16_384, hidden_size=512, num_layers=8, num_heads=8)
    >>> round(process_memory(small, 4, 512).total / 1e9, 1)
    1.6
    """
    weights = _NUMBER * shape.num_parameters
    table = _NUMBER * shape.num_embedding_parameters
    width = _NUMBER * rows * length * shape.hidden_size
    layer = _LAYER_NUMBERS * width + _attention_weights(shape, rows, length)
    entering = width if checkpointing else layer
    activations = shape.num_layers * entering + 4 * width + (layer if checkpointing else 0)
    logits = max(_LOGITS, 256 * _NUMBER * shape.vocab_size)
    begins = _WASTE * (activations + max(logits, _WORKING_NUMBERS * width)) + table
    ends = weights + table + _WORKING_NUMBERS * width
    copies = 2 * weights + weights if saves else 0
    most = max(begins, ends, copies)
    gradients = weights if most == ends else table if most == begins else 0
    return Memory(weights, gradients, 2 * weights, most - gradients, base_bytes)


def _attention_weights(shape: BloomConfig, rows: int, length: int) -> float:
    scores = _SEEN * _NUMBER * shape.num_heads * rows * length * (length + 128) / 2
    return scores if scores <= _KEPT_WEIGHTS else 0.0
