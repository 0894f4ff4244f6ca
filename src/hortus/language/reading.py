"""Tokens into text while a row is being continued."""

from __future__ import annotations

from collections.abc import Sequence

from hortus.language.generation import Row
from hortus.language.stopping import StopScanner
from hortus.tokenizer import Tokenizer

__all__ = ["Reader"]


class Reader:
    """Turns one row's tokens into text and finishes the row at a stop string."""

    def __init__(self, tokenizer: Tokenizer, row: Row, stop: Sequence[str]):
        self._tokenizer, self._row = tokenizer, row
        self._stream = tokenizer.decode_stream()
        self._scanner = StopScanner(stop)
        self._stop = bool(stop)
        self._pieces: list[str] = []

    def push(self, token: int) -> str:
        """The text that is certain after this token."""
        return self._keep(self._scanner.push(self._stream.push(token)))

    def finish(self) -> str:
        """The text that was held back."""
        if self._scanner.stopped:
            return ""
        return self._keep(self._scanner.push(self._stream.finish()) + self._scanner.finish())

    def whole(self) -> str:
        """All text of the finished row."""
        if not self._stop:
            return self._tokenizer.decode(self._row.tokens)
        self.finish()
        return "".join(self._pieces)

    def _keep(self, piece: str) -> str:
        self._pieces.append(piece)
        self._row.finished = self._row.finished or self._scanner.stopped
        return piece
