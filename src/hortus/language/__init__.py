"""Text in, text or scores out: the only code that generates, ranks, scores and embeds.

Nothing heavy is imported until `LanguageModel` is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hortus.language.config import GenerationConfig
from hortus.registry import resolve

if TYPE_CHECKING:
    from hortus.language.model import LanguageModel
    from hortus.language.scoring import TextScores

__all__ = ["GenerationConfig", "LanguageModel", "TextScores"]

_HOMES = {"LanguageModel": "model", "TextScores": "scoring"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'hortus.language' has no attribute {name!r}")
    return resolve(f"hortus.language.{_HOMES[name]}:{name}")
