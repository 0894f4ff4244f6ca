"""Log-probabilities of answer choices by encoder-decoders, and states of their encoders.

A choice is scored with the end token after it, as T0 does it (Sanh et al. 2022, section 5.4). What differs
from calling the network once a choice: a source is encoded once, and its keys and values in cross attention
are shared by all of its choices.

Legend: B sources, n choices of a source, S source tokens, T target tokens, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from hortus.language.batching import batches_by_length, pad_right, pad_right_masked, tracked
from hortus.language.scoring import token_log_probabilities

__all__ = ["score_targets"]

_MOST_ROWS = 64
_MOST_TOKENS = 4096  # of one batch of sources


@torch.inference_mode()
def score_targets(
    network: Any,
    sources: Sequence[Sequence[int]],
    targets: Sequence[Sequence[Sequence[int]]],
    pad_id: int,
    progress: bool | None = None,
) -> list[np.ndarray]:
    """Log-probabilities of every source's targets.

    Args:
        sources: token ids, at least one each.
        targets: for each source the token ids of its choices, end token included.

    Returns:
        For each source (number of targets,) fp64, in nats.
    """
    results: list[np.ndarray] = [np.zeros(0)] * len(sources)
    # Sources with equally many targets go together, for a batch has n rows of the decoder for each source.
    groups: dict[int, list[int]] = {}
    for index, mine in enumerate(targets):
        groups.setdefault(len(mine), []).append(index)
    batches = [
        [group[row] for row in batch]
        for number, group in groups.items()
        if number
        for batch in batches_by_length(
            [len(sources[index]) for index in group],
            most_rows=_MOST_ROWS,
            most_tokens=_MOST_TOKENS,
            most_padding=0.08,
        )
    ]
    for batch in tracked(batches, len(sources), progress, "rank"):
        scores = _score_batch(network, [sources[i] for i in batch], [targets[i] for i in batch], pad_id)
        for index, mine in zip(batch, scores, strict=True):
            results[index] = mine
    return results


def _score_batch(
    network: Any, sources: list[Sequence[int]], targets: list[Sequence[Sequence[int]]], pad_id: int
) -> np.ndarray:
    """(B, n) sums for B sources with n targets each."""
    device = next(network.parameters()).device
    ids, mask = pad_right_masked(sources, pad_id)
    flat = [target for mine in targets for target in mine]
    start = network.config.decoder_start_token_id or 0
    inputs = pad_right([[start, *target[:-1]] for target in flat], pad_id)
    mask = None if mask is None else mask.to(device)
    hidden = network.hidden(ids.to(device), inputs.to(device), mask)  # (B·n, T, D)
    places = [(row, time) for row, target in enumerate(flat) for time in range(len(target))]
    at, time = torch.tensor(places, device=device).unbind(1)
    tokens = torch.tensor([token for target in flat for token in target], device=device)
    scores = token_log_probabilities(network, hidden[at, time], tokens)
    sums = np.bincount(at.cpu().numpy(), weights=scores, minlength=len(flat))
    return sums.reshape(len(sources), -1)
