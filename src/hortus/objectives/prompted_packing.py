"""Prompted examples as packed rows of tokens, for decoders and for encoder-decoders.

    decoder            input, a space, target, end token; one row holds several examples back to back
    encoder-decoder    inputs in the source row, targets with end token in the target row (T0: no end token
                       after the input); an example stands in both rows under the same segment number

Attention and loss stay inside an example. The tokens of a decoder's target are those that
`LanguageModel.rank` scores: encode(input + " " + target) beyond encode(input).

What is too long is cut and counted: an input loses its end in an encoder, as published, and its beginning
before a decoder, as `rank` cuts; a target loses its end and its end token.

Legend: B rows, T tokens of a row (S of a source row), segment -1 at padding, label -100 where none is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hortus.errors import ConfigError
from hortus.prompts import PromptedExample
from hortus.tokenizer import Tokenizer

__all__ = ["Layout", "TokenizedExample", "Truncation", "fit_rows", "pack", "tokenize"]

IGNORED, PADDING = -100, -1


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Shape and meaning of the rows.

    Args:
        encoder_decoder: two rows an example instead of one.
        sequence_length: T of a decoder's rows; an encoder-decoder's are (input_length, target_length).
        input_length, target_length: the longest input and target, in tokens.
        by_example: every example weighs 1, so that each of its n target tokens weighs 1/n.
        end_id: the end token; the target is learned with it.
        start_id: what stands before an encoder-decoder's target.
    """

    encoder_decoder: bool
    sequence_length: int
    input_length: int
    target_length: int
    by_example: bool
    end_id: int
    start_id: int = 0
    pad_id: int = 0

    def __post_init__(self) -> None:
        if min(self.input_length, self.target_length) < 1:
            raise ConfigError(
                f"input_length={self.input_length}, target_length={self.target_length}", allowed="1 or more"
            )
        if not self.encoder_decoder and self.sequence_length <= self.target_length:
            raise ConfigError(
                f"sequence_length={self.sequence_length} leaves no room for an input",
                allowed=f"above target_length={self.target_length}",
            )

    @property
    def room(self) -> tuple[int, ...]:
        """Tokens that fit a row; source and target of an encoder-decoder."""
        if self.encoder_decoder:
            return self.input_length, self.target_length
        return (self.sequence_length,)


@dataclass(frozen=True)
class TokenizedExample:
    """Token ids; the target's with the end token."""

    input: list[int]
    target: list[int]


@dataclass
class Truncation:
    """How many examples were cut."""

    examples: int = 0
    inputs: int = 0
    targets: int = 0


def tokenize(
    examples: Sequence[PromptedExample], tokenizer: Tokenizer, layout: Layout, counts: Truncation
) -> list[TokenizedExample]:
    """Token ids of examples, each with the first of its targets; what is cut is added to `counts`."""
    inputs = [example.input.rstrip() for example in examples]
    targets = [example.targets[0] for example in examples]
    sources = tokenizer.encode_batch(inputs)
    if layout.encoder_decoder:
        answers = tokenizer.encode_batch(targets)
    else:
        whole = tokenizer.encode_batch([f"{i} {t}" for i, t in zip(inputs, targets, strict=True)])
        answers = [both[len(source) :] for both, source in zip(whole, sources, strict=True)]
    most = layout.input_length
    if not layout.encoder_decoder:
        most = min(most, layout.sequence_length - layout.target_length)
    tokenized = []
    for source, answer in zip(sources, answers, strict=True):
        target = [*answer, layout.end_id]
        counts.examples += 1
        counts.inputs += len(source) > most
        counts.targets += len(target) > layout.target_length
        kept = source[:most] if layout.encoder_decoder else source[-most:]
        tokenized.append(TokenizedExample(kept, target[: layout.target_length]))
    return tokenized


def fit_rows(sizes: Sequence[tuple[int, ...]], room: tuple[int, ...]) -> list[list[int]]:
    """Indices by row: the longest first, each into the first row that has room (first-fit decreasing).

    >>> fit_rows([(3,), (5,), (2,)], (6,))
    [[1], [0, 2]]
    """
    rows: list[list[int]] = []
    left = np.empty((0, len(room)), dtype=np.int64)
    for index in sorted(range(len(sizes)), key=lambda index: sum(sizes[index]), reverse=True):
        size = np.array(sizes[index])
        fitting = np.flatnonzero((left >= size).all(axis=1))
        if not len(fitting):
            rows.append([])
            left = np.vstack([left, room])
            fitting = np.array([len(rows) - 1])
        rows[fitting[0]].append(index)
        left[fitting[0]] -= size
    return rows


def pack(examples: Sequence[TokenizedExample], layout: Layout) -> dict[str, Tensor]:
    """Rows of examples.

    Returns:
        Of a decoder: input_ids, segment_ids, labels (B, T) and weights (B, T) fp32; the label of a position
        is the token that follows it. Of an encoder-decoder: input_ids, source_segments (B, S) and
        decoder_input_ids, segment_ids, labels, weights (B, T).
    """
    sizes: list[tuple[int, ...]] = [(len(example.input), len(example.target)) for example in examples]
    if not layout.encoder_decoder:
        sizes = [(sum(size),) for size in sizes]
    rows = fit_rows(sizes, layout.room)
    packed = _empty(len(rows), layout)
    for place, members in enumerate(rows):
        used = np.zeros(len(layout.room), dtype=np.int64)
        for segment, index in enumerate(members):
            _put(packed, place, used, segment, examples[index], layout)
            used += sizes[index]
    return {name: torch.from_numpy(array) for name, array in packed.items()}


def _empty(num_rows: int, layout: Layout) -> dict[str, np.ndarray]:
    width = layout.room[-1]

    def rows(length: int, value: int) -> np.ndarray:
        return np.full((num_rows, length), value, dtype=np.int64)

    packed = {"input_ids": rows(layout.room[0], layout.pad_id)}
    if layout.encoder_decoder:
        packed["source_segments"] = rows(layout.room[0], PADDING)
        packed["decoder_input_ids"] = rows(width, layout.pad_id)
    packed["segment_ids"], packed["labels"] = rows(width, PADDING), rows(width, IGNORED)
    packed["weights"] = np.zeros((num_rows, width), dtype=np.float32)
    return packed


def _put(
    packed: dict[str, np.ndarray],
    row: int,
    used: np.ndarray,
    segment: int,
    example: TokenizedExample,
    layout: Layout,
) -> None:
    source, target = example.input, example.target
    start = int(used[-1])
    if layout.encoder_decoder:
        place = slice(int(used[0]), int(used[0]) + len(source))
        packed["input_ids"][row, place] = source
        packed["source_segments"][row, place] = segment
        asked = slice(start, start + len(target))
        packed["decoder_input_ids"][row, asked] = [layout.start_id, *target[:-1]]
        packed["segment_ids"][row, asked] = segment
    else:
        whole = slice(start, start + len(source) + len(target))
        packed["input_ids"][row, whole] = source + target
        packed["segment_ids"][row, whole] = segment
        # The token before a target predicts its first one.
        asked = slice(start + len(source) - 1, start + len(source) + len(target) - 1)
    packed["labels"][row, asked] = target
    packed["weights"][row, asked] = 1 / len(target) if layout.by_example else 1.0
