"""Fill in the language where a source names none."""

from __future__ import annotations

import pyarrow as pa

from hortus.corpus.languages import identify_all
from hortus.corpus.steps.step import keep_all

__all__ = ["IdentifyLanguage"]


class IdentifyLanguage:
    """Fill in the language, and how sure its identification is, where a source named none. Drops nothing."""

    name = "language"

    def __init__(self, language: str | None = None, characters: int = 1000):
        self.language, self.characters = language, characters

    def apply(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """As Step.apply."""
        languages = batch.column("language").to_pylist()
        scores = batch.column("language_score").to_pylist()
        unnamed = [row for row, language in enumerate(languages) if not language]
        if unnamed and self.language:
            for row in unnamed:
                languages[row] = self.language
        elif unnamed:
            texts = batch.column("text").take(pa.array(unnamed)).to_pylist()
            for row, (language, score) in zip(unnamed, identify_all(texts, self.characters), strict=True):
                languages[row], scores[row] = language, score
        for name, values in (("language", languages), ("language_score", scores)):
            place = batch.schema.get_field_index(name)
            batch = batch.set_column(
                place, batch.schema.field(name), pa.array(values, batch.schema.field(name).type)
            )
        return keep_all(batch)
