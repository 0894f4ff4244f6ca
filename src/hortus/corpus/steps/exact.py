"""Drop exact duplicates: of the text, case and white space evened out, or of the address.

The document that comes first in the order of sources stays. Memory: 16 bytes a document while deciding,
8 for addresses.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hortus.corpus.hashing import hash_text, normalised_key
from hortus.corpus.steps.step import Decision, Measures, divide, rows_of, texts_of

__all__ = ["DuplicateAddresses", "ExactDuplicates"]


class ExactDuplicates:
    """Drop documents whose normalised text an earlier one has, in any source."""

    name = "exact duplicates"
    reason = "exact duplicate"

    def __init__(self) -> None:
        self.decision: Decision = {}

    def measure(self, batch: pa.RecordBatch) -> Measures:
        """As GlobalStep.measure: key and row of every document."""
        keys = b"".join(normalised_key(text) for text in texts_of(batch))
        return {"keys": np.frombuffer(keys, np.uint64).reshape(-1, 2), "rows": rows_of(batch)}

    def decide(self, measures: Sequence[Measures]) -> list[Decision]:
        """As GlobalStep.decide: the rows to drop by partition."""
        return repeats_by_partition(measures)

    def apply(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """As Step.apply."""
        repeated = np.isin(rows_of(batch), self.decision["rows"]).tolist()
        return divide(batch, [self.reason if again else None for again in repeated])


class DuplicateAddresses(ExactDuplicates):
    """Drop documents whose host and path an earlier one has; documents without an address stay."""

    name = "duplicate addresses"
    reason = "address seen before"

    def measure(self, batch: pa.RecordBatch) -> Measures:
        """As GlobalStep.measure."""
        addresses = batch.column("url").to_pylist()
        rows = [row for row, address in enumerate(addresses) if address]
        keys = np.fromiter((hash_text(_host_and_path(addresses[row])) for row in rows), np.uint64, len(rows))
        return {"keys": np.stack([keys, keys], axis=1), "rows": rows_of(batch)[rows]}


def _host_and_path(address: str) -> str:
    parts = urlsplit(address if "//" in address else f"//{address}")
    return (parts.hostname or "").removeprefix("www.") + parts.path.rstrip("/")


def repeats_by_partition(measures: Sequence[Measures]) -> list[Decision]:
    """The rows, by partition, whose key (two words) an earlier row or partition has."""
    keys: NDArray[np.uint64] = np.concatenate([part["keys"] for part in measures])
    pairs = np.ascontiguousarray(keys).view("V16").ravel()
    _, first = np.unique(pairs, return_index=True)
    repeated = np.ones(len(keys), bool)
    repeated[first] = False
    stops = np.cumsum([len(part["rows"]) for part in measures])
    parts = np.split(repeated, stops[:-1])
    return [{"rows": part["rows"][again]} for part, again in zip(measures, parts, strict=True)]
