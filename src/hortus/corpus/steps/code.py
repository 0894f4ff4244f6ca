"""The code filters of ROOTS: line lengths, share of non-word characters, spread of token lengths, licences.

The published licence filter was inverted by a bug and kept GPL-family files only. Here permissive licences
are kept; `licences="published"` repeats the bug for comparison, `"any"` takes no notice of licences.
"""

from __future__ import annotations

import re
from typing import Literal

import numpy as np
import pyarrow as pa

from hortus.corpus.config import CODE
from hortus.corpus.licences import COPYLEFT, PERMISSIVE
from hortus.corpus.steps.step import divide

__all__ = ["CodeFilters", "code_values"]

MAX_LINE = (20, 1000)  # characters of the longest line
LENGTH = (100, 200_000)
NON_WORD = (0.15, 0.65)
MIN_TOKEN_DEVIATION = 3.0
_WORD = re.compile(r"\w")
_TOKEN = re.compile(r"\S+")


def code_values(text: str) -> tuple[int, float, float]:
    """Longest line, share of non-word characters, standard deviation of token lengths.

    >>> code_values("ab = f(x)\\n")
    (9, 0.6, 1.247219128924647)
    """
    longest = max(map(len, text.split("\n")))
    words = len(_WORD.findall(text))
    lengths = [len(token) for token in _TOKEN.findall(text)]
    return longest, 1 - words / len(text) if text else 0.0, float(np.std(lengths)) if lengths else 0.0


class CodeFilters:
    """Drop code that looks generated, minified or like data, and code of unwanted licences."""

    name = "code"

    def __init__(self, licences: Literal["permissive", "published", "any"] = "permissive"):
        self.licences = licences

    def apply(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """As Step.apply."""
        columns = [batch.column(name).to_pylist() for name in ("text", "language", "licence")]
        rows = zip(*columns, strict=True)
        return divide(
            batch,
            [self._reason(text, licence) if language == CODE else None for text, language, licence in rows],
        )

    def _reason(self, text: str, licence: str | None) -> str | None:
        if self.licences == "permissive" and licence and licence.lower() not in PERMISSIVE:
            return f"licence {licence}"
        if self.licences == "published" and (licence or "").lower() not in COPYLEFT:
            return f"licence {licence or 'unknown'}"
        if not LENGTH[0] <= len(text) <= LENGTH[1]:
            return "length of code"
        longest, non_word, deviation = code_values(text)
        if not MAX_LINE[0] <= longest <= MAX_LINE[1]:
            return "length of the longest line"
        if not NON_WORD[0] <= non_word <= NON_WORD[1]:
            return "share of non-word characters"
        return None if deviation > MIN_TOKEN_DEVIATION else "token lengths too even"
