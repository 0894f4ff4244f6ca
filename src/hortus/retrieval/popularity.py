"""How popular an entity is, where the data do not say: two proxies.

Mention counts say how often a corpus names an entity, page views how often people look it up. Both stand in
for how often the model has met it: a name that several entities share counts for each of them.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from hortus.errors import DataError
from hortus.retrieval.questions import Question

__all__ = ["count_mentions", "read_page_views", "with_popularity"]

_WORD = re.compile(r"\w+")


def count_mentions(texts: Iterable[str], names: Iterable[str]) -> dict[str, int]:
    """Number of texts that name each entity: its words in a row, case and punctuation aside.

    One pass over the texts, whatever the number of names.

    >>> count_mentions(["New York is not York.", "york!"], ["York", "New York"])
    {'York': 2, 'New York': 1}
    """
    keys = {name: tuple(_WORD.findall(name.casefold())) for name in names}
    by_first: dict[str, set[tuple[str, ...]]] = {}
    for key in keys.values():
        if key:
            by_first.setdefault(key[0], set()).add(key)
    counts: Counter[tuple[str, ...]] = Counter()
    for text in texts:
        words = _WORD.findall(text.casefold())
        counts.update(
            {
                key
                for place, word in enumerate(words)
                for key in by_first.get(word, ())
                if tuple(words[place : place + len(key)]) == key
            }
        )
    return {name: counts[key] for name, key in keys.items()}


def read_page_views(path: str | Path) -> dict[str, float]:
    """Entity -> views from a file of lines "name<TAB>views", such as an export of Wikipedia's page views.

    Raises:
        DataError: unreadable, or a line (named) without a number.
    """
    views = {}
    try:
        with Path(path).open(encoding="utf-8", newline="") as file:
            for number, row in enumerate(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE), start=1):
                if not row:
                    continue
                try:
                    views[row[0]] = float(row[1])
                except (IndexError, ValueError) as error:
                    raise DataError(
                        f"{path} line {number}: {row!r:.60}", allowed="a name, a tab, a number"
                    ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}", do="check the path and that it is UTF-8") from error
    return views


def with_popularity(questions: Sequence[Question], popularity: dict[str, float]) -> list[Question]:
    """The questions with the popularity of their subjects; None where it is not known.

    >>> from hortus.retrieval.questions import Question
    >>> with_popularity([Question("1", "?", "York", "country", ("England",))], {"York": 3})[0].popularity
    3
    """
    return [replace(one, popularity=popularity.get(one.subject)) for one in questions]
