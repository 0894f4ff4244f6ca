"""Compiled loops over the UTF-8 buffers of an Arrow string column: one pass a document, no Python objects.

The filter values are those of the ROOTS OSCAR filters (see steps/oscar.py); n-grams are counted by 64-bit
polynomial hashes in an open-addressed table. Each kernel releases the interpreter lock and is compiled once
into numba's cache. Parity with a plain Python statement is tested value by value.

D documents of a batch, P code points of a document, W words
"""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = [
    "COLUMNS",
    "HASH_BASE",
    "decode",
    "document_values",
    "insert",
    "lookup_table",
    "mix",
    "strip_range",
    "word_hashes",
]

COLUMNS = (
    "words",
    "character_repetition",
    "word_repetition",
    "special_characters",
    "stop_words",
    "flagged_words",
)

HASH_BASE = 0x9E3779B97F4A7C15
_BASE = np.uint64(HASH_BASE)
_ONE = np.uint64(1)


@njit(cache=True, nogil=True, inline="always")
def mix(value):  # type: ignore[no-untyped-def]
    """The finaliser of splitmix64: every input bit reaches every output bit."""
    value ^= value >> np.uint64(30)
    value *= np.uint64(0xBF58476D1CE4E5B9)
    value ^= value >> np.uint64(27)
    value *= np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@njit(cache=True, nogil=True)
def decode(data, start, stop, points):  # type: ignore[no-untyped-def]
    """Write the code points of valid UTF-8 into `points`; returns how many."""
    count, place = 0, start
    while place < stop:
        first = np.int32(data[place])
        if first < 0x80:
            points[count] = first
            place += 1
        elif first < 0xE0:
            points[count] = (first & 0x1F) << 6 | (data[place + 1] & 0x3F)
            place += 2
        elif first < 0xF0:
            points[count] = (
                (first & 0x0F) << 12 | (np.int32(data[place + 1]) & 0x3F) << 6 | (data[place + 2] & 0x3F)
            )
            place += 3
        else:
            points[count] = (
                (first & 0x07) << 18
                | (np.int32(data[place + 1]) & 0x3F) << 12
                | (np.int32(data[place + 2]) & 0x3F) << 6
                | (data[place + 3] & 0x3F)
            )
            place += 4
        count += 1
    return count


@njit(cache=True, nogil=True)
def insert(keys, counts, key):  # type: ignore[no-untyped-def]
    """Count a key in an open-addressed table whose length is a power of two; 0 in `counts` is free."""
    mask = np.uint64(len(keys) - 1)
    slot = mix(key) & mask
    while counts[slot] and keys[slot] != key:
        slot = (slot + _ONE) & mask
    keys[slot] = key
    counts[slot] += 1


@njit(cache=True, nogil=True)
def _contains(keys, used, key):  # type: ignore[no-untyped-def]
    mask = np.uint64(len(keys) - 1)
    slot = mix(key) & mask
    while used[slot]:
        if keys[slot] == key:
            return True
        slot = (slot + _ONE) & mask
    return False


@njit(cache=True, nogil=True)
def _table_size(count):  # type: ignore[no-untyped-def]
    size = 16
    while size < 2 * count:
        size *= 2
    return size


@njit(cache=True, nogil=True)
def strip_range(points, start, stop, special):  # type: ignore[no-untyped-def]
    """The range left when special characters are taken off both ends."""
    while start < stop and special[points[start]]:
        start += 1
    while stop > start and special[points[stop - 1]]:
        stop -= 1
    return start, stop


@njit(cache=True, nogil=True)
def word_hashes(points, count, special, lower, alone, hashes, lengths):  # type: ignore[no-untyped-def]
    """Hash the lower-cased, stripped words between spaces, newlines and tabs.

    Args:
        alone: (0x110000,) bool: characters that are words of their own (scripts without spaces); all False
            for the published definition.

    Returns:
        (number of words left when they are lower-cased first, number when they are not).
    """
    number, number_plain, start = 0, 0, 0
    for place in range(count + 1):
        end = place == count or points[place] == 32 or points[place] == 10 or points[place] == 9
        single = not end and alone[points[place]]
        if not (end or single):
            continue
        if place > start:
            first, last = strip_range(points, start, place, special)
            number_plain += last > first
            first, last = start, place
            while first < last and special[lower[points[first]]]:
                first += 1
            while last > first and special[lower[points[last - 1]]]:
                last -= 1
            if last > first:
                value = np.uint64(0)
                for position in range(first, last):
                    value = value * _BASE + np.uint64(lower[points[position]] + 1)
                hashes[number], lengths[number] = value, last - first
                number += 1
        if single:
            hashes[number], lengths[number] = np.uint64(lower[points[place]] + 1), 1
            number += 1
            number_plain += 1
        start = place + 1
    return number, number_plain


