"""What encoders say of texts: hidden words, labels, answers. Texts run in batches of like length.

Legend: B texts, T tokens, D width, V vocabulary, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from hortus.language.states import hidden_states
from hortus.tokenizer import Window

__all__ = ["Answer", "Filling", "Label", "answer_windows", "best_span", "fill_masks", "label_texts"]

_LONGEST_ANSWER = 30  # tokens


class Filling(NamedTuple):
    """A word for a mask: the token as text, its probability, and its id."""

    text: str
    probability: float
    token_id: int


class Label(NamedTuple):
    """The likeliest label of a text, its probability, and those of all labels."""

    label: str
    probability: float
    probabilities: dict[str, float]


class Answer(NamedTuple):
    """A stretch of the context: its text, probability, and place in characters."""

    text: str
    probability: float
    start: int
    end: int


@torch.inference_mode()
def fill_masks(
    network: Any,
    rows: Sequence[Sequence[int]],
    mask_id: int,
    pad_id: int,
    *,
    top: int,
    num_tokens: int,
    progress: bool | None = None,
) -> list[list[list[tuple[int, float]]]]:
    """For each row, for each mask in it, the likeliest tokens and their probabilities."""
    results: list[list[list[tuple[int, float]]]] = [[] for _ in rows]
    for batch, hidden, _ in hidden_states(network, rows, pad_id, progress=progress, verb="fill"):
        places = [
            (n, time) for n, i in enumerate(batch) for time, token in enumerate(rows[i]) if token == mask_id
        ]
        if not places:
            continue
        at, time = torch.tensor(places, device=hidden.device).unbind(1)
        logits = network.head(hidden[at, time]).float()  # (masks, V)
        logits[:, num_tokens:] = -torch.inf
        best = logits.softmax(-1).topk(min(top, num_tokens))
        for (n, _), tokens, values in zip(places, best.indices.tolist(), best.values.tolist(), strict=True):
            results[batch[n]].append(list(zip(tokens, values, strict=True)))
    return results


@torch.inference_mode()
def label_texts(
    network: Any,
    rows: Sequence[Sequence[int]],
    types: Sequence[Sequence[int]],
    pad_id: int,
    progress: bool | None = None,
) -> list[Label]:
    """The label of each row."""
    results: list[Label | None] = [None] * len(rows)
    for batch, hidden, _ in hidden_states(network, rows, pad_id, types, progress, "classify"):
        for index, row in zip(batch, network.head(hidden).float().softmax(-1).tolist(), strict=True):
            probabilities = dict(zip(network.config.labels, row, strict=True))
            best = max(probabilities, key=lambda label: probabilities[label])
            results[index] = Label(best, probabilities[best], probabilities)
    return [label for label in results if label is not None]


@torch.inference_mode()
def answer_windows(
    network: Any,
    contexts: Sequence[str],
    windows: Sequence[Sequence[Window]],
    pad_id: int,
    progress: bool | None = None,
) -> list[Answer]:
    """The best stretch of each context over its windows.

    The probability of a span is that of its first token times that of its last, each among the tokens of the
    context in one window; a span has at most 30 tokens.
    """
    flat = [(owner, window) for owner, mine in enumerate(windows) for window in mine]
    best = [Answer("", 0.0, 0, 0)] * len(contexts)
    rows, types = [w.input_ids for _, w in flat], [w.token_type_ids for _, w in flat]
    for batch, hidden, _ in hidden_states(network, rows, pad_id, types, progress, "answer"):
        logits = network.head(hidden).float().cpu().numpy()  # (B, T, 2)
        for place, index in enumerate(batch):
            owner, window = flat[index]
            start, end, probability = best_span(logits[place, : len(window.spans)], window)
            if probability > best[owner].probability:
                best[owner] = Answer(contexts[owner][start:end], probability, start, end)
    return best


def best_span(logits: np.ndarray, window: Window) -> tuple[int, int, float]:
    """First and last character of the likeliest span of a window of (T, 2) logits, and its probability."""
    inside = np.array([span is not None for span in window.spans])
    if not inside.any():
        return 0, 0, 0.0
    logits = np.where(inside[:, None], logits, -np.inf)
    weights = np.exp(logits - logits.max(0))
    first, last = (weights / weights.sum(0)).T
    spans = np.triu(np.tril(first[:, None] * last[None], _LONGEST_ANSWER - 1))
    one, other = np.unravel_index(int(spans.argmax()), spans.shape)
    begin, finish = window.spans[one], window.spans[other]
    assert begin is not None and finish is not None
    return begin[0], finish[1], float(spans[one, other])
