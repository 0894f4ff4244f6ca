"""Clusters of documents that share much text, so that a split can keep each on one side.

A document is sketched by the hashes of its 10-character shingles: all of them when there are up to 128,
else those below 2^64 / 2^s with the smallest s that leaves about as many. Two sketches are compared at
the coarser of the two scales, and the overlap is measured against the smaller document, so a text that
lies inside a longer one is found too (Jaccard similarity would miss it). A text under about a sixteenth
of the other one's length leaves too few hashes at the coarser scale and is not found.

Memory: about 100 hashes a document, which sorting takes to some 4 KB a document at the peak.

N documents, S hashes of all sketches together
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["Sketches", "cluster", "join_groups", "shingle_hashes", "sketch"]

SHINGLE_CHARACTERS = 10
SKETCH_HASHES = 128
MIN_SHARED = 4  # fewer common hashes prove nothing
LARGEST_GROUP = 8  # documents with one hash in common that are compared all with all

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)

Hashes = NDArray[np.uint64]


def shingle_hashes(text: str) -> Hashes:
    """Hashes of all runs of 10 characters, case and white space evened out; shorter texts give one."""
    even = " ".join(text.casefold().split())
    points = np.frombuffer(even.encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
    width = min(SHINGLE_CHARACTERS, len(points))
    if width == 0:
        return np.empty(0, dtype=np.uint64)
    count = len(points) - width + 1
    hashes = np.zeros(count, dtype=np.uint64)
    for place in range(width):  # Horner's rule, one shifted view at a time
        hashes *= _MULTIPLIER
        hashes += points[place : place + count]
    return _mixed(hashes)


def _mixed(hashes: Hashes) -> Hashes:
    # The finaliser of splitmix64: spreads every input bit, so that "the smallest hashes" is a fair sample.
    hashes ^= hashes >> np.uint64(30)
    hashes *= np.uint64(0xBF58476D1CE4E5B9)
    hashes ^= hashes >> np.uint64(27)
    hashes *= np.uint64(0x94D049BB133111EB)
    hashes ^= hashes >> np.uint64(31)
    return hashes


def sketch(text: str) -> tuple[Hashes, int]:
    """The sorted distinct hashes below 2^(64 - scale), and the scale."""
    hashes = shingle_hashes(text)
    scale = max(0, int(np.ceil(np.log2(max(len(hashes), 1) / SKETCH_HASHES))))
    return np.unique(hashes[hashes <= _ceiling(scale)]), scale


def _ceiling(scale: int) -> np.uint64:
    return np.uint64((1 << (64 - scale)) - 1)


class Sketches:
    """Sketches of documents in the order they were added."""

    def __init__(self) -> None:
        self.hashes: list[Hashes] = []
        self.scales: list[int] = []

    def add(self, texts: Sequence[str]) -> None:
        """Sketch more documents."""
        for text in texts:
            hashes, scale = sketch(text)
            self.hashes.append(hashes)
            self.scales.append(scale)


def cluster(sketches: Sketches, overlap: float) -> NDArray[np.int64]:
    """Number every document's cluster: the smallest index among its members.

    Args:
        overlap: documents are linked when shared hashes / hashes of the smaller one reach this.

    Returns:
        (N,) int64.

    >>> sketches = Sketches()
    >>> sketches.add(["the same sentence, twice", "another one altogether", "The same sentence, twice!"])
    >>> cluster(sketches, 0.5).tolist()
    [0, 1, 0]
    """
    parents = np.arange(len(sketches.scales), dtype=np.int64)
    for first, second, shared in _candidates(sketches):
        scale = max(sketches.scales[first], sketches.scales[second])
        smaller = min(_count(sketches.hashes[document], scale) for document in (first, second))
        if shared >= MIN_SHARED and shared >= overlap * smaller:
            _join(parents, first, second)
    return np.array([_root(parents, document) for document in range(len(parents))], dtype=np.int64)


def join_groups(clusters: NDArray[np.int64], groups: Sequence[str | None]) -> NDArray[np.int64]:
    """Merge the clusters of documents that share a group's name.

    >>> join_groups(np.array([0, 1, 0, 3]), [None, "a", "a", None]).tolist()
    [0, 0, 0, 3]
    """
    parents, first = clusters.copy(), dict[str, int]()
    for document, group in enumerate(groups):
        if group is not None:
            _join(parents, first.setdefault(group, document), document)
    return np.array([_root(parents, document) for document in range(len(parents))], dtype=np.int64)


def _count(hashes: Hashes, scale: int) -> int:
    return int(np.searchsorted(hashes, _ceiling(scale), side="right"))


def _candidates(sketches: Sketches) -> list[tuple[int, int, int]]:
    """Pairs of documents with hashes in common, and how many."""
    if not sketches.hashes:
        return []
    hashes = np.concatenate(sketches.hashes)  # (S,)
    owners = np.repeat(
        np.arange(len(sketches.hashes), dtype=np.int32), [len(part) for part in sketches.hashes]
    )
    order = np.argsort(hashes, kind="stable")  # stable: owners ascend within a group
    hashes, owners = hashes[order], owners[order]
    starts = (
        np.flatnonzero(np.concatenate(([True], hashes[1:] != hashes[:-1])))
        if len(hashes)
        else np.empty(0, int)
    )
    sizes = np.diff(np.append(starts, len(hashes)))
    pairs = [_pairs_of_size(owners, starts[sizes == size], size) for size in range(2, LARGEST_GROUP + 1)]
    # A hash that many documents share (a licence header) would give quadratically many pairs: neighbours
    # only. Copies of one template are neighbours at every hash, so they still chain up.
    common = np.flatnonzero(hashes[1:] == hashes[:-1])
    common = common[np.repeat(sizes, sizes)[common] > LARGEST_GROUP]
    pairs.append(np.stack([owners[common], owners[common + 1]], axis=1))
    lower, higher = np.concatenate(pairs).astype(np.int64).T
    keys, counts = np.unique(lower * len(sketches.hashes) + higher, return_counts=True)
    first, second = np.divmod(keys[counts >= MIN_SHARED], len(sketches.hashes))
    return list(zip(first.tolist(), second.tolist(), counts[counts >= MIN_SHARED].tolist(), strict=True))


def _pairs_of_size(owners: NDArray[np.int32], starts: NDArray[np.int64], size: int) -> NDArray[np.int32]:
    members = owners[starts[:, None] + np.arange(size)]  # (groups, size)
    first, second = np.triu_indices(size, k=1)
    return np.stack([members[:, first].ravel(), members[:, second].ravel()], axis=1)


def _root(parents: NDArray[np.int64], document: int) -> int:
    while parents[document] != document:
        parents[document] = parents[parents[document]]
        document = int(parents[document])
    return document


def _join(parents: NDArray[np.int64], first: int, second: int) -> None:
    first, second = sorted((_root(parents, first), _root(parents, second)))
    parents[second] = first
