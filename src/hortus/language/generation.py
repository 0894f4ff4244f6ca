"""The token loop: prompts in, one token a row and step out, by decoders and encoder-decoders.

What all prompts of a batch begin with is read once. Finished rows leave the batch when half of it has
finished: the rest then runs in a smaller one.

Legend: B rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from hortus.language.batching import pad_left, pad_right_masked
from hortus.language.config import GenerationConfig
from hortus.language.sampling import next_tokens
from hortus.models.decoder import open_decoder, open_session

__all__ = ["Row", "continue_rows", "shared_prefix"]

_WORTH_SHARING = 32  # tokens


@dataclass
class Row:
    """One text being continued.

    prompt: its token ids, at least one.
    uniforms: (max_new_tokens,) the row's own uniform numbers.
    room: the most tokens that may be added.
    tokens: added so far, without the one that ended the text.
    finished: set by the loop at an end token or without room, or by the caller to stop early.
    """

    prompt: Sequence[int]
    uniforms: Tensor
    room: int
    tokens: list[int] = field(default_factory=list)
    finished: bool = False


@torch.inference_mode()
def continue_rows(
    network: Any,
    rows: Sequence[Row],
    config: GenerationConfig,
    *,
    ends: Collection[int],
    pad_id: int,
    num_tokens: int,
) -> Iterator[tuple[Row, int]]:
    """Yield (row, token) as tokens are added, until every row is finished.

    Args:
        ends: ids that finish a row; they are not yielded.
        pad_id: fills up shorter prompts; never attended to.
        num_tokens: ids from here on have no text (a vocabulary padded for speed) and are never chosen.
    """
    running = [row for row in rows if row.room > 0]
    if not running:
        return
    device = next(network.parameters()).device
    begin = _begin_targets if network.architecture == "encoder-decoder" else _begin
    decoder, logits = begin(network, running, pad_id, device)
    seen = _seen(network, running, logits) if config.repetition_penalty != 1 else None
    while True:
        if logits.size(1) > num_tokens:
            logits[:, num_tokens:] = -torch.inf
        uniforms = _uniforms(running).to(device) if config.temperature else None
        chosen = next_tokens(logits, config, seen, uniforms)
        for row, token in zip(running, chosen.tolist(), strict=True):
            if not row.finished:
                yield from _add(row, token, ends)
        alive = [index for index, row in enumerate(running) if not row.finished]
        if not alive:
            return
        if seen is not None:
            seen[torch.arange(len(running), device=device), chosen] = True
        if 2 * len(alive) <= len(running):
            kept = torch.tensor(alive, device=device)
            running = [running[index] for index in alive]
            decoder.select(kept)
            chosen = chosen[kept]
            seen = None if seen is None else seen[kept]
        logits = decoder.step(chosen)


def _begin(network: Any, rows: Sequence[Row], pad_id: int, device: torch.device) -> tuple[Any, Tensor]:
    """A decoder that has read the prompts, and the logits (B, V) of what follows them."""
    ids, mask = pad_left([row.prompt for row in rows], pad_id)
    capacity = ids.size(1) + max(row.room for row in rows) - 1
    shared = shared_prefix([row.prompt for row in rows]) if mask is None and len(rows) > 1 else 0
    if shared:
        ids = ids.to(device)
        reader = open_decoder(network, 1, capacity)
        reader.hidden(ids[:1, :shared])
        decoder = reader.branch(torch.zeros(len(rows), dtype=torch.long, device=device))
        return decoder, decoder.prefill(ids[:, shared:])
    decoder = open_decoder(network, len(rows), capacity)
    return decoder, decoder.prefill(ids.to(device), None if mask is None else mask.to(device))


def shared_prefix(prompts: Sequence[Sequence[int]]) -> int:
    """Number of tokens that all prompts begin with, if reading them only once pays; else 0.

    At least one token of each prompt is left, for its logits.

    >>> shared_prefix([[7] * 40 + [1, 2], [7] * 40 + [3, 4]]), shared_prefix([[7, 1], [7, 2]])
    (40, 0)
    """
    ordered = sorted(map(list, prompts))
    low, high = ordered[0], ordered[-1]  # in the order of tokens, what these two share all do
    most = min(map(len, prompts)) - 1
    shared = next((n for n in range(most) if low[n] != high[n]), most)
    return shared if shared >= _WORTH_SHARING and 2 * shared >= max(map(len, prompts)) else 0


def _begin_targets(
    network: Any, rows: Sequence[Row], pad_id: int, device: torch.device
) -> tuple[Any, Tensor]:
    """A session that has read the sources and the start token, and the logits (B, V) of the first token."""
    ids, mask = pad_right_masked([row.prompt for row in rows], pad_id)
    mask = None if mask is None else mask.to(device)
    session = open_session(network, ids.to(device), mask, capacity=max(row.room for row in rows))
    start = network.config.decoder_start_token_id or 0
    return session, session.step(torch.full((len(rows),), start, device=device))


def _uniforms(rows: Sequence[Row]) -> Tensor:
    """(B,) the uniform number of each row's next token; a finished row repeats its last one."""
    return torch.stack([row.uniforms[min(len(row.tokens), row.uniforms.numel() - 1)] for row in rows])


def _add(row: Row, token: int, ends: Collection[int]) -> Iterator[tuple[Row, int]]:
    if token in ends:
        row.finished = True
        return
    row.tokens.append(token)
    yield row, token
    row.finished = row.finished or len(row.tokens) >= row.room


def _seen(network: Any, rows: Sequence[Row], logits: Tensor) -> Tensor:
    """(B, V) true at the tokens of each prompt; of an encoder-decoder's text, at its start token."""
    seen = torch.zeros(logits.shape, dtype=torch.bool, device=logits.device)
    if network.architecture == "encoder-decoder":
        seen[:, network.config.decoder_start_token_id or 0] = True
        return seen
    for index, row in enumerate(rows):
        seen[index, torch.tensor(row.prompt, device=logits.device)] = True
    return seen
