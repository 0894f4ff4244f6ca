"""Redact personal data: e-mail, IP addresses, keys and tokens, user names, phone and card numbers, accounts.

Every category is a pattern and, where one exists, a check: Luhn's for cards, modulo 97 for accounts (IBAN),
the numbering plan's length for phones, the shape of an address for IP, mixed characters for keys. ROOTS
redacted e-mail, user names, IP addresses and keys; the others are ours. A hit becomes PI:EMAIL and so on, as
published, or with `numbered` PI:EMAIL:1, where one value keeps its number through a document.

Arrow's own regular expressions find the documents that can have a hit; only those go through Python.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hortus.corpus.steps.step import Notes, keep_all, with_texts
from hortus.errors import ConfigError, nearest

__all__ = ["CATEGORIES", "Hit", "Privacy", "find"]


@dataclass(frozen=True)
class Hit:
    """A piece of personal data: text[start:stop]."""

    category: str
    start: int
    stop: int


@dataclass(frozen=True)
class _Category:
    """prefilter: RE2, true wherever `pattern` could match; check: of the matched text."""

    prefilter: str
    pattern: re.Pattern[str]
    check: Callable[[str], bool] = lambda value: True


def _luhn(value: str) -> bool:
    digits = [int(character) for character in value if character.isdigit()]
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])
    return 13 <= len(digits) <= 19 and len(set(digits)) > 1 and (sum(digits[::-2]) + sum(doubled)) % 10 == 0


def _iban(value: str) -> bool:
    text = value.replace(" ", "")
    return 15 <= len(text) <= 34 and int("".join(str(int(c, 36)) for c in text[4:] + text[:4])) % 97 == 1


def _address(value: str) -> bool:
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return False
    # Version numbers look like 1.2.3.4; host-local and unspecified addresses name nobody.
    if isinstance(address, ipaddress.IPv4Address):
        parts = [int(part) for part in value.split(".")]
        return max(parts) >= 20 and not (address.is_loopback or address.is_unspecified)
    return value.count(":") >= 3 and any(map(str.isdigit, value)) and not address.is_loopback


def _phone(value: str) -> bool:
    digits = re.sub(r"\D", "", value)
    if not 9 <= len(digits) <= 15 or len(set(digits)) < 4:
        return False
    return not re.search(r"(?:19|20)\d\d[-./ ]?[01]\d[-./ ]?[0-3]\d", value)  # a date


def _key(value: str) -> bool:
    if value.startswith("-----"):
        return True
    body = re.sub(r"^(?:[A-Za-z]+[-_]){1,3}", "", value)
    counts = [sum(map(kind, body)) for kind in (str.isdigit, str.islower, str.isupper)]
    return len(set(body)) >= 10 and counts[0] >= 2 and sum(count > 0 for count in counts) >= 2


# The at-rules of style sheets, decorators and the tags of doc comments are no users.
_NO_USERS = frozenset({
    "abstractmethod", "after", "app", "author", "autowired", "before", "brief", "cache",
    "cached_property", "charset", "classmethod", "click", "contextmanager", "dataclass", "date",
    "deprecated", "example", "exception", "file", "final", "font", "functools", "given", "import",
    "inheritdoc", "internal", "keyframes", "link", "media", "namespace", "note", "overload", "override",
    "page", "param", "params", "private", "property", "public", "pytest", "return", "returns", "router",
    "see", "since", "staticmethod", "supports", "suppresswarnings", "test", "throws", "todo", "type",
    "typedef", "unittest", "version", "wraps",
})  # fmt: skip

CATEGORIES: dict[str, _Category] = {
    "EMAIL": _Category(
        r"[\w.%+-]@[\w-]+\.",
        re.compile(
            r"(?<![\w.%+/-])[\w.%+-]{1,64}@(?:[\w](?:[\w-]{0,61}[\w])?\.){1,5}[^\W\d_]{2,24}(?![\w@])"
        ),
    ),
    "KEY": _Category(
        r"-----BEGIN [A-Z ]*PRIVATE KEY|(?i:gh[pousr]_|github_pat_|glpat-|xox[abpr]-|AKIA|ASIA|AIza|eyJ|sk-"
        r"|sk_live|npm_|hf_|secret|token|api_?key|password)",
        re.compile(
            r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]{20,8000}?-----END [A-Z ]*PRIVATE KEY-----"
            r"|\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{40,}|glpat-[\w-]{20,}|xox[abpr]-[\w-]{20,}"
            r"|(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[\w-]{35}|sk[-_](?:live_|proj-|ant-)?[\w-]{20,}|npm_\w{36}|hf_[A-Za-z0-9]{30,}"
            r"|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,})"
            r"|(?i:(?<=secret)|(?<=token)|(?<=api_key)|(?<=apikey)|(?<=password))[\"']?\s{0,3}[:=]\s{0,3}[\"']?"
            r"(?P<value>[A-Za-z0-9+/_-]{16,}={0,2})"
        ),
        _key,
    ),
    "IP_ADDRESS": _Category(
        r"\d\.\d{1,3}\.\d{1,3}\.\d|[0-9A-Fa-f]:[0-9A-Fa-f:]{0,30}:[0-9A-Fa-f]",
        re.compile(
            r"(?<![\w.:-])(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\d)"
            r"|(?<![\w:.])[0-9A-Fa-f]{1,4}(?:::?[0-9A-Fa-f]{1,4}){2,7}(?![\w:])"
        ),
        _address,
    ),
    "IBAN": _Category(
        r"\b[A-Z]{2}\d{2} ?[A-Z0-9]{4}",
        re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b"),
        _iban,
    ),
    "CARD": _Category(
        r"\b[3-6]\d{3}[ -]?\d{4,6}[ -]?\d{4,5}",
        re.compile(
            r"(?<![\w.-])[3-6]\d{3}(?:(?:[ -]?\d{4}){2}[ -]?\d{1,7}|[ -]?\d{6}[ -]?\d{5})(?![\w-]|\.\d)"
        ),
        _luhn,
    ),
    "PHONE": _Category(
        r"\+\d|\(\d{2,5}\)|\b00\d|\d[-. /]\d{3,4}[-. /]?\d",
        re.compile(
            r"(?<![\w.,/+-])(?<!\d )"
            r"(?:(?:\+|00)[1-9]\d{0,2}[-. ]?(?:\(\d{1,5}\)[-. ]?)?\d{1,5}(?:[-. ]?\d{2,5}){1,5}"
            r"|\(\d{2,5}\)[-. ]?\d{3,4}[-. ]?\d{3,4}|\d{3}([-. ])\d{3}\1\d{4}"
            r"|0\d{2,4}[-/ ]\d{3,4}[- ]?\d{3,4})"
            r"(?![\w%]|[.,/-]\d| \d)"
        ),
        _phone,
    ),
    "USER": _Category(
        r"(?:^|[^\w@])@[A-Za-z_]\w\w",
        re.compile(r"(?<![\w@./:-])@[A-Za-z_][\w]{2,38}(?![\w@(=]|\.[A-Za-z])"),
        lambda value: value[1:].lower() not in _NO_USERS,
    ),
}


def find(text: str, categories: Sequence[str] = tuple(CATEGORIES)) -> list[Hit]:
    """The personal data of a text in reading order; where two overlap, the category listed first wins.

    >>> [(hit.category, "Mail jo@example.org or call +49 30 901820."[hit.start:hit.stop])
    ...  for hit in find("Mail jo@example.org or call +49 30 901820.")]
    [('EMAIL', 'jo@example.org'), ('PHONE', '+49 30 901820')]
    """
    hits: list[Hit] = []
    for category in categories:
        for start, stop in _matches(CATEGORIES[category], text):
            if all(stop <= hit.start or start >= hit.stop for hit in hits):
                hits.append(Hit(category, start, stop))
    return sorted(hits, key=lambda hit: hit.start)


def _matches(category: _Category, text: str) -> Iterator[tuple[int, int]]:
    for match in category.pattern.finditer(text):
        group = "value" if category.pattern.groupindex and match["value"] else 0
        if category.check(match[group]):
            yield match.span(group)


class Privacy(Notes):
    """Replace personal data by its category's token.

    Args:
        categories: of CATEGORIES, all by default, the ones that win where two overlap first.
        numbered: append a number that one value keeps through a document.

    Raises:
        ConfigError: an unknown category.
    """

    name = "privacy"

    def __init__(self, categories: Sequence[str] | None = None, numbered: bool = False):
        super().__init__()
        categories = tuple(CATEGORIES) if categories is None else categories
        for category in categories:
            if category not in CATEGORIES:
                raise ConfigError(f"privacy category {category!r}", do=nearest(category, CATEGORIES))
        self.categories, self.numbered = categories, numbered

    def apply(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """As Step.apply."""
        column = batch.column("text")
        possible = np.stack(
            [
                np.asarray(pc.match_substring_regex(column, CATEGORIES[category].prefilter))
                for category in self.categories
            ]
        )
        rows = np.flatnonzero(possible.any(axis=0)).tolist()
        if not rows:
            return keep_all(batch)
        texts = column.to_pylist()
        for row in rows:
            wanted = [name for name, can in zip(self.categories, possible[:, row], strict=True) if can]
            texts[row] = self.redact(texts[row], wanted)
        return keep_all(with_texts(batch, texts))

    def redact(self, text: str, categories: Sequence[str] | None = None) -> str:
        """One text, redacted.

        >>> Privacy(numbered=True).redact("From a@b.org to c@d.org, copy a@b.org")
        'From PI:EMAIL:1 to PI:EMAIL:2, copy PI:EMAIL:1'
        """
        numbers: dict[tuple[str, str], int] = {}
        parts, place = [], 0
        for hit in find(text, self.categories if categories is None else categories):
            self.counts[hit.category] += 1
            key = (hit.category, text[hit.start : hit.stop])
            number = numbers.setdefault(key, sum(category == hit.category for category, _ in numbers) + 1)
            parts += [text[place : hit.start], f"PI:{hit.category}" + (f":{number}" if self.numbered else "")]
            place = hit.stop
        return "".join([*parts, text[place:]]) if parts else text
