"""The task lm: go on as a family was pretrained, on texts of the user's.

Decoders predict the next token of packed texts, encoders restore hidden tokens, encoder-decoders write a
target after a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from hortus.errors import ArtifactError, DataError
from hortus.models import with_head
from hortus.objectives.causal import CausalLanguageModeling
from hortus.objectives.encoder_decoder import EncoderDecoderModeling
from hortus.objectives.examples import Examples
from hortus.objectives.finetune import Preparation
from hortus.objectives.finetune_config import FinetuneConfig
from hortus.objectives.masked import MaskedLanguageModeling
from hortus.objectives.rows import Row, split_rows, text_of, token_limit, within
from hortus.tokenizer import Tokenizer, joined
from hortus.training import Data, Task, TensorData

__all__ = ["packed", "prepare"]


def prepare(
    network: Any, tokenizer: Tokenizer, data: Path, validation: Path | None, config: FinetuneConfig
) -> Preparation:
    """Rows of text; for an encoder-decoder of text and target.

    Raises:
        ArtifactError: the tokenizer lacks a token that the task needs.
        DataError: rows that do not fit.
    """
    kind = network.architecture
    columns = [config.text_column] + ([config.target_column] if kind == "encoder-decoder" else [])
    parts = split_rows(data, validation, config, columns)
    most = token_limit(network, tokenizer, config)
    task: Task
    if kind == "decoder":
        task, make = CausalLanguageModeling(network), _packed_data
    elif kind == "encoder":
        network = with_head(network, "masked_lm")
        task, make = _masked(network, tokenizer, config.mask_share), _pieces
    else:
        task, make = EncoderDecoderModeling(network), _pairs
    sets = [
        make(rows, tokenizer, most, config, training) if rows else None
        for rows, training in zip(parts, (True, False), strict=True)
    ]
    assert sets[0] is not None
    return Preparation(task, sets[0], sets[1], f"{len(parts[0]):,} texts.")


def _masked(network: Any, tokenizer: Tokenizer, share: float) -> MaskedLanguageModeling:
    if tokenizer.mask_id is None:
        raise ArtifactError("the tokenizer has no mask", do="add mask_token to tokenizer_config.json")
    return MaskedLanguageModeling(
        network,
        mask_id=tokenizer.mask_id,
        special_ids=tokenizer.special_ids(),
        num_tokens=tokenizer.vocab_size,
        share=share,
    )


def _texts(rows: Sequence[Row], tokenizer: Tokenizer, column: str) -> list[list[int]]:
    return tokenizer.encode_batch([text_of(row, column, number) for number, row in enumerate(rows)])


def _packed_data(
    rows: Sequence[Row], tokenizer: Tokenizer, most: int, config: FinetuneConfig, training: bool
) -> Data:
    end = tokenizer.eos_id
    texts = _texts(rows, tokenizer, config.text_column)
    ids, segments = packed([[*text, end] if end is not None else text for text in texts], most)
    return TensorData(
        {"input_ids": ids, "segment_ids": segments},
        batch_size=config.batch_size,
        shuffle=training,
        seed=config.seed,
    )


def packed(texts: Sequence[Sequence[int]], length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Texts one after the other in rows of `length` tokens: ids, and numbers of texts, -1 at the filling.

    >>> packed([[5, 6], [7]], 2)
    (tensor([[5, 6],
            [7, 0]]), tensor([[ 0,  0],
            [ 1, -1]]))
    """
    flat = [token for text in texts for token in text]
    if not flat:
        raise DataError("the texts have no tokens", do="check the column of texts")
    owners = [number for number, text in enumerate(texts) for _ in text]
    filling = -len(flat) % length
    ids = torch.tensor(flat + [0] * filling).view(-1, length)
    return ids, torch.tensor(owners + [-1] * filling).view(-1, length)


def _pieces(
    rows: Sequence[Row], tokenizer: Tokenizer, most: int, config: FinetuneConfig, training: bool
) -> Data:
    """Texts framed; longer ones cut into pieces."""
    room = most - 2
    framed = [
        joined(tokenizer, text[start : start + room])[0]
        for text in _texts(rows, tokenizer, config.text_column)
        for start in range(0, len(text), room)
    ]
    examples = [{"input_ids": ids, "attention_mask": [1] * len(ids)} for ids in framed]
    padding = {"input_ids": tokenizer.pad_id or 0, "attention_mask": 0}
    return Examples(examples, padding, batch_size=config.batch_size, shuffle=training, seed=config.seed)


def _pairs(
    rows: Sequence[Row], tokenizer: Tokenizer, most: int, config: FinetuneConfig, training: bool
) -> Data:
    """Sources, and targets that end with the end token."""
    if tokenizer.eos_id is None:
        raise ArtifactError("the tokenizer has no end token", do="add eos_token to tokenizer_config.json")
    texts = [text_of(row, config.text_column, number) for number, row in enumerate(rows)]
    sources = tokenizer.encode_batch(texts, add_special=True)  # as LanguageModel.generate reads them
    targets = _texts(rows, tokenizer, config.target_column)
    examples = []
    for number, (source, target) in enumerate(zip(sources, targets, strict=True)):
        source = within(source, most, config.truncate, number)
        labels = [*within(target, most - 1, config.truncate, number), tokenizer.eos_id]
        examples.append({"input_ids": source, "attention_mask": [1] * len(source), "labels": labels})
    padding = {"input_ids": tokenizer.pad_id or 0, "attention_mask": 0, "labels": -100}
    return Examples(examples, padding, batch_size=config.batch_size, shuffle=training, seed=config.seed)
