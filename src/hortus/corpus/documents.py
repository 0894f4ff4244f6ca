"""What a document is on its way through the corpus: columns, batches, and its identity."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa

__all__ = ["DOCUMENT_SCHEMA", "DROPPED_SCHEMA", "RAW_SCHEMA", "Document", "batches", "document_id"]

# Between the steps; `language` is null until it is known, `group` where a document stands alone, `row` is
# the place in its partition.
RAW_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("id", "text", "language", "source", "group", "licence", "url")),
        ("language_score", pa.float32()),
        ("row", pa.int64()),
    ]
)
DOCUMENT_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("id", "text", "language", "source", "licence", "url", "split")]
)
DROPPED_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("id", "text", "language", "source", "step", "reason")]
)

# A batch closes at whichever comes first, so that memory does not depend on the length of documents.
BATCH_DOCUMENTS = 1024
BATCH_CHARACTERS = 4_000_000


@dataclass(frozen=True)
class Document:
    """One text with its origin.

    language: None where the source does not say.
    group: documents of one group are never parted by the split; None stands alone.
    licence: as the source, its catalogue entry or the file's own words state it.
    """

    text: str
    source: str
    language: str | None = None
    group: str | None = None
    licence: str | None = None
    url: str | None = None


def document_id(text: str) -> str:
    """A name that depends on the text alone, so that it is the same wherever the file lies."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def batches(documents: Iterable[Document]) -> Iterator[pa.RecordBatch]:
    """Group documents into record batches of RAW_SCHEMA, numbered from 0."""
    rows: list[Document] = []
    characters = done = 0
    for document in documents:
        rows.append(document)
        characters += len(document.text)
        if len(rows) >= BATCH_DOCUMENTS or characters >= BATCH_CHARACTERS:
            yield _batch(rows, done)
            done += len(rows)
            rows, characters = [], 0
    if rows:
        yield _batch(rows, done)


def _batch(rows: list[Document], start: int) -> pa.RecordBatch:
    columns = [pa.array([document_id(row.text) for row in rows], pa.string())]
    for name in RAW_SCHEMA.names[1:-2]:
        columns.append(pa.array([getattr(row, name) for row in rows], pa.string()))
    columns.append(pa.nulls(len(rows), pa.float32()))
    columns.append(pa.array(range(start, start + len(rows)), pa.int64()))
    return pa.record_batch(columns, schema=RAW_SCHEMA)
