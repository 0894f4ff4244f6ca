"""From a step's logits to each text's next token and its log-probabilities.

Texts that share their settings are chosen together; a draw depends on the text's own uniform numbers, so
what is drawn does not depend on who else is in the batch.

Legend: B texts, V vocabulary, T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hortus.language.config import GenerationConfig
from hortus.language.sampling import next_tokens
from hortus.serving.sequence import Text, TokenScore

__all__ = ["choose", "score_tokens"]


def choose(logits: Tensor, texts: Sequence[Text], num_tokens: int) -> list[int]:
    """The next token of each text.

    Args:
        logits: (B, V); changed where ids have no text.
        num_tokens: ids from here on are never chosen.
    """
    if logits.size(1) > num_tokens:
        logits[:, num_tokens:] = -torch.inf
    chosen = [0] * len(texts)
    groups: dict[tuple[float, int, float, float], list[int]] = {}
    for index, text in enumerate(texts):
        config = text.request.config
        sampling = (config.top_k, config.top_p) if config.temperature else (0, 1.0)
        groups.setdefault((config.temperature, *sampling, config.repetition_penalty), []).append(index)
    for (temperature, top_k, top_p, penalty), members in groups.items():
        group = GenerationConfig(
            temperature=temperature, top_k=top_k, top_p=top_p, repetition_penalty=penalty
        )
        whole = len(members) == len(texts)
        rows = logits if whole else logits[torch.tensor(members, device=logits.device)]
        mine = [texts[index] for index in members]
        seen = _seen(mine, rows) if penalty != 1 else None
        uniforms = None
        if temperature:
            numbers = [text.row.uniforms[len(text.row.tokens)] for text in mine]
            uniforms = torch.stack(numbers).to(rows.device)
        for index, token in zip(members, next_tokens(rows, group, seen, uniforms).tolist(), strict=True):
            chosen[index] = token
    return chosen


def _seen(texts: Sequence[Text], logits: Tensor) -> Tensor:
    """(B, V) true at the tokens of each text so far."""
    seen = torch.zeros(logits.shape, dtype=torch.bool, device=logits.device)
    for index, text in enumerate(texts):
        seen[index, torch.tensor(text.tokens(0, text.num_tokens), device=logits.device)] = True
    return seen


def score_tokens(logits: Tensor, tokens: Sequence[int], alternatives: int) -> list[TokenScore]:
    """log softmax of (T, V) logits at each token, and the likeliest ones beside it."""
    logits = logits.float()
    total = logits.logsumexp(-1)
    at = torch.tensor(tokens, device=logits.device)
    mine = (logits.gather(1, at[:, None])[:, 0] - total).tolist()
    if not alternatives:
        return [TokenScore(token, value) for token, value in zip(tokens, mine, strict=True)]
    top = logits.topk(min(alternatives, logits.size(1)))
    values, ids = (top.values - total[:, None]).tolist(), top.indices.tolist()
    return [
        TokenScore(token, value, tuple(zip(names, numbers, strict=True)))
        for token, value, names, numbers in zip(tokens, mine, ids, values, strict=True)
    ]