@njit(cache=True, nogil=True)
def _character_repetition(points, count, width):  # type: ignore[no-untyped-def]
    """Mass of the k most frequent n-grams, k = min(floor(sqrt(distinct)), number seen more than once)."""
    total = count - width + 1
    if total < 1:
        return 0.0
    size = _table_size(total)
    keys, counts = np.empty(size, np.uint64), np.zeros(size, np.int32)
    leading, value = _ONE, np.uint64(0)
    for _ in range(width):
        leading *= _BASE
    for place in range(count):
        value = value * _BASE + np.uint64(points[place] + 1)
        if place >= width:
            value -= leading * np.uint64(points[place - width] + 1)
        if place >= width - 1:
            insert(keys, counts, value)
    distinct = 0
    repeated = 0
    for slot in range(size):
        distinct += counts[slot] > 0
        repeated += counts[slot] > 1
    wanted = min(int(np.sqrt(distinct)), repeated)
    if wanted == 0:
        return 0.0
    frequent = np.empty(repeated, np.int32)
    repeated = 0
    for slot in range(size):
        if counts[slot] > 1:
            frequent[repeated] = counts[slot]
            repeated += 1
    frequent.sort()
    return frequent[repeated - wanted :].sum() / total


@njit(cache=True, nogil=True)
def _word_repetition(hashes, number, width):  # type: ignore[no-untyped-def]
    """Mass of the word n-grams seen more than once."""
    total = number - width + 1
    if total < 1:
        return 0.0
    size = _table_size(total)
    keys, counts = np.empty(size, np.uint64), np.zeros(size, np.int32)
    for place in range(total):
        value = np.uint64(0)
        for word in range(place, place + width):
            value = value * _BASE + mix(hashes[word])
        insert(keys, counts, value)
    repeated = 0
    for slot in range(size):
        if counts[slot] > 1:
            repeated += counts[slot]
    return repeated / total


@njit(cache=True, nogil=True)
def _share_of_listed(hashes, lengths, number, listed, used, group, joint):  # type: ignore[no-untyped-def]
    """Words, and joined pairs where `group` is 2, that stand in a list, over the words; at most 1."""
    if number == 0:
        return 0.0
    found = 0
    for word in range(number):
        found += _contains(listed, used, hashes[word])
    if group == 2:
        for word in range(number - 1):
            value = hashes[word]
            if joint:
                value = value * _BASE + np.uint64(joint + 1)
            for _ in range(lengths[word + 1]):
                value *= _BASE
            found += _contains(listed, used, value + hashes[word + 1])
    return min(found / number, 1.0)


@njit(cache=True, nogil=True)
def document_values(  # type: ignore[no-untyped-def]
    data,
    offsets,
    rows,
    special,
    lower,
    alone,
    character_n,
    word_n,
    stop,
    stop_used,
    flagged,
    flagged_used,
    group,
    joint,
):  # fmt: skip
    """The filter values of documents `rows` of one language.

    Returns:
        (len(rows), 6) float64, columns as COLUMNS.
    """
    values = np.zeros((len(rows), 6))
    longest = 0
    for row in rows:
        longest = max(longest, offsets[row + 1] - offsets[row])
    points = np.empty(longest + 1, np.int32)
    hashes, lengths = np.empty(longest + 1, np.uint64), np.empty(longest + 1, np.int32)
    for index, row in enumerate(rows):
        count = decode(data, offsets[row], offsets[row + 1], points)
        number, number_plain = word_hashes(points, count, special, lower, alone, hashes, lengths)
        marks = 0
        for place in range(count):
            marks += special[points[place]]
        values[index, 0] = number_plain
        values[index, 1] = _character_repetition(points, count, character_n)
        values[index, 2] = _word_repetition(hashes, number, word_n)
        values[index, 3] = marks / count if count else 0.0
        values[index, 4] = _share_of_listed(hashes, lengths, number, stop, stop_used, group, joint)
        values[index, 5] = _share_of_listed(hashes, lengths, number, flagged, flagged_used, group, joint)
    return values


@njit(cache=True, nogil=True)
def lookup_table(hashes):  # type: ignore[no-untyped-def]
    """An open-addressed table of word hashes: (keys, used)."""
    size = _table_size(len(hashes))
    keys, used = np.empty(size, np.uint64), np.zeros(size, np.int32)
    for value in hashes:
        insert(keys, used, value)
    return keys, used
