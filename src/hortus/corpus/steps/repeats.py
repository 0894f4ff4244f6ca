"""Cut out repeated substrings of at least N bytes, found by a suffix array over the corpus.

The texts are joined by a byte that UTF-8 never has; neighbours in the suffix array that share N bytes begin
a repeat. Of every repeat the first place in the corpus stays, all others are cut, whole characters only. A
document of which too little is left is dropped. The array's indices are 32 bits, so the corpus is taken in
shards of at most `shard_bytes`: a repeat across shards is not seen.

Memory while deciding: about 6 bytes a byte of the shard (the text, four bytes of index, one of marks).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from hortus.corpus.config import RepeatsConfig
from hortus.corpus.rewriting import string_buffers
from hortus.corpus.steps.step import Decision, Measures, Notes, divide, rows_of, with_texts
from hortus.registry import require

__all__ = ["Repeats", "repeated_bytes"]

_SEPARATOR = 0xFF


class Repeats(Notes):
    """Cut repeats of `min_bytes` and more out of the texts.

    Raises:
        DeviceError: pydivsufsort is not installed.
    """

    name = "repeated substrings"

    def __init__(self, config: RepeatsConfig):
        super().__init__()
        self.config = config
        self.decision: Decision = {}

    def measure(self, batch: pa.RecordBatch) -> Measures:
        """As GlobalStep.measure: the texts' bytes."""
        data, offsets = string_buffers(batch.column("text"))
        return {
            "bytes": data[offsets[0] : offsets[-1]],
            "sizes": np.diff(offsets).astype(np.int64),
            "rows": rows_of(batch),
        }

    def decide(self, measures: Sequence[Measures]) -> list[Decision]:
        """As GlobalStep.decide: start, stop (bytes of a document) and row of what is to be cut."""
        decisions: list[Decision] = []
        shard: list[Measures] = []
        for part in [*measures, None]:
            full = sum(len(one["bytes"]) + len(one["sizes"]) for one in shard)
            if shard and (part is None or full + len(part["bytes"]) > self.config.shard_bytes):
                decisions += self._decide_shard(shard)
                shard = []
            if part is not None:
                shard.append(part)
        return decisions

    def _decide_shard(self, shard: Sequence[Measures]) -> list[Decision]:
        sizes = np.concatenate([part["sizes"] for part in shard])
        text = _joined([part["bytes"] for part in shard], sizes)
        marks = repeated_bytes(text, self.config.min_bytes)
        edges = np.diff(marks.view(np.int8), prepend=0, append=0)
        starts, stops = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
        documents = np.searchsorted(np.cumsum(sizes + 1), starts, side="right")
        begins = np.cumsum(sizes + 1) - sizes - 1
        limits = np.cumsum([0, *(len(part["sizes"]) for part in shard)])
        decisions: list[Decision] = []
        for part, low, high in zip(shard, limits[:-1], limits[1:], strict=True):
            mine = (documents >= low) & (documents < high)
            of = documents[mine]
            decisions.append(
                {
                    "starts": starts[mine] - begins[of],
                    "stops": stops[mine] - begins[of],
                    "rows": part["rows"][of - low],
                }
            )
        return decisions

    def apply(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """As Step.apply."""
        rows = rows_of(batch)
        low, high = np.searchsorted(self.decision["rows"], [rows[0], rows[-1] + 1]) if len(rows) else (0, 0)
        cuts: dict[int, list[tuple[int, int]]] = {}
        columns = (self.decision[name][low:high].tolist() for name in ("rows", "starts", "stops"))
        for row, start, stop in zip(*columns, strict=True):
            cuts.setdefault(row, []).append((start, stop))
        texts = batch.column("text").to_pylist()
        reasons: list[str | None] = [None] * len(texts)
        for place, row in enumerate(rows.tolist()):
            if row in cuts:
                left = _cut(texts[place].encode(), cuts[row])
                self.counts["bytes cut"] += len(texts[place].encode()) - len(left.encode())
                texts[place] = left
                if len(left.strip()) < self.config.min_left:
                    reasons[place] = "mostly repeats"
        return divide(with_texts(batch, texts), reasons)


def _joined(parts: Sequence[NDArray[np.uint8]], sizes: NDArray[np.int64]) -> NDArray[np.uint8]:
    """All texts with a separator after each."""
    text = np.full(int(sizes.sum()) + len(sizes), _SEPARATOR, np.uint8)
    document = place = 0
    for part in parts:
        read = 0
        while read < len(part) or (document < len(sizes) and sizes[document] == 0):
            size = int(sizes[document])
            text[place : place + size] = part[read : read + size]
            read, place, document = read + size, place + size + 1, document + 1
    return text


def _cut(text: bytes, cuts: Sequence[tuple[int, int]]) -> str:
    """The text without the cuts, each shrunk to whole characters."""
    kept, place = [], 0
    for start, stop in cuts:
        while start < stop and text[start] & 0xC0 == 0x80:
            start += 1
        while stop > start and stop < len(text) and text[stop] & 0xC0 == 0x80:
            stop -= 1
        kept.append(text[place:start])
        place = stop
    return b"".join([*kept, text[place:]]).decode()


def repeated_bytes(text: NDArray[np.uint8], min_bytes: int) -> NDArray[np.bool_]:
    """(bytes,) True where a byte lies in a run of `min_bytes` that stands earlier in the text too.

    >>> text = np.frombuffer(b"abcdefgh\\xffxabcdefy\\xff", np.uint8).copy()
    >>> text[repeated_bytes(text, 5)].tobytes()
    b'abcdef'
    """
    if len(text) <= min_bytes:
        return np.zeros(len(text), np.bool_)
    order = require("pydivsufsort", extra="corpus").divsufsort(text)
    return _mark(text, order, min_bytes)


@njit(cache=True, nogil=True)
def _mark(text, order, width):  # type: ignore[no-untyped-def]
    total = len(text)
    begins = np.zeros(total, np.bool_)
    start = 0
    for stop in range(1, total + 1):
        if stop < total and _shared(text, order[stop - 1], order[stop], width):
            continue
        if stop - start > 1:
            first = order[start]
            for place in range(start + 1, stop):
                first = min(first, order[place])
            for place in range(start, stop):
                begins[order[place]] = order[place] != first
        start = stop
    marks = np.zeros(total, np.bool_)
    until = 0
    for place in range(total):
        if begins[place]:
            until = place + width
        marks[place] = place < until
    return marks


@njit(cache=True, nogil=True, inline="always")
def _shared(text, a, b, width):  # type: ignore[no-untyped-def]
    """Whether two suffixes share their first `width` bytes, none of them a separator."""
    if max(a, b) + width > len(text):
        return False
    for place in range(width):  # noqa: SIM110  (numba compiles the loop, not the generator)
        if text[a + place] != text[b + place] or text[a + place] == 0xFF:
            return False
    return True
