"""A model with fewer tokens: what the texts at hand never use goes, out of tokenizer and network alike.

The embedding is most of a small or multilingual model. Every kept token keeps its row, so the states of a
text are the same, and its logits are those of the kept tokens.

Legend: V vocabulary, K kept tokens.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import torch

from hortus.language.model import LanguageModel
from hortus.models import build_network, family
from hortus.tokenizer.trimming import trimmed_tokenizer, used_ids

__all__ = ["trim_vocabulary"]

_IDS = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")


@torch.no_grad()
def trim_vocabulary(model: LanguageModel, texts: Iterable[str]) -> LanguageModel:
    """The model with the tokens that the texts need, and the special ones; the given one is left as it is.

    Raises:
        ArtifactError: a tokenizer of a kind that cannot be cut.
    """
    tokenizer, kept = trimmed_tokenizer(model.tokenizer, used_ids(model.tokenizer, texts))
    network = model.network
    places = {old: new for new, old in enumerate(kept)}
    changes = {"vocab_size": len(kept)} | {
        name: places.get(getattr(network.config, name)) for name in _IDS if hasattr(network.config, name)
    }
    kind = family(network.model_type)
    written = kind.write_config(dataclasses.replace(network.config, **changes))
    smaller: Any = build_network(written | {"model_type": network.model_type})
    rows, source = torch.tensor(kept), dict(network.named_parameters())
    for name, parameter in smaller.named_parameters():
        origin = source[name].to("cpu")
        parameter.copy_(origin if origin.shape == parameter.shape else origin[rows])
    weight = next(network.parameters())
    generation = model.generation_config
    if generation.eos_token_id:
        ends = tuple(places[old] for old in generation.eos_token_id if old in places)
        generation = dataclasses.replace(generation, eos_token_id=ends)
    return LanguageModel(
        smaller.to(device=weight.device, dtype=weight.dtype),
        tokenizer,
        generation,
        model.card,
        max_length=model.max_length,
        recipe=model.recipe,
    )
