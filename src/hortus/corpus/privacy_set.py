"""A labelled set for personal data: made-up values in sentences, among look-alikes that are none.

Values are drawn by a seed from each category's own formats, with valid check digits; the look-alikes are
versions, dates, prices, ISBNs, hashes, decorators, coordinates and the like. `measure` counts precision and
recall of a redactor by category: a value is found when its span is, up to a character at either end.
"""

from __future__ import annotations

import random
import string
from collections import Counter
from collections.abc import Callable, Sequence

from hortus.corpus.steps.privacy import CATEGORIES, Hit, find

__all__ = ["labelled_documents", "measure"]

_NAMES = (
    "anna", "jonas", "maria.silva", "li_wei", "o.haddad", "ngozi", "amélie", "peter-paul", "x23", "info",
    "support+eu",
)  # fmt: skip
_DOMAINS = (
    "example.org", "mail.example.co.uk", "uni-ulm.example", "firma.example.de", "пример.example",
    "a.b.example.io",
)  # fmt: skip
_WORDS = (
    "write", "to", "him", "about", "the", "garden", "when", "the", "rain", "has", "gone", "and", "bring",
    "three", "old", "books", "with", "you",
)  # fmt: skip
_NONE = (
    "version 1.2.3.4 of the library", "released on 2021-03-04 at 10:15:30", "ISBN 978-3-16-148410-0",
    "costs 1,234,567.89 euros", "see section 3.10.2.1", "@property def area(self)",
    "@media screen { color: red }", "commit 9fceb02d0ae598e95dc970b74767f19372d61af8",
    "π is 3.14159265358979", "a ratio of 16:9 or 4:3", "pages 112-118, 1998-2004", "id 0000000000000000",
    "the range 100000-200000", "foo@bar without a domain", "std::vector::iterator::type",
    "localhost 127.0.0.1", "time 12:34:56:78", "latitude 48.137154, 11.576124",
    "part number 1234-5678-9012-3456", "order 4000 1234 5678 9011", "DE00 1234 5678 9012 3456 78",
    "a uuid 123e4567-e89b-12d3-a456-426614174000", "phone book of 2019",
    "token = settings.get_default_value()", "password: changeme", "C# 10.0.1 and .NET",
    "1 000 000 inhabitants", "12/24/2019 to 01/02/2020",
)  # fmt: skip


def labelled_documents(count: int, seed: int = 0) -> list[tuple[str, list[Hit]]]:
    """Documents of a few sentences, with the personal data in them.

    >>> text, hits = labelled_documents(3)[1]
    >>> all(hit.category in CATEGORIES and text[hit.start:hit.stop].strip() for hit in hits)
    True
    """
    draw = random.Random(seed)
    return [_document(draw) for _ in range(count)]


def _document(draw: random.Random) -> tuple[str, list[Hit]]:
    text, hits = "", []
    for _ in range(draw.randint(2, 6)):
        text += " ".join(draw.choices(_WORDS, k=draw.randint(3, 9))) + " "
        if draw.random() < 0.5:
            category = draw.choice(list(_MAKERS))
            before, value, after = _MAKERS[category](draw)
            text += before
            hits.append(Hit(category, len(text), len(text) + len(value)))
            text += value + after
        else:
            text += draw.choice(_NONE)
        text += draw.choice([". ", ", ", "\n", " and "])
    return text, hits


def _digits(draw: random.Random, count: int) -> str:
    return "".join(draw.choices(string.digits, k=count))


def _grouped(digits: str, sizes: Sequence[int], separator: str) -> str:
    parts, place = [], 0
    for size in sizes:
        parts.append(digits[place : place + size])
        place += size
    return separator.join(parts)


def _email(draw: random.Random) -> tuple[str, str, str]:
    before, after = draw.choice([("", ""), ("<", ">"), ("mailto:", ""), ("(", ")"), ("E-mail: ", "")])
    return (
        before,
        f"{draw.choice(_NAMES)}{draw.choice(['', _digits(draw, 2)])}@{draw.choice(_DOMAINS)}",
        after,
    )


def _address(draw: random.Random) -> tuple[str, str, str]:
    if draw.random() < 0.3:
        return "host ", ":".join(f"{draw.randint(0, 65535):x}" for _ in range(8)), ""
    return draw.choice(["from ", "IP: ", "("]), ".".join(str(draw.randint(20, 254)) for _ in range(4)), ""


