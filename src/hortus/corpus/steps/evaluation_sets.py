"""Drop documents that hold text of evaluation sets: decontamination by runs of 13 words.

Words are lower-cased, punctuation off both ends. An evaluation text shorter than 13 words is
looked for whole if it has at least 6; shorter ones prove nothing
and are left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from hortus.corpus.characters import lower_case, punctuation, unspaced_characters
from hortus.corpus.files import open_bytes
from hortus.corpus.kernels import decode, lookup_table, mix, word_hashes
from hortus.corpus.rewriting import string_buffers
from hortus.corpus.steps.step import divide
from hortus.errors import DataError

__all__ = ["EvaluationSets", "evaluation_texts"]

MIN_WORDS = 6
_BASE = np.uint64(0x9E3779B97F4A7C15)


class EvaluationSets:
    """Drop documents that share a run of words with a text of the evaluation files."""

    name = "evaluation sets"

    def __init__(self, files: tuple[str, ...], words: int = 13):
        self.widths = np.arange(MIN_WORDS, words + 1)
        self.table = _table(files, words)

    def apply(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """As Step.apply."""
        data, offsets = string_buffers(batch.column("text"))
        hits = _holds(data, offsets, self.widths, *self.table, *_tables()).tolist()
        return divide(batch, ["holds an evaluation text" if hit else None for hit in hits])


@cache
def _table(files: tuple[str, ...], words: int) -> tuple[NDArray[np.uint64], NDArray[np.int32]]:
    found = [np.empty(0, np.uint64)]
    for batch in _batches(evaluation_texts(files)):
        data, offsets = string_buffers(batch)
        found.append(_grams_of_texts(data, offsets, words, *_tables()))
    return lookup_table(np.unique(np.concatenate(found)))


def evaluation_texts(files: Iterable[str]) -> Iterator[str]:
    """Every string of jsonl rows, every paragraph of other text files.

    Raises:
        DataError: a file is missing or broken.
    """
    for path in map(Path, files):
        with open_bytes(path) as stream:
            if ".jsonl" in path.suffixes:
                for number, line in enumerate(stream, start=1):
                    try:
                        yield from _strings(json.loads(line))
                    except ValueError as error:
                        raise DataError(f"{path}, line {number} is not JSON", do="mend the line") from error
            else:
                yield from stream.read().decode("utf-8", "replace").split("\n\n")


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)


def _batches(texts: Iterable[str]) -> Iterator[pa.StringArray]:
    rows: list[str] = []
    for text in texts:
        rows.append(text)
        if len(rows) == 4096:
            yield pa.array(rows, pa.string())
            rows = []
    if rows:
        yield pa.array(rows, pa.string())


def _tables() -> tuple[NDArray[np.bool_], NDArray[np.int32], NDArray[np.bool_]]:
    return punctuation(), lower_case(), unspaced_characters()


@njit(cache=True, nogil=True)
def _gram(hashes, place, width):  # type: ignore[no-untyped-def]
    value = np.uint64(width)
    for word in range(place, place + width):
        value = value * _BASE + mix(hashes[word])
    return mix(value)


@njit(cache=True, nogil=True)
def _words_of(data, offsets, document, special, lower, alone):  # type: ignore[no-untyped-def]
    size = offsets[document + 1] - offsets[document] + 1
    points, hashes, lengths = np.empty(size, np.int32), np.empty(size, np.uint64), np.empty(size, np.int32)
    count = decode(data, offsets[document], offsets[document + 1], points)
    number, _ = word_hashes(points, count, special, lower, alone, hashes, lengths)
    return hashes[:number]


@njit(cache=True, nogil=True)
def _grams_of_texts(data, offsets, width, special, lower, alone):  # type: ignore[no-untyped-def]
    found = np.empty(max(offsets[-1] - offsets[0], 1), np.uint64)
    filled = 0
    for document in range(len(offsets) - 1):
        words = _words_of(data, offsets, document, special, lower, alone)
        if len(words) < MIN_WORDS:
            continue
        taken = min(width, len(words))
        for place in range(len(words) - taken + 1):
            found[filled] = _gram(words, place, taken)
            filled += 1
    return found[:filled].copy()


@njit(cache=True, nogil=True)
def _holds(data, offsets, widths, keys, used, special, lower, alone):  # type: ignore[no-untyped-def]
    hits = np.zeros(len(offsets) - 1, np.bool_)
    mask = np.uint64(len(keys) - 1)
    for document in range(len(hits)):
        words = _words_of(data, offsets, document, special, lower, alone)
        for width in widths:
            for place in range(len(words) - width + 1):
                key = _gram(words, place, width)
                slot = mix(key) & mask
                while used[slot]:
                    if keys[slot] == key:
                        hits[document] = True
                        break
                    slot = (slot + np.uint64(1)) & mask
                if hits[document]:
                    break
            if hits[document]:
                break
    return hits
