"""Texts as the words that BM25 counts: language-aware, the same for passages and questions."""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import Any

from hortus.errors import ConfigError, nearest
from hortus.registry import require

__all__ = ["split_text"]

# Scripts written without spaces between words: pairs of neighbouring letters stand for words.
_UNSPACED = "\u0e00-\u0e7f\u0e80-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
_ANY_UNSPACED = re.compile(f"[{_UNSPACED}]")
_TOKEN = re.compile(rf"[{_UNSPACED}]+|[^\W{_UNSPACED}]+")
_STEMMERS = {
    "en": "english",
    "de": "german",
    "fr": "french",
    "es": "spanish",
    "it": "italian",
    "pt": "portuguese",
}
_STEMMERS |= {
    "nl": "dutch",
    "ru": "russian",
    "sv": "swedish",
    "fi": "finnish",
    "tr": "turkish",
    "ar": "arabic",
}


def split_text(text: str, language: str | None = "en", stem: bool = False) -> list[str]:
    """Words in lower case, without the language's stop words; pairs of letters where a script has no
    spaces.

    Args:
        language: an ISO 639-1 code; None drops no stop words.
        stem: reduce words to their stems (Snowball).

    Raises:
        ConfigError: no stop words or no stemmer for the language.
        DeviceError: the package for them is not installed.

    >>> split_text("The capital of Perú?"), split_text("東京都"), split_text("running", stem=True)
    (['capital', 'perú'], ['東京', '京都'], ['run'])
    """
    stop = _stop_words(language) if language is not None else frozenset()
    words: list[str] = []
    text = unicodedata.normalize("NFKC", text).casefold()
    if not stem and _ANY_UNSPACED.search(text) is None:
        return [token for token in _TOKEN.findall(text) if token not in stop]
    for token in _TOKEN.findall(text):
        if _ANY_UNSPACED.match(token):
            words += [token[n : n + 2] for n in range(max(1, len(token) - 1))]
        elif token not in stop:
            words.append(token)
    return _stemmer(language).stemWords(words) if stem else words


@cache
def _stop_words(language: str) -> frozenset[str]:
    package = require("stopwordsiso", extra="retrieval")
    if not package.has_lang(language):
        raise ConfigError(f"language={language!r} has no stop words", do=nearest(language, package.langs()))
    return frozenset(package.stopwords(language))


@cache
def _stemmer(language: str | None) -> Any:
    if language not in _STEMMERS:
        raise ConfigError(f"no stemmer for language={language!r}", allowed=", ".join(_STEMMERS))
    return require("Stemmer", extra="retrieval").Stemmer(_STEMMERS[language])
