"""Compiled rewriting of documents as ROOTS did before filtering: white space made one, bad words taken out.

A document is stripped and a dozen kinds of white space become a space. Where a language names a longest
word, words that hold a web address are dropped, then words that are too long even without the special
characters at their ends; runs of separators then shrink to one.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from hortus.corpus.characters import special_characters, white_space
from hortus.corpus.kernels import decode, strip_range

__all__ = ["rewrite"]

# Words that hold one of these inside their special ends are dropped.
ADDRESSES = np.zeros((5, 5), np.int32)
for _row, _text in enumerate(("http", "www", ".com", "href", "//")):
    ADDRESSES[_row, : len(_text)] = [ord(character) for character in _text]


def rewrite(texts: pa.StringArray, longest_words: NDArray[np.int32]) -> pa.StringArray:
    """The texts rewritten.

    Args:
        longest_words: (D,) the longest word by document; 0 leaves the words alone.

    >>> texts = pa.array([" See http://a.b\\u3000now \\n\\n(wonderful) "])
    >>> rewrite(texts, np.array([9], np.int32)).to_pylist()
    ['See now\\n(wonderful)']
    """
    data, offsets = string_buffers(texts)
    new, new_offsets = _rewrite(
        data, offsets, longest_words, special_characters(), white_space(), _strippable(), ADDRESSES
    )
    buffers = [None, pa.py_buffer(new_offsets), pa.py_buffer(new)]
    return pa.StringArray.from_buffers(len(texts), buffers[1], buffers[2])


def string_buffers(texts: pa.StringArray) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """The bytes of a string column without nulls, and the (D + 1,) offsets into them; nothing is copied."""
    if not len(texts):
        return np.empty(0, np.uint8), np.zeros(1, np.int32)
    _, offsets, data = texts.buffers()
    places = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    return np.frombuffer(data or b"", np.uint8), places


def _strippable() -> NDArray[np.bool_]:
    # What str.strip() takes off: every character for which str.isspace() holds.
    table = np.zeros(0x110000, np.bool_)
    table[[point for point in range(0x3001) if chr(point).isspace()]] = True
    return table


@njit(cache=True, nogil=True)
def _encode(point, data, place):  # type: ignore[no-untyped-def]
    if point < 0x80:
        data[place] = point
        return place + 1
    if point < 0x800:
        data[place] = 0xC0 | point >> 6
        data[place + 1] = 0x80 | point & 0x3F
        return place + 2
    if point < 0x10000:
        data[place] = 0xE0 | point >> 12
        data[place + 1] = 0x80 | point >> 6 & 0x3F
        data[place + 2] = 0x80 | point & 0x3F
        return place + 3
    data[place] = 0xF0 | point >> 18
    data[place + 1] = 0x80 | point >> 12 & 0x3F
    data[place + 2] = 0x80 | point >> 6 & 0x3F
    data[place + 3] = 0x80 | point & 0x3F
    return place + 4


@njit(cache=True, nogil=True)
def _is_bad(points, start, stop, longest, special, addresses):  # type: ignore[no-untyped-def]
    first, last = strip_range(points, start, stop, special)
    if stop - start > longest and (last == first or last - first > longest):
        return True
    for place in range(first, last):
        for row in range(len(addresses)):
            width = 0
            while width < addresses.shape[1] and addresses[row, width]:
                if place + width >= last or points[place + width] != addresses[row, width]:
                    width = -1
                    break
                width += 1
            if width > 0:
                return True
    return False


@njit(cache=True, nogil=True)
def _rewrite(data, offsets, longest_words, special, white, strippable, addresses):  # type: ignore[no-untyped-def]
    documents = len(offsets) - 1
    new = np.empty(offsets[documents] - offsets[0], np.uint8)
    new_offsets = np.zeros(documents + 1, np.int32)
    longest = 0
    for document in range(documents):
        longest = max(longest, offsets[document + 1] - offsets[document])
    points = np.empty(longest, np.int32)
    place = 0
    for document in range(documents):
        count = decode(data, offsets[document], offsets[document + 1], points)
        start = 0
        while start < count and strippable[points[start]]:
            start += 1
        while count > start and strippable[points[count - 1]]:
            count -= 1
        for position in range(start, count):
            if white[points[position]]:
                points[position] = 32
        if longest_words[document] == 0:
            for position in range(start, count):
                place = _encode(points[position], new, place)
        else:
            place = _kept_words(points, start, count, longest_words[document], special, addresses, new, place)
        new_offsets[document + 1] = place
    return new[:place], new_offsets


@njit(cache=True, nogil=True)
def _kept_words(points, start, count, longest, special, addresses, new, place):  # type: ignore[no-untyped-def]
    # The strongest separator (newline over tab over space) between two kept words is the one that stays.
    separator, any_kept, word = 0, False, start
    for position in range(start, count + 1):
        end = position == count
        point = 10 if end else points[position]
        if point != 32 and point != 9 and point != 10:
            continue
        if position > word and not _is_bad(points, word, position, longest, special, addresses):
            if any_kept:
                new[place] = 10 if separator == 3 else 9 if separator == 2 else 32
                place += 1
            for letter in range(word, position):
                place = _encode(points[letter], new, place)
            any_kept, separator = True, 0
        separator = max(separator, 3 if point == 10 else 2 if point == 9 else 1)
        word = position + 1
    return place
