"""From logits to the next token: small pure functions, in the order in which they are applied.

repetition penalty -> temperature -> top-k -> top-p -> draw, as in Hugging Face's generate. What differs:
a draw inverts the cumulative distribution at a uniform number that belongs to the row, so a row's sample
does not depend on its neighbours in the batch.

Legend: B rows, V vocabulary.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from hortus.language.config import GenerationConfig

__all__ = ["draw", "keep_top_k", "keep_top_p", "next_tokens", "penalize_repetition", "uniform_numbers"]

# The likeliest tokens nearly always hold the mass that top-p asks for; sorting these costs little.
_FEW = 1024


def next_tokens(
    logits: Tensor, config: GenerationConfig, seen: Tensor | None = None, uniforms: Tensor | None = None
) -> Tensor:
    """The next token of each row.

    Args:
        logits: (B, V).
        seen: (B, V) true at tokens already in the row's text; None where there is no penalty.
        uniforms: (B,) fp64 in [0, 1); needed unless greedy.

    Returns:
        (B,) int64.
    """
    logits = logits.float()
    if seen is not None:
        logits = penalize_repetition(logits, seen, config.repetition_penalty)
    if config.temperature == 0 or uniforms is None:
        return logits.argmax(-1)
    logits = logits / config.temperature
    if config.top_k:
        logits = keep_top_k(logits, config.top_k)
    if config.top_p < 1:
        logits = keep_top_p(logits, config.top_p)
    return draw(logits, uniforms)


def penalize_repetition(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Divide positive and multiply negative logits of seen tokens by `penalty`.

    >>> penalize_repetition(torch.tensor([[2.0, -2.0, 2.0]]), torch.tensor([[True, True, False]]), 2.0)
    tensor([[ 1., -4.,  2.]])
    """
    return torch.where(seen, torch.where(logits < 0, logits * penalty, logits / penalty), logits)


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """Set all but the k largest logits of each row to -inf; those equal to the k-th stay.

    >>> keep_top_k(torch.tensor([[1.0, 3.0, 2.0]]), 2)
    tensor([[-inf, 3., 2.]])
    """
    smallest = logits.topk(min(k, logits.size(-1))).values[..., -1:]
    return logits.masked_fill(logits < smallest, -torch.inf)


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """Set to -inf all but the fewest largest logits whose probabilities add up to p or more.

    >>> keep_top_p(torch.tensor([[0.5, 0.3, 0.2]]).log(), 0.6).exp()
    tensor([[0.5000, 0.3000, 0.0000]])
    """
    total = logits.logsumexp(-1, keepdim=True)
    few = min(_FEW, logits.size(-1))
    largest = logits.topk(few).values
    if few < logits.size(-1) and ((largest - total).exp().sum(-1) < p).any():
        largest = logits.sort(descending=True).values
    probabilities = (largest - total).exp()
    # A token stays while those before it have not reached p; the first always stays.
    stays = probabilities.cumsum(-1) - probabilities < p
    smallest = largest.masked_fill(~stays, torch.inf).amin(-1, keepdim=True)
    return logits.masked_fill(logits < smallest, -torch.inf)


def draw(logits: Tensor, uniforms: Tensor) -> Tensor:
    """(B, V) logits, (B,) uniform numbers -> (B,) tokens: the cumulative distribution inverted."""
    cumulative = logits.softmax(-1).double().cumsum(-1)
    # The last entry is 1 up to rounding; scaling by it keeps every draw inside the distribution.
    targets = uniforms[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, targets, right=True)[:, 0].clamp_max(logits.size(-1) - 1)


def uniform_numbers(prompts: Sequence[Sequence[int]], count: int, seed: int | None) -> Tensor:
    """One stream of uniform numbers a row, decided by the seed, the prompt and how often it occurred before.

    So a text gets the same sample alone and in any list, and equal texts in one list get different ones.

    Returns:
        (len(prompts), count) fp64 in [0, 1).
    """
    if seed is None:
        seed = torch.seed()
    occurrences: Counter[tuple[int, ...]] = Counter()
    numbers = torch.empty(len(prompts), count, dtype=torch.float64)
    for row, prompt in enumerate(prompts):
        key = tuple(prompt)
        text = f"{seed} {occurrences[key]} {' '.join(map(str, key))}"
        occurrences[key] += 1
        row_seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
        generator = torch.Generator().manual_seed(row_seed % 2**63)
        numbers[row] = torch.rand(count, generator=generator, dtype=torch.float64)
    return numbers
