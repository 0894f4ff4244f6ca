"""Drop empty and short documents."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from hortus.corpus.steps.step import divide

__all__ = ["Length"]


class Length:
    """Drop documents that are empty or shorter than a number of characters."""

    name = "length"

    def __init__(self, min_characters: int):
        self.min_characters = min_characters

    def apply(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """As Step.apply."""
        lengths = pc.utf8_length(pc.utf8_trim_whitespace(batch.column("text"))).to_pylist()
        return divide(batch, [self._reason(length) for length in lengths])

    def _reason(self, length: int) -> str | None:
        if length == 0:
            return "empty"
        return f"shorter than {self.min_characters} characters" if length < self.min_characters else None