def _key(draw: random.Random) -> tuple[str, str, str]:
    def mixed(count: int) -> str:
        return "a1B2" + "".join(draw.choices(string.ascii_letters + string.digits, k=count - 4))

    upper = "".join(draw.choices(string.ascii_uppercase + string.digits, k=14))
    return draw.choice(
        [
            ("", f"ghp_{mixed(36)}", ""),
            ("key ", f"AKIA7Q{upper}", ""),
            ('api_key = "', mixed(32), '"'),
            ("token: ", mixed(24), ""),
            ("", f"sk-{mixed(40)}", ""),
            ("", f"hf_{mixed(34)}", ""),
        ]
    )


def _phone(draw: random.Random) -> tuple[str, str, str]:
    digits = "".join(draw.sample("23456789", 8)) + _digits(draw, 3)
    shapes = [
        f"+49 {digits[:2]} {digits[2:10]}", f"+1-{digits[:3]}-{digits[3:6]}-{digits[6:10]}",
        f"({digits[:3]}) {digits[3:6]}-{digits[6:10]}", f"{digits[:3]}-{digits[3:6]}-{digits[6:10]}",
        f"+33 {digits[0]} {digits[1:3]} {digits[3:5]} {digits[5:7]} {digits[7:9]}", f"+86{digits[:11]}",
        f"0{digits[:3]} {digits[3:6]} {digits[6:10]}", f"00{digits[:2]} {digits[2:5]} {digits[5:9]}",
    ]  # fmt: skip
    return draw.choice(["call ", "Tel.: ", "phone "]), draw.choice(shapes), ""


def _card(draw: random.Random) -> tuple[str, str, str]:
    body = draw.choice(["4", "51", "55", "6011"])
    body += _digits(draw, 15 - len(body))
    total = sum(sum(divmod(int(d) * (2 if i % 2 == 0 else 1), 10)) for i, d in enumerate(body))
    number = body + str(-total % 10)
    return (
        "card ",
        draw.choice([number, _grouped(number, (4,) * 4, " "), _grouped(number, (4,) * 4, "-")]),
        "",
    )


def _iban(draw: random.Random) -> tuple[str, str, str]:
    country, length = draw.choice([("DE", 18), ("FR", 23), ("ES", 20)])
    body = _digits(draw, length)
    check = 98 - int(f"{body}{int(country[0], 36)}{int(country[1], 36)}00") % 97
    whole = f"{country}{check:02d}{body}"
    return "account ", draw.choice([whole, " ".join(whole[i : i + 4] for i in range(0, len(whole), 4))]), ""


def _user(draw: random.Random) -> tuple[str, str, str]:
    name = draw.choice(["anna_k", "devguru", "Tom1984", "garden_lover", "m_silva"]) + draw.choice(["", "7"])
    return draw.choice(["thanks ", "by ", "cc "]), f"@{name}", ""


_MAKERS: dict[str, Callable[[random.Random], tuple[str, str, str]]] = {
    "EMAIL": _email,
    "KEY": _key,
    "IP_ADDRESS": _address,
    "IBAN": _iban,
    "CARD": _card,
    "PHONE": _phone,
    "USER": _user,
}


def measure(
    documents: Sequence[tuple[str, list[Hit]]], finder: Callable[[str], list[Hit]] = find
) -> dict[str, dict[str, float]]:
    """Precision, recall and number of labels by category."""
    labels, found, right = Counter[str](), Counter[str](), Counter[str]()
    for text, truth in documents:
        hits = finder(text)
        labels.update(hit.category for hit in truth)
        found.update(hit.category for hit in hits)
        for hit in truth:
            right[hit.category] += any(_same(hit, other) for other in hits)
    return {
        category: {
            "labels": labels[category],
            "precision": right[category] / found[category] if found[category] else 1.0,
            "recall": right[category] / labels[category] if labels[category] else 1.0,
        }
        for category in CATEGORIES
    }


def _same(a: Hit, b: Hit) -> bool:
    return a.category == b.category and abs(a.start - b.start) <= 1 and abs(a.stop - b.stop) <= 1
