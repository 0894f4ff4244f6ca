"""Steps that a batch of documents passes: each keeps some and drops the others with a reason.

A step is `apply(batch) -> (kept, dropped)`, where `dropped` has one more column, `reason`. Whoever runs
the steps does the counting and the writing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from hortus.corpus.config import CorpusConfig
from hortus.corpus.languages import identify

__all__ = ["ExactDuplicates", "IdentifyLanguage", "Length", "Step", "default_steps", "normalised_key"]


class Step(Protocol):
    """One pass over a batch; `name` stands in the report."""

    name: str

    def apply(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """Return (kept, dropped with the column `reason`)."""
        ...


def divide(batch: pa.RecordBatch, reasons: Sequence[str | None]) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """Split a batch by reason: None keeps the row."""
    column = pa.array(reasons, pa.string())
    keep = pc.is_null(column)
    return batch.filter(keep), batch.append_column("reason", column).filter(pc.invert(keep))


class Length:
    """Drop documents that are empty or shorter than a number of characters."""

    name = "length"

    def __init__(self, min_characters: int):
        self.min_characters = min_characters

    def apply(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        lengths = pc.utf8_length(pc.utf8_trim_whitespace(batch.column("text"))).to_pylist()
        return divide(batch, [self._reason(length) for length in lengths])

    def _reason(self, length: int) -> str | None:
        if length == 0:
            return "empty"
        return f"shorter than {self.min_characters} characters" if length < self.min_characters else None


class ExactDuplicates:
    """Drop documents whose normalised text was seen before, in any source.

    Keeps 16 bytes of hash per document, the only memory that grows with the corpus.
    """

    name = "exact duplicates"

    def __init__(self) -> None:
        self._seen: set[bytes] = set()

    def apply(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        return divide(batch, [self._reason(text) for text in batch.column("text").to_pylist()])

    def _reason(self, text: str) -> str | None:
        key = normalised_key(text)
        if key in self._seen:
            return "exact duplicate"
        self._seen.add(key)
        return None


class IdentifyLanguage:
    """Fill in the language where a source named none. Drops nothing."""

    name = "language"

    def __init__(self, language: str | None = None):
        self.language = language

    def apply(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        languages = batch.column("language").to_pylist()
        texts = batch.column("text")
        for row, language in enumerate(languages):
            if not language:
                languages[row] = self.language or identify(texts[row].as_py())
        place = batch.schema.get_field_index("language")
        named = batch.set_column(place, "language", pa.array(languages, pa.string()))
        return divide(named, [None] * len(languages))


def normalised_key(text: str) -> bytes:
    """A hash that case and white space do not change.

    >>> normalised_key("Two  words\\n") == normalised_key("two words")
    True
    """
    return hashlib.blake2b("".join(text.casefold().split()).encode(), digest_size=16).digest()


def default_steps(config: CorpusConfig) -> list[Step]:
    """The steps of the first form, cheap ones first."""
    return [Length(config.min_characters), ExactDuplicates(), IdentifyLanguage(config.language)]
