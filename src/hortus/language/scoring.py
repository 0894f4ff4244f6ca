"""Log-probabilities of texts and of choices by causal networks.

Choices are tokenised as lm-evaluation-harness does it, so that scores can be compared with published ones:
spaces at the end of the context go to the choice, then whole = encode(context + choice) and the choice's
tokens are whole[len(encode(context)):]. What differs: an empty context is the document separator that the
network was trained with, and a choice whose tokens all melt into the context's last one is encoded alone
rather than scored as certain.

Legend: B rows, T tokens, D width, V vocabulary, N counted tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hortus.language.batching import batches_by_length, pad_right, tracked
from hortus.models.layers.attention import Tree
from hortus.models.layers.memory import keep_freed_memory

__all__ = ["TextScores", "score_choices", "score_tokens", "split_choice", "windows"]

_MOST_ROWS = 64
_MOST_TOKENS = 8192  # of one batch: about 4 x width x 8192 x 4 bytes of activations
_PACKED_TOKENS = 2048  # of one row of questions: on the CPU 1024 and 4096 took 12 and 19 % longer
_SHORTEST_SHARED = 16  # tokens that contexts must share at least to be run as one
_MOST_BRANCHED = 512  # tokens that may follow what is shared
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

    A context is run once for all of its choices, what several contexts begin with is run once for them all
    where it is most of them, and everything is one row without padding: on 33 million parameters and choices
    of very different lengths this took 0.4 of the time of padded choices over a cached context.

    Args:
        contexts: token ids, at least one each.
        choices: for each context the token ids of its choices.

    Returns:
        For each context (number of choices,) fp64, in nats.
    """
    results: list[np.ndarray] = [np.zeros(len(mine)) for mine in choices]
    packs: list[list[_Stem]] = []
    room = 0
    order = [index for index, mine in enumerate(choices) if mine]
    for stem in _stems(sorted(order, key=lambda index: list(contexts[index])), contexts, choices):
        size = stem.size()
        if size > room:
            packs.append([])
            room = _PACKED_TOKENS
        packs[-1].append(stem)
        room -= size
    for pack in tracked(packs, len(contexts), progress, "rank"):
        for index, scores in _score_pack(network, pack, choices).items():
            results[index] = scores
    return results


@dataclass
class _Stem:
    """Tokens, what may follow them, and the questions that end with them.

    tokens: after those of the stem that this one continues.
    ending: numbers of the contexts that end here.
    choices: of all contexts.
    """

    tokens: Sequence[int]
    ending: list[int]
    follow: list[_Stem]
    choices: Sequence[Sequence[Sequence[int]]]

    def branches(self) -> list[Sequence[int]]:
        """Choices without their last tokens, which are predicted and never read."""
        return [choice[:-1] for index in self.ending for choice in self.choices[index] if len(choice) > 1]

    def size(self) -> int:
        """Tokens of the tree."""
        own = len(self.tokens) + sum(map(len, self.branches()))
        return own + sum(stem.size() for stem in self.follow)

    def tree(self) -> Tree:
        """Lengths of the parts."""
        follow = [stem.tree() for stem in self.follow]
        return (len(self.tokens), *map(len, self.branches()), *follow)


def _stems(
    order: Sequence[int],
    contexts: Sequence[Sequence[int]],
    choices: Sequence[Sequence[Sequence[int]]],
    depth: int = 0,
) -> Iterator[_Stem]:
    """Contexts in alphabetical order, equal in their first `depth` tokens, as trees of what they share."""
    place = 0
    while place < len(order):
        first = contexts[order[place]]
        end, shared, branched = place + 1, len(first), 0
        while end < len(order):
            common = _common(first, contexts[order[end]], depth)
            rest = len(contexts[order[end]]) - common + sum(len(one) - 1 for one in choices[order[end]])
            branched += rest
            # Attention among branches is computed in full: it must cost less than what is shared.
            if common - depth < max(_SHORTEST_SHARED, rest) or branched > _MOST_BRANCHED:
                break
            end, shared = end + 1, common
        run = order[place:end]
        ending = [index for index in run if len(contexts[index]) == shared]
        rest_of = [index for index in run if len(contexts[index]) > shared]
        follow = list(_stems(rest_of, contexts, choices, shared))
        yield _Stem(first[depth:shared], ending, follow, choices)
        place = end


def _common(one: Sequence[int], other: Sequence[int], start: int) -> int:
    """How many of their first tokens are equal, of which `start` are known to be."""
    most = min(len(one), len(other))
    for place in range(start, most):
        if one[place] != other[place]:
            return place
    return most


def _score_pack(
    network: Any, pack: Sequence[_Stem], choices: Sequence[Sequence[Sequence[int]]]
) -> dict[int, np.ndarray]:
    """The choices' sums of every context in some trees, which are one row of tokens."""
    ids: list[int] = []
    asked: list[int] = []  # contexts in the order of their counted tokens
    places: list[int] = []  # where each counted token is predicted

    def lay(stem: _Stem) -> None:
        ids.extend(stem.tokens)
        last = len(ids) - 1
        for index in stem.ending:
            asked.append(index)
            for choice in choices[index]:
                places.extend([last, *range(len(ids), len(ids) + len(choice) - 1)])
                ids.extend(choice[:-1])
        for following in stem.follow:
            lay(following)

    for stem in pack:
        lay(stem)
    device = _device(network)
    row = torch.tensor([ids], device=device)
    hidden = network.hidden(row, trees=[stem.tree() for stem in pack])[0]
    flat = [choice for index in asked for choice in choices[index]]
    targets = torch.tensor([token for choice in flat for token in choice], device=device)
    scores = token_log_probabilities(network, hidden[torch.tensor(places, device=device)], targets)
    sums = np.add.reduceat(scores, np.cumsum([0, *map(len, flat)])[:-1])
    cut = np.split(sums, np.cumsum([len(choices[index]) for index in asked])[:-1])
    return dict(zip(asked, cut, strict=True))


def _device(network: Any) -> torch.device:
    return next(network.parameters()).device
