"""MinHash signatures and exact Jaccard similarity of word shingles, compiled.

A document's shingles are its runs of 5 words, lower-cased, punctuation off both ends; characters of
scripts without spaces count as words. A shorter document is one shingle. Each shingle is 32 bits of a hash,
each permutation x -> a x + b modulo 2^32 with odd a.

N documents, S shingles, K permutations, B bands of R rows (B x R <= K)
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hortus.corpus.characters import lower_case, punctuation, unspaced_characters
from hortus.corpus.kernels import decode, mix, word_hashes

__all__ = ["NUM_PERMUTATIONS", "bands_of", "jaccard_of_pairs", "permutations", "shingle_sets"]

NUM_PERMUTATIONS = 128
_BASE = np.uint64(0x9E3779B97F4A7C15)


def permutations(seed: int = 0) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """(K,) multipliers and (K,) summands."""
    generator = np.random.default_rng(seed)
    multipliers = generator.integers(0, 2**31, NUM_PERMUTATIONS, dtype=np.uint32) * np.uint32(2) + np.uint32(
        1
    )
    return multipliers, generator.integers(0, 2**32, NUM_PERMUTATIONS, dtype=np.uint32)


def shingle_sets(
    data: NDArray[np.uint8], offsets: NDArray[np.int32], words: int
) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """The sorted distinct shingles of all documents, (S,), and how many each has, (N,)."""
    tables = (punctuation(), lower_case(), unspaced_characters())
    return _shingle_sets(data, offsets, words, *tables)


@njit(cache=True, nogil=True)
def _shingle_sets(data, offsets, width, special, lower, alone):  # type: ignore[no-untyped-def]
    documents = len(offsets) - 1
    longest = 1
    for document in range(documents):
        longest = max(longest, offsets[document + 1] - offsets[document] + 1)
    points = np.empty(longest, np.int32)
    hashes, lengths = np.empty(longest, np.uint64), np.empty(longest, np.int32)
    counts = np.zeros(documents, np.int64)
    shingles = np.empty(max(offsets[documents] - offsets[0], 1), np.uint32)
    filled = 0
    for document in range(documents):
        count = decode(data, offsets[document], offsets[document + 1], points)
        number, _ = word_hashes(points, count, special, lower, alone, hashes, lengths)
        if number == 0:
            continue
        taken = min(width, number)
        found = np.empty(number - taken + 1, np.uint32)
        for place in range(number - taken + 1):
            value = np.uint64(0)
            for word in range(place, place + taken):
                value = value * _BASE + mix(hashes[word])
            found[place] = np.uint32(mix(value) >> np.uint64(32))
        found.sort()
        start = filled
        for place in range(len(found)):
            if place == 0 or found[place] != found[place - 1]:
                shingles[filled] = found[place]
                filled += 1
        counts[document] = filled - start
    return shingles[:filled].copy(), counts


@njit(cache=True, nogil=True)
def bands_of(shingles, counts, multipliers, summands, bands, rows):  # type: ignore[no-untyped-def]
    """(N, B) uint64: a hash of each band of the signature; documents without shingles give zeros."""
    keys = np.zeros((len(counts), bands), np.uint64)
    signature = np.empty(len(multipliers), np.uint32)
    start = 0
    for document in range(len(counts)):
        signature[:] = np.uint32(0xFFFFFFFF)
        for place in range(start, start + counts[document]):
            shingle = shingles[place]
            for k in range(len(multipliers)):
                value = np.uint32(multipliers[k] * shingle + summands[k])
                signature[k] = min(signature[k], value)
        start += counts[document]
        if counts[document] == 0:
            continue
        for band in range(bands):
            key = np.uint64(band + 1)
            for k in range(band * rows, (band + 1) * rows):
                key = mix(key * _BASE + np.uint64(signature[k]))
            keys[document, band] = key
    return keys


@njit(cache=True, nogil=True)
def jaccard_of_pairs(shingles, starts, counts, first, second):  # type: ignore[no-untyped-def]
    """Exact similarity of pairs of shingle sets: shared / (all of either)."""
    result = np.zeros(len(first))
    for pair in range(len(first)):
        a, b = starts[first[pair]], starts[second[pair]]
        a_stop, b_stop = a + counts[first[pair]], b + counts[second[pair]]
        shared = 0
        while a < a_stop and b < b_stop:
            if shingles[a] == shingles[b]:
                shared += 1
                a += 1
                b += 1
            elif shingles[a] < shingles[b]:
                a += 1
            else:
                b += 1
        result[pair] = shared / (counts[first[pair]] + counts[second[pair]] - shared)
    return result
