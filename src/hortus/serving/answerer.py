"""What may stand between a question and the model: retrieval, say. The command line wires it in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

__all__ = ["Answerer", "Prepared"]


@dataclass(frozen=True)
class Prepared:
    """What the model is asked instead of the bare question.

    prompt: text that the model continues.
    details: JSON for the client, under "hortus" in the answer: what was retrieved, and why.
    stop: strings that end the answer.
    """

    prompt: str
    details: dict[str, Any] = field(default_factory=dict)
    stop: tuple[str, ...] = ()


class Answerer(Protocol):
    """Prepares the last user message of a chat; called in the engine's thread, so it may use the model."""

    def prepare(self, question: str) -> Prepared:
        """The prompt that answers the question."""
