"""The catalogue cleaning functions of ROOTS: named functions, chosen a source or a corpus at a time.

A function maps a text to a text, or to a reason for which the document is dropped. Soft template lines,
which need the whole corpus, are a step of their own (template_lines.py).
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence

import pyarrow as pa

from hortus.corpus.steps.step import divide, texts_of, with_texts
from hortus.errors import ConfigError, nearest

__all__ = ["FUNCTIONS", "Clean", "Dropped"]

MIN_WORDS = 15
_CODE_LINE = re.compile(r"[{}]|^\s*(?:var|function|if|return)\b.*[;({]\s*$")
_MARKUP = re.compile(
    r"</?(?:span|div|p|br|a|b|i|font|td|tr|table|li|ul|img|strong|em)\b[^<>]{0,300}>", re.IGNORECASE
)
_MOJIBAKE = re.compile(r"Ã[\x80-\xbf©¨ªï]|â€[™œ\x9d“”]|Â[ ·°]|ï¿½")
_WIKI_USER = re.compile(
    r"^(?:user|user talk|usuario|utilisateur|benutzer|usuário|使用者|用户)\s?:", re.IGNORECASE
)
_WIKTIONARY = re.compile(
    r"^\s*(?:={2,6}.*={2,6}|\{\{.*\}\}|\[\[(?:category|file|image):.*\]\])\s*$", re.IGNORECASE
)


class Dropped(str):
    """The reason for which a cleaning function drops a document."""


def _without_lines(text: str, pattern: re.Pattern[str]) -> str:
    return "\n".join(line for line in text.split("\n") if not pattern.search(line))


def newlines_to_spaces(text: str) -> str:
    """Replace line ends by spaces."""
    return re.sub(r"[\r\n]+", " ", text)


def repair_newlines(text: str) -> str:
    """Make all line ends newlines, at most two in a row, no space before them."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"[ \t]+\n", "\n", text))


def strip_markup(text: str) -> str:
    """Drop HTML tags of running text and resolve entities."""
    return html.unescape(_MARKUP.sub("", text)) if "<" in text or "&" in text else text


def drop_code_lines(text: str) -> str:
    """Drop lines with braces or script statements, which pages carry along."""
    return _without_lines(text, _CODE_LINE)


def drop_markup_lines(text: str) -> str:
    """Drop lines that still hold HTML tags."""
    return _without_lines(text, _MARKUP)


def drop_mojibake_lines(text: str) -> str:
    """Drop lines with the marks of a wrong decoding."""
    return _without_lines(text, _MOJIBAKE)


def strip_wiktionary(text: str) -> str:
    """Drop headings, templates and category links of a wiki."""
    return _without_lines(text, _WIKTIONARY)


def drop_wiki_user_pages(text: str) -> str:
    """Drop pages of wiki users."""
    return Dropped("wiki user page") if _WIKI_USER.match(text) else text


def drop_empty(text: str) -> str:
    """Drop documents without a visible character."""
    return text if text.strip() else Dropped("empty")


def drop_small(text: str) -> str:
    """Drop documents under 15 words."""
    return text if len(text.split()) >= MIN_WORDS else Dropped(f"under {MIN_WORDS} words")


def _drop_small_bytes(floor: int) -> Callable[[str], str]:
    def function(text: str) -> str:
        return text if len(text.encode()) >= floor else Dropped(f"under {floor} bytes")

    return function


FUNCTIONS: dict[str, Callable[[str], str]] = {
    function.__name__: function
    for function in (
        newlines_to_spaces,
        repair_newlines,
        strip_markup,
        drop_code_lines,
        drop_markup_lines,
        drop_mojibake_lines,
        strip_wiktionary,
        drop_wiki_user_pages,
        drop_empty,
        drop_small,
    )
} | {"drop_small_300_bytes": _drop_small_bytes(300), "drop_small_1024_bytes": _drop_small_bytes(1024)}


class Clean:
    """Run cleaning functions one after the other.

    Args:
        names: of FUNCTIONS, in this order; code is left alone, but for dropping.

    Raises:
        ConfigError: an unknown name.
    """

    name = "cleaning"

    def __init__(self, names: Sequence[str]):
        for name in names:
            if name not in FUNCTIONS:
                raise ConfigError(f"cleaning names {name!r}", do=nearest(name, FUNCTIONS))
        self.functions = [FUNCTIONS[name] for name in names]

    def apply(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """As Step.apply."""
        texts = texts_of(batch)
        reasons: list[str | None] = [None] * len(texts)
        for row, language in enumerate(batch.column("language").to_pylist()):
            if language == "code":
                continue
            text = texts[row]
            for function in self.functions:
                text = function(text)
                if isinstance(text, Dropped):
                    reasons[row] = str(text)
                    break
            else:
                texts[row] = text
        return divide(with_texts(batch, texts), reasons)
