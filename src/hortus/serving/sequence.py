"""One text on its way through the engine: what was asked, how far it is, what its client is told."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from hortus.language.config import GenerationConfig
from hortus.language.generation import Row
from hortus.language.paging import PagedRow
from hortus.language.reading import Reader

__all__ = ["Text", "TextRequest", "TokenScore", "Update"]


@dataclass(frozen=True, kw_only=True)
class TextRequest:
    """One text to continue.

    prompt: token ids, at least one.
    config: how to continue it; `max_new_tokens` may be 0 with `echo`.
    client: whose turn it takes in the queue.
    logprobs: log-probabilities of each token and of so many likeliest ones beside it; None for none.
    echo: log-probabilities of the prompt's tokens too.
    pieces: the client wants the text as it comes rather than at the end.
    """

    prompt: Sequence[int]
    config: GenerationConfig
    client: str = ""
    logprobs: int | None = None
    echo: bool = False
    pieces: bool = False


@dataclass(frozen=True)
class TokenScore:
    """A token, its log-probability (None for a text's very first) and the likeliest tokens in its place."""

    token: int
    log_probability: float | None
    likeliest: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Update:
    """News of one text: more of it, and, last, why it ended: "stop", "length" or "error"."""

    text: str = ""
    scores: tuple[TokenScore, ...] = ()
    finish: str | None = None
    error: str = ""


@dataclass(eq=False)
class Text:
    """A request's state in the engine; only the engine's thread changes it."""

    request: TextRequest
    row: Row
    reader: Reader
    keys: list[bytes]
    tell: Callable[[Text, Update], None]
    deadline: float
    began: float = field(default_factory=time.monotonic)
    last: float = 0.0
    table: list[int] = field(default_factory=list)
    computed: int = 0
    reused: int = 0
    remembered: int = 0
    scores: list[TokenScore] = field(default_factory=list)
    cancelled: bool = False

    @property
    def num_tokens(self) -> int:
        """Tokens so far, prompt included."""
        return len(self.row.prompt) + len(self.row.tokens)

    @property
    def reading(self) -> bool:
        """Whether the prompt is not yet computed to its end."""
        return self.computed < len(self.row.prompt)

    def tokens(self, start: int, end: int) -> list[int]:
        """Tokens at positions start to end, of prompt and continuation."""
        length = len(self.row.prompt)
        if start >= length:
            return self.row.tokens[start - length : end - length]
        return [*self.row.prompt[start:end], *self.row.tokens[: max(0, end - length)]]

    def take_scores(self) -> tuple[TokenScore, ...]:
        """The scores that the client has not been told yet."""
        scores, self.scores = tuple(self.scores), []
        return scores

    def rows(self, count: int) -> list[PagedRow]:
        """The next `count` tokens to compute."""
        at = self.computed
        return [PagedRow(token, at + i, self.table) for i, token in enumerate(self.tokens(at, at + count))]
