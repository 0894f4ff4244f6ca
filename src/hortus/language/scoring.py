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
from torch.nn import functional as F

from hortus.language.batching import batches_by_length, pad_right, tracked
from hortus.models.layers.memory import keep_freed_memory

__all__ = ["TextScores", "score_choices", "score_tokens", "split_choice", "windows"]

_MOST_ROWS = 64
_MOST_TOKENS = 8192  # of one batch: about 4 x width x 8192 x 4 bytes of activations
_PACKED_TOKENS = 2048  # of one row of questions: on the CPU 1024 and 4096 took 12 and 19 % longer
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
    keep_freed_memory()  # two thirds of the time: fresh pages for each chunk's logits cost as much as they do
    chunk = max(1, _MOST_LOGITS // network.config.vocab_size)
    pieces = []
    for start in range(0, targets.numel(), chunk):
        logits = network.head(hidden[start : start + chunk]).float()
        # Half the time of gathering and logsumexp, product included: it passes over the logits less often.
        losses = F.cross_entropy(logits, targets[start : start + chunk], reduction="none")
        pieces.append(-losses.double().cpu())
    return torch.cat(pieces).numpy()


@torch.inference_mode()
def score_choices(
    network: Any,
    contexts: Sequence[Sequence[int]],
    choices: Sequence[Sequence[Sequence[int]]],
    progress: bool | None = None,
) -> list[np.ndarray]:
    """Log-probabilities of every context's choices.

    A context is run once for all of its choices, and contexts and choices of many questions are one row
    without padding: on 33 million parameters and choices of very different lengths this took 0.4 of the
    time of padded choices over a cached context.

    Args:
        contexts: token ids, at least one each.
        choices: for each context the token ids of its choices.

    Returns:
        For each context (number of choices,) fp64, in nats.
    """
    results: list[np.ndarray] = []
    packs: list[list[int]] = []
    room = 0
    for index, (context, mine) in enumerate(zip(contexts, choices, strict=True)):
        size = len(context) + sum(len(choice) - 1 for choice in mine)
        if size > room:
            packs.append([])
            room = _PACKED_TOKENS
        packs[-1].append(index)
        room -= size
    for pack in tracked(packs, len(contexts), progress, "rank"):
        results += _score_pack(network, [contexts[i] for i in pack], [choices[i] for i in pack])
    return results


def _score_pack(
    network: Any, contexts: Sequence[Sequence[int]], choices: Sequence[Sequence[Sequence[int]]]
) -> list[np.ndarray]:
    """The choices' sums, all in one row of tokens: a context, its choices without their last tokens, ..."""
    ids: list[int] = []
    places: list[int] = []  # where each counted token is predicted
    for context, mine in zip(contexts, choices, strict=True):
        ids += context
        last = len(ids) - 1
        for choice in mine:
            places += [last, *range(len(ids), len(ids) + len(choice) - 1)]
            ids += choice[:-1]
    if not places:
        return [np.zeros(0) for _ in contexts]
    trees = [
        (len(context), *(len(choice) - 1 for choice in mine if len(choice) > 1))
        for context, mine in zip(contexts, choices, strict=True)
    ]
    device = _device(network)
    hidden = network.hidden(torch.tensor([ids], device=device), trees=trees)[0]
    flat = [choice for mine in choices for choice in mine]
    targets = torch.tensor([token for choice in flat for token in choice], device=device)
    scores = token_log_probabilities(network, hidden[torch.tensor(places, device=device)], targets)
    sums = np.add.reduceat(scores, np.cumsum([0, *map(len, flat)])[:-1])
    return np.split(sums, np.cumsum([len(mine) for mine in choices])[:-1])


def _device(network: Any) -> torch.device:
    return next(network.parameters()).device
