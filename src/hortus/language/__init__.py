"""Text in, text or scores out: the only code that generates, ranks, scores and embeds.

Nothing heavy is imported until `LanguageModel` is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hortus.language.config import GenerationConfig
from hortus.registry import lazy_attributes

if TYPE_CHECKING:
    from hortus.language.encoders import Answer, Filling, Label
    from hortus.language.model import LanguageModel
    from hortus.language.remote import RemoteModel
    from hortus.language.scoring import TextScores

__all__ = ["Answer", "Filling", "GenerationConfig", "Label", "LanguageModel", "RemoteModel", "TextScores"]

_HOMES = {
    "Answer": "encoders",
    "Filling": "encoders",
    "Label": "encoders",
    "LanguageModel": "model",
    "RemoteModel": "remote",
    "TextScores": "scoring",
}

__getattr__ = lazy_attributes(__name__, _HOMES)
