"""Tables over all code points: special characters, lower case, scripts without spaces.

The list of special characters is that of the ROOTS filters (data/special_characters.txt): punctuation,
digits, white space and symbols in ASCII, further symbols, and emoji. Emoji are given here as the ranges of
Unicode in which they lie, where ROOTS took the list of a package of its time.
"""

from __future__ import annotations

import string
from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "lower_case",
    "no_characters",
    "punctuation",
    "special_characters",
    "unspaced_characters",
    "white_space",
]

NUM_POINTS = 0x110000
# Emoji proper; dingbats and arrows among them count as special in ROOTS too.
EMOJI = (
    (0x231A, 0x231B), (0x23E9, 0x23F3), (0x25FB, 0x25FE), (0x2600, 0x27BF), (0x2934, 0x2935),
    (0x2B05, 0x2B07), (0x2B1B, 0x2B1C), (0x2B50, 0x2B55), (0x3297, 0x3299), (0x1F004, 0x1F004),
    (0x1F0CF, 0x1F0CF), (0x1F170, 0x1F251), (0x1F300, 0x1F64F), (0x1F680, 0x1F6FF), (0x1F7E0, 0x1F7EB),
    (0x1F90C, 0x1FAFF),
)  # fmt: skip
# Thai, Lao, Tibetan, Myanmar, Khmer, kana, Han, Yi, compatibility Han, half-width kana, Han extensions.
UNSPACED = (
    (0x0E00, 0x0EFF), (0x0F40, 0x0FBC), (0x1000, 0x109F), (0x1780, 0x17D3), (0x3041, 0x30FF),
    (0x31F0, 0x31FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xA000, 0xA48C), (0xF900, 0xFAFF),
    (0xFF66, 0xFF9D), (0x20000, 0x323AF),
)  # fmt: skip


@cache
def special_characters() -> NDArray[np.bool_]:
    """(0x110000,) True where a character is special.

    >>> table = special_characters()
    >>> [bool(table[ord(character)]) for character in "a,7é😀 "]
    [False, True, True, False, True, True]
    """
    table = _ranges(EMOJI)
    listed = resources.files("hortus.corpus").joinpath("data/special_characters.txt").read_text("utf-8")
    for character in set(listed) | set(string.punctuation + string.digits + string.whitespace):
        table[ord(character)] = True
    return table


@cache
def punctuation() -> NDArray[np.bool_]:
    """(0x110000,) special characters but for digits: for comparing texts, where "part 1" is not "part 2"."""
    table = special_characters().copy()
    table[[point for point in np.flatnonzero(table) if chr(point).isdigit()]] = False
    return table


@cache
def lower_case() -> NDArray[np.int32]:
    """(0x110000,) the lower-case code point. Two cases need more: see steps/oscar.py."""
    table = np.arange(NUM_POINTS, dtype=np.int32)
    for point in range(NUM_POINTS):
        lowered = chr(point).lower()
        if len(lowered) == 1:
            table[point] = ord(lowered)
    return table


@cache
def unspaced_characters() -> NDArray[np.bool_]:
    """(0x110000,) True for characters of scripts that put no spaces between words."""
    return _ranges(UNSPACED)


@cache
def white_space() -> NDArray[np.bool_]:
    """(0x110000,) True for what becomes a space: the published dozen, newline and tab not among them."""
    table = np.zeros(NUM_POINTS, dtype=np.bool_)
    table[[32, 0x84, 0xA0, 0x2002, 0x2003, 0x2005, 0x2008, 0x2009, 0x200A, 0x202F, 0x3000, 0xFFFC]] = True
    return table


@cache
def no_characters() -> NDArray[np.bool_]:
    """(0x110000,) False throughout."""
    return np.zeros(NUM_POINTS, dtype=np.bool_)


def _ranges(ranges: tuple[tuple[int, int], ...]) -> NDArray[np.bool_]:
    table = np.zeros(NUM_POINTS, dtype=np.bool_)
    for first, last in ranges:
        table[first : last + 1] = True
    return table
