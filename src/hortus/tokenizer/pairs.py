"""Pairs of texts for encoders: [CLS] first [SEP] second [SEP], and long second texts in windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hortus.errors import ArtifactError, DataError
from hortus.tokenizer.tokenizer import Tokenizer

__all__ = ["Window", "joined", "windows_of_pair"]


@dataclass(frozen=True)
class Window:
    """One stretch of a context after its question.

    `spans` says where each token stands in the context, (start, end) in characters; None outside of it.
    """

    input_ids: list[int]
    token_type_ids: list[int]
    spans: list[tuple[int, int] | None]


def joined(
    tokenizer: Tokenizer, first: Sequence[int], second: Sequence[int] | None = None
) -> tuple[list[int], list[int]]:
    """Token ids with the tokens that frame and separate, and their token types (0 up to the first separator).

    Raises:
        ArtifactError: the tokenizer has no such tokens.
    """
    cls_id, sep_id = tokenizer.cls_id, tokenizer.sep_id
    if cls_id is None or sep_id is None:
        raise ArtifactError(
            "the tokenizer has no tokens that frame and separate texts",
            do="add cls_token and sep_token to tokenizer_config.json",
        )
    ids = [cls_id, *first, sep_id]
    types = [0] * len(ids)
    if second is not None:
        ids += [*second, sep_id]
        types += [1] * (len(second) + 1)
    return ids, types


def windows_of_pair(
    tokenizer: Tokenizer, question: str, context: str, *, max_length: int, stride: int
) -> list[Window]:
    """A question with each stretch of its context; stretches overlap by `stride` tokens.

    Raises:
        DataError: the question leaves no room for the context.
    """
    asked = tokenizer.encode(question)
    ids, spans = tokenizer.encode_with_spans(context)
    room = max_length - len(asked) - 3
    if room <= stride:
        raise DataError(
            f"a question of {len(asked)} tokens leaves {room} for its context",
            allowed=f"more than the {stride} by which windows overlap (max_length={max_length})",
            do="shorten the question or lower the overlap",
        )
    windows = []
    for start in range(0, max(len(ids) - stride, 1), room - stride):
        part, places = ids[start : start + room], spans[start : start + room]
        joint, types = joined(tokenizer, asked, part)
        before = len(asked) + 2
        windows.append(Window(joint, types, [None] * before + list(places) + [None]))
    return windows
