"""What a model loses when its weights are kept in fewer bits: measured, not assumed.

Legend: T tokens, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from hortus.errors import DataError
from hortus.language.model import LanguageModel
from hortus.models.decoder import pack_network

__all__ = ["PackingLoss", "pack"]

_MOST_LOGITS = 1 << 25  # numbers kept of the full model: 128 MB in fp32
_WRITTEN = 256


class PackingLoss(NamedTuple):
    """Per token and per byte of the text it was measured on.

    divergence: mean KL(full ‖ packed) of the next token, in nats.
    bits_per_byte: of the full model.
    packed_bits_per_byte: of the packed one.
    num_tokens: tokens measured.
    """

    divergence: float
    bits_per_byte: float
    packed_bits_per_byte: float
    num_tokens: int

    def __str__(self) -> str:
        return (
            f"loss of packing on {self.num_tokens} tokens: {self.divergence:.5f} nats a token (KL), "
            f"{self.bits_per_byte:.4f} -> {self.packed_bits_per_byte:.4f} bits a byte"
        )


def pack(model: LanguageModel, weights: str, texts: Sequence[str] | None = None) -> PackingLoss:
    """Pack a model's weights in place and measure what that changed.

    Args:
        weights: "int8" or "bfloat16".
        texts: to measure on; None lets the full model write (temperature 1), which needs no data and is
            where KL(full ‖ packed) is defined.

    Raises:
        ConfigError: an unknown packing, or another family than a decoder's.
        DataError: the texts hold no token.
    """
    if texts is None:
        texts = [
            model.generate("", temperature=1.0, seed=0, max_new_tokens=_WRITTEN, eos_token_id=[], stop=[])
        ]
    rows = _rows(model, texts)
    before = [_log_probabilities(model, row) for row in rows]
    pack_network(model.network, weights)
    divergence = nats = packed_nats = 0.0
    for row, full in zip(rows, before, strict=True):
        packed = _log_probabilities(model, row)
        targets = torch.tensor(row[1:])[:, None]
        divergence += float((full.exp() * (full - packed)).sum())
        nats -= float(full.gather(1, targets).sum())
        packed_nats -= float(packed.gather(1, targets).sum())
    tokens = sum(len(row) - 1 for row in rows)
    size = sum(len(model.tokenizer.decode(row[1:]).encode()) for row in rows) or 1
    bits = math.log(2) * size
    return PackingLoss(divergence / tokens, nats / bits, packed_nats / bits, tokens)


def _rows(model: LanguageModel, texts: Sequence[str]) -> list[list[int]]:
    """Token rows that begin with the separator, as many as the memory for logits allows."""
    left = max(1, _MOST_LOGITS // model.network.config.vocab_size)
    rows = []
    for ids in model.tokenizer.encode_batch(list(texts)):
        ids = ids[: min(left, model.max_length - 1)]
        if ids:
            rows.append([model.separator_id, *ids])
            left -= len(ids)
    if not rows:
        raise DataError("no text to measure on", allowed="texts with at least one token")
    return rows


@torch.inference_mode()
def _log_probabilities(model: LanguageModel, row: Sequence[int]) -> Tensor:
    """(T - 1, V) log-probabilities of what follows each token but the last."""
    ids = torch.tensor([row[:-1]], device=model.device)
    return model.network(ids)[0].float().log_softmax(-1).cpu()
