"""Log-probabilities of texts and of choices by causal networks.

Choices are tokenised as lm-evaluation-harness does it, so that scores can be compared with published ones:
spaces at the end of the context go to the choice, then whole = encode(context + choice) and the choice's
tokens are whole[len(encode(context)):]. What differs: an empty context is the document separator that the
network was trained with, and a choice whose tokens all melt into the context's last one is encoded alone
rather than scored as certain.

Legend: B rows, T tokens, D width, V vocabulary, N counted tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from hortus.language.batching import batches_by_length, pad_left, pad_right, tracked
from hortus.models.decoder import open_decoder

__all__ = ["TextScores", "score_choices", "score_tokens", "split_choice", "windows"]

_MOST_ROWS = 64
_MOST_TOKENS = 8192  # of one batch: about 4 x width x 8192 x 4 bytes of activations
_MOST_LOGITS = 1 << 24  # numbers of one chunk of logits: 64 MB in fp32


class TextScores(NamedTuple):
    """Sums of log-probabilities in nats and numbers of tokens, one entry a text."""

    log_probabilities: np.ndarray
    num_tokens: np.ndarray


def split_choice(
    encode: Callable[[str], list[int]], context: str, choice: str, separator: int
) -> tuple[list[int], list[int]]:
    """Tokens of the context and of the choice after it.

    Args:
        separator: stands for an empty context.

    >>> split_choice(lambda text: [ord(letter) for letter in text], "ab ", "c", 0)
    ([97, 98], [32, 99])
    """
    stripped = context.rstrip()
    choice = context[len(stripped) :] + choice
    if not stripped:
        return [separator], encode(choice)
    before = encode(stripped)
    after = encode(stripped + choice)[len(before) :]
    return before, after or encode(choice)


def windows(num_tokens: int, longest: int, overlap: int) -> list[tuple[int, int, int]]:
    """Cut positions 0..num_tokens into (start, first counted, end) windows of at most `longest` positions.

    Every position but 0 is counted in exactly one window, after at least `overlap` others where there are
    so many (at least one always).

    >>> windows(6, longest=4, overlap=2)
    [(0, 1, 4), (2, 4, 6)]
    """
    cut: list[tuple[int, int, int]] = []
    counted = 1
    while counted < num_tokens:
        start = 0 if counted == 1 else counted - max(overlap, 1)
        end = min(start + longest, num_tokens)
        cut.append((start, counted, end))
        counted = end
    return cut


@torch.inference_mode()
def score_tokens(
    network: Any, rows: Sequence[Sequence[int]], counted_from: Sequence[int], pad_id: int
) -> np.ndarray:
    """Sum of log-probabilities of each row's tokens from `counted_from` (1 or more) on.

    Returns:
        (len(rows),) fp64, in nats.
    """
    sums = np.zeros(len(rows))
    lengths = [len(row) for row in rows]
    for batch in batches_by_length(lengths, most_rows=_MOST_ROWS, most_tokens=_MOST_TOKENS):
        ids = pad_right([rows[i] for i in batch], pad_id).to(_device(network))
        hidden = network.hidden(ids[:, :-1]) if ids.size(1) > 1 else None
        places = [(n, t - 1) for n, i in enumerate(batch) for t in range(counted_from[i], lengths[i])]
        if hidden is None or not places:
            continue
        at, time = torch.tensor(places, device=ids.device).unbind(1)
        scores = token_log_probabilities(network, hidden[at, time], ids[at, time + 1])
        np.add.at(sums, np.asarray(batch)[at.cpu().numpy()], scores)
    return sums


def token_log_probabilities(network: Any, hidden: Tensor, targets: Tensor) -> np.ndarray:
    """log softmax(head(hidden))[target] in chunks: (N, D), (N,) -> (N,) fp64."""
    chunk = max(1, _MOST_LOGITS // network.config.vocab_size)
    pieces = []
    for start in range(0, targets.numel(), chunk):
        logits = network.head(hidden[start : start + chunk]).float()
        chosen = logits.gather(1, targets[start : start + chunk, None])[:, 0]
        pieces.append((chosen - logits.logsumexp(-1)).double().cpu())
    return torch.cat(pieces).numpy()


@torch.inference_mode()
def score_choices(
    network: Any,
    contexts: Sequence[Sequence[int]],
    choices: Sequence[Sequence[Sequence[int]]],
    pad_id: int,
    progress: bool | None = None,
) -> list[np.ndarray]:
    """Log-probabilities of every context's choices; a context is run once for all of them.

    Args:
        contexts: token ids, at least one each.
        choices: for each context the token ids of its choices, at least one choice each.

    Returns:
        For each context (number of choices,) fp64, in nats.
    """
    results: list[np.ndarray] = [np.zeros(0)] * len(contexts)
    lengths = [
        len(context) + max(map(len, mine), default=0) for context, mine in zip(contexts, choices, strict=True)
    ]
    batches = list(
        batches_by_length(lengths, most_rows=_MOST_ROWS, most_tokens=_MOST_TOKENS, most_padding=0.08)
    )
    for batch in tracked(batches, len(contexts), progress, "rank"):
        ids, mask = pad_left([contexts[i] for i in batch], pad_id)
        flat = [(n, choice) for n, i in enumerate(batch) for choice in choices[i]]
        scores = _score_continuations(network, ids, mask, flat, pad_id)
        ends = np.cumsum([len(choices[i]) for i in batch])[:-1]
        for i, mine in zip(batch, np.split(scores, ends), strict=True):
            results[i] = mine
    return results


def _score_continuations(
    network: Any, ids: Tensor, mask: Tensor | None, flat: list[tuple[int, Sequence[int]]], pad_id: int
) -> np.ndarray:
    """(len(flat),) sums for (row of the context, choice) pairs after (B, T) contexts padded on the left."""
    device = _device(network)
    if not flat:
        return np.zeros(0)
    longest = max(len(choice) for _, choice in flat)
    prefix = open_decoder(network, ids.size(0), ids.size(1) + longest - 1)
    last = prefix.hidden(ids.to(device), None if mask is None else mask.to(device))[:, -1]
    sums = np.zeros(len(flat))
    # The first token of each choice follows from the context alone.
    owners = torch.tensor([n for n, _ in flat], device=device)
    first = torch.tensor([choice[0] for _, choice in flat], device=device)
    sums += token_log_probabilities(network, last[owners], first)
    longer = [k for k, (_, choice) in enumerate(flat) if len(choice) > 1]
    most = max(1, _MOST_TOKENS // prefix.cache.capacity)
    for start in range(0, len(longer), most):
        part = longer[start : start + most]
        branch = prefix.branch(owners[part])
        tokens = pad_right([flat[k][1] for k in part], pad_id).to(device)
        hidden = branch.hidden(tokens[:, :-1])
        places = [(n, t - 1) for n, k in enumerate(part) for t in range(1, len(flat[k][1]))]
        at, time = torch.tensor(places, device=device).unbind(1)
        scores = token_log_probabilities(network, hidden[at, time], tokens[at, time + 1])
        np.add.at(sums, np.asarray(part)[at.cpu().numpy()], scores)
    return sums


def _device(network: Any) -> torch.device:
    return next(network.parameters()).device
