"""Which language a document is in: by file extension, by a source's own name, or identified.

The identifier is py3langid (97 languages, `pip install 'hortus[corpus]'`). It reads the first 1,000
characters: on a whole text it agrees in 97 % of documents, at a tenth of the speed.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from hortus.registry import require

__all__ = ["CHATTERBOT_LANGUAGES", "CODE_EXTENSIONS", "UNDETERMINED", "identify"]

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
    """The ISO 639-1 code of the text's language, or "und" when it has fewer than 10 letters.

    Raises:
        DeviceError: py3langid is not installed.

    >>> identify("Wer nichts weiß, muss alles glauben, sagt man im ganzen Land.")
    'de'
    """
    start = text[:IDENTIFIED_CHARACTERS]
    if sum(map(str.isalpha, start)) < MIN_LETTERS:
        return UNDETERMINED
    return str(_identifier().classify(start)[0])


@cache
def _identifier() -> Any:
    return require("py3langid", extra="corpus")
