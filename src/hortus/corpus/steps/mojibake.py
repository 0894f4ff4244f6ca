"""Mend text that was decoded wrongly (mojibake), with ftfy."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from hortus.corpus.steps.step import keep_all, texts_of, with_texts
from hortus.registry import require

__all__ = ["Mojibake"]


class Mojibake:
    """Repair wrongly decoded text, line ends and control characters; quotes and ligatures stay as written.

    Raises:
        DeviceError: ftfy is not installed.
    """

    name = "mojibake"

    def __init__(self) -> None:
        self._ftfy: Any = require("ftfy", extra="corpus")
        self._settings = self._ftfy.TextFixerConfig(
            unescape_html=False,
            uncurl_quotes=False,
            fix_latin_ligatures=False,
            fix_character_width=False,
            explain=False,
            normalization=None,
        )

    def apply(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """As Step.apply."""
        return keep_all(with_texts(batch, [self._mended(text) for text in texts_of(batch)]))

    def _mended(self, text: str) -> str:
        # Printable ASCII cannot be mojibake; the test is a hundred times faster than the repair.
        if text.isascii() and "\r" not in text and "\0" not in text and "\x1b" not in text:
            return text
        return str(self._ftfy.fix_text(text, self._settings))
