"""The published filters as plain Python, without a word of the room's own code but its list of symbols."""

from __future__ import annotations

import string
from collections import Counter
from importlib import resources
from math import isqrt

from hortus.corpus.characters import EMOJI

LISTED = resources.files("hortus.corpus").joinpath("data/special_characters.txt").read_text("utf-8")
SPECIAL = set(LISTED) | set(string.punctuation + string.digits + string.whitespace)
SPECIAL |= {chr(point) for first, last in EMOJI for point in range(first, last + 1)}
WHITE = " \u2009\u200a\u202f\u2005\u3000\u2002\xa0\u2008\u2003\ufffc\x84"


def strip(word):
    start, stop = 0, len(word)
    while start < stop and word[start] in SPECIAL:
        start += 1
    while stop > start and word[stop - 1] in SPECIAL:
        stop -= 1
    return word[start:stop]


def words_of(text, lower):
    words = text.replace("\n", " ").replace("\t", " ").split(" ")
    words = [word.lower() for word in words] if lower else words
    return [stripped for stripped in map(strip, words) if stripped]


def top_mass(text, width):
    counts = Counter(text[i : i + width] for i in range(len(text) - width + 1))
    if not counts:
        return 0.0
    ordered = sorted(counts.values(), reverse=True)
    top = min(isqrt(len(ordered)), sum(count > 1 for count in ordered))
    return sum(ordered[:top]) / sum(ordered)


def repeated_mass(words, width):
    counts = Counter(tuple(words[i : i + width]) for i in range(len(words) - width + 1))
    return sum(count for count in counts.values() if count > 1) / sum(counts.values()) if counts else 0.0


def listed_share(words, listed, group, join):
    if not words:
        return 0.0
    pairs = [join.join(words[i : i + 2]) for i in range(len(words) - 1)] if group == 2 else []
    return min(sum(word in listed for word in words + pairs) / len(words), 1.0)


def values(text, bounds, stop, flagged):
    """The six values in the order of kernels.COLUMNS."""
    words = words_of(text, lower=True)
    group, join = bounds["group"], bounds["join"]
    return [
        len(words_of(text, lower=False)),
        top_mass(text, bounds["character_ngram"]),
        repeated_mass(words, bounds["word_ngram"]),
        sum(character in SPECIAL for character in text) / len(text) if text else 0.0,
        listed_share(words, stop, group, join),
        listed_share(words, flagged, group, join),
    ]


def rewritten(text, longest):
    """White space made one, then words taken out line by line and cell by cell."""
    text = "".join(" " if character in WHITE else character for character in text.strip())
    if not longest:
        return text

    def keeps(word):
        inner = strip(word)
        if any(part in inner for part in ("http", "www", ".com", "href", "//")):
            return False
        return len(word) <= longest or 0 < len(inner) <= longest

    lines = []
    for line in text.split("\n"):
        cells = [
            " ".join(word for word in cell.split(" ") if word and keeps(word)) for cell in line.split("\t")
        ]
        lines.append("\t".join(cell for cell in cells if cell))
    return "\n".join(line for line in lines if line)
