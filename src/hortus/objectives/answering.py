"""Extractive question answering: the first and last token of the answer in its context.

Long contexts are cut into windows. A window without the answer points at its first token, [CLS].

Legend: B windows, T tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hortus.errors import DataError
from hortus.models import with_head
from hortus.objectives.classification import PADDING
from hortus.objectives.examples import Examples
from hortus.objectives.finetune import Preparation
from hortus.objectives.finetune_config import FinetuneConfig
from hortus.objectives.rows import Row, split_rows, text_of, token_limit
from hortus.tokenizer import Tokenizer, Window, windows_of_pair
from hortus.training import decay_groups

__all__ = ["Answering", "prepare", "token_span"]


class Answering:
    """A task for the Trainer: the mean of the cross-entropies of the answer's first and last token.

    A batch is {"input_ids", "attention_mask", "token_type_ids": (B, T), "starts", "ends": (B,)}.
    """

    def __init__(self, network: Any):
        self.network: nn.Module = network
        self._encoder = network

    def loss(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, dict[str, Any]]:
        """Summed loss in nats, number of windows, how many spans are exact, and their token F1."""
        logits = self._encoder(batch["input_ids"], batch["attention_mask"], batch["token_type_ids"]).float()
        logits = logits.masked_fill(batch["attention_mask"][..., None] == 0, torch.finfo(logits.dtype).min)
        starts, ends = batch["starts"], batch["ends"]
        start_logits, end_logits = logits.unbind(-1)  # (B, T)
        loss = F.cross_entropy(start_logits, starts, reduction="sum")
        loss = (loss + F.cross_entropy(end_logits, ends, reduction="sum")) / 2
        first, last, count = start_logits.argmax(-1), end_logits.argmax(-1), torch.tensor(starts.numel())
        shared = (torch.minimum(last, ends) - torch.maximum(first, starts) + 1).clamp_min(0)
        sizes = (last - first + 1).clamp_min(0) + ends - starts + 1
        metrics = {
            "exact": (((first == starts) & (last == ends)).sum(), count),
            "f1": ((2 * shared / sizes).sum(), count),
        }
        return loss, count, metrics

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Decay for matrices; none for biases and norms."""
        return decay_groups(self.network, weight_decay)


def prepare(
    network: Any, tokenizer: Tokenizer, data: Path, validation: Path | None, config: FinetuneConfig
) -> Preparation:
    """Rows of question, context and answer, or with SQuAD's `answers` (text, answer_start).

    Raises:
        ConfigError: the network is no encoder.
        DataError: an answer that is not in its context.
    """
    network = with_head(network, "answer")
    most = token_limit(network, tokenizer, config)
    parts = split_rows(data, validation, config, ["question", "context"])
    sets = []
    for rows in parts:
        examples = [
            example
            for number, row in enumerate(rows)
            for example in _examples(row, number, tokenizer, most, config.stride)
        ]
        padding = {"input_ids": tokenizer.pad_id or 0, **PADDING}
        sets.append(
            Examples(
                examples,
                padding,
                batch_size=config.batch_size,
                shuffle=rows is parts[0],
                seed=config.seed,
            )
            if examples
            else None
        )
    assert sets[0] is not None
    return Preparation(Answering(network), sets[0], sets[1], f"{len(parts[0]):,} questions.")


def _examples(row: Row, number: int, tokenizer: Tokenizer, most: int, stride: int) -> list[dict[str, Any]]:
    context = text_of(row, "context", number)
    start, end = _place(row, context, number)
    examples = []
    question = text_of(row, "question", number)
    for window in windows_of_pair(tokenizer, question, context, max_length=most, stride=stride):
        first, last = token_span(window, start, end)
        examples.append(
            {
                "input_ids": window.input_ids,
                "attention_mask": [1] * len(window.input_ids),
                "token_type_ids": window.token_type_ids,
                "starts": first,
                "ends": last,
            }
        )
    return examples


def _place(row: Row, context: str, number: int) -> tuple[int, int]:
    """Where the answer stands in the context, in characters; (0, 0) where there is none."""
    answers = row.get("answers")
    if isinstance(answers, Mapping):
        texts, starts = answers.get("text") or [], answers.get("answer_start") or []
        if not len(texts):
            return 0, 0
        answer, start = texts[0], starts[0]
    else:
        answer, start = row.get("answer") or "", row.get("answer_start")
        if not answer:
            return 0, 0
        start = context.find(answer) if start is None else int(start)
    if start < 0 or context[start : start + len(answer)] != answer:
        raise DataError(
            f"row {number + 1}: the answer {answer!r:.40} does not stand in its context",
            allowed="an answer copied from the context, with its place if it occurs before",
        )
    return start, start + len(answer)


def token_span(window: Window, start: int, end: int) -> tuple[int, int]:
    """First and last token of the characters [start, end) in a window; (0, 0) if they are not all there."""
    inside = [
        place
        for place, span in enumerate(window.spans)
        if span is not None and span[0] < end and span[1] > start
    ]
    if not inside or start == end:
        return 0, 0
    first, last = window.spans[inside[0]], window.spans[inside[-1]]
    assert first is not None and last is not None
    whole = first[0] <= start and last[1] >= end
    return (inside[0], inside[-1]) if whole else (0, 0)
