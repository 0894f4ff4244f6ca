"""Drop lines that many documents share: menus, notices, templates ("soft" template removal of ROOTS).

A line of at least 15 characters, white space at its ends not counted, that occurs at least ten times in the
corpus is dropped wherever it stands. Lines are compared by a 64-bit hash.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hortus.corpus.hashing import hash_text
from hortus.corpus.steps.step import Decision, Measures, divide, texts_of, with_texts

__all__ = ["TemplateLines"]


class TemplateLines:
    """Drop repeated lines; a document that loses all its lines is dropped. Code is left alone.

    Memory: 8 bytes a line of the corpus while deciding.
    """

    name = "template lines"

    def __init__(self, min_characters: int = 15, min_count: int = 10):
        self.min_characters, self.min_count = min_characters, min_count
        self.decision: Decision = {}

    def measure(self, batch: pa.RecordBatch) -> Measures:
        """As GlobalStep.measure: the hashes of all lines that are long enough."""
        languages = batch.column("language").to_pylist()
        lines = (
            line
            for text, language in zip(texts_of(batch), languages, strict=True)
            if language != "code"
            for line in map(str.strip, text.split("\n"))
            if len(line) >= self.min_characters
        )
        return {"lines": np.fromiter(map(hash_text, lines), np.uint64)}

    def decide(self, measures: Sequence[Measures]) -> list[Decision]:
        """As GlobalStep.decide: the same hashes for every partition."""
        hashes: NDArray[np.uint64] = np.concatenate([part["lines"] for part in measures])
        lines, counts = np.unique(hashes, return_counts=True)
        return [{"lines": lines[counts >= self.min_count]}] * len(measures)

    def apply(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """As Step.apply."""
        repeated = set(self.decision["lines"].tolist())
        texts = texts_of(batch)
        reasons: list[str | None] = [None] * len(texts)
        if repeated:
            for row, language in enumerate(batch.column("language").to_pylist()):
                if language != "code":
                    texts[row] = self._without(texts[row], repeated)
                    reasons[row] = None if texts[row].strip() else "nothing but template lines"
        return divide(with_texts(batch, texts), reasons)

    def _without(self, text: str, repeated: set[int]) -> str:
        kept = [
            line
            for line in text.split("\n")
            if len(line.strip()) < self.min_characters or hash_text(line.strip()) not in repeated
        ]
        return "\n".join(kept)
