"""Drop near duplicates: MinHash bands find candidates, their exact Jaccard similarity decides.

Documents that share a band are compared by their whole sets of shingles; those at least as similar as the
threshold are linked, linked documents form a cluster, and one of each cluster stays: the longest, of equals
the first. Estimated similarity alone would not do: 128 values cannot tell 0.78 from 0.82.

At 18 bands of 7 rows a pair of similarity 0.8 shares a band with probability 0.986, at 21 of 6 with 0.998.
Memory while deciding: 8 bytes a band and document; the shingles (4 bytes each) are mapped from disk.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit
from numpy.typing import NDArray

from hortus.corpus.config import NearDuplicatesConfig
from hortus.corpus.minhash import bands_of, jaccard_of_pairs, permutations, shingle_sets
from hortus.corpus.rewriting import string_buffers
from hortus.corpus.steps.step import Decision, Measures, Notes, divide, rows_of

__all__ = ["NearDuplicates", "candidate_pairs", "clusters_of"]

LARGEST_GROUP = 32  # documents of one band that are compared all with all; larger groups: first and neighbour


class NearDuplicates(Notes):
    """Cluster near duplicates and keep one of each cluster."""

    name = "near duplicates"

    def __init__(self, config: NearDuplicatesConfig):
        super().__init__()
        self.config = config
        self.decision: Decision = {}

    def measure(self, batch: pa.RecordBatch) -> Measures:
        """As GlobalStep.measure: band keys, shingle sets, lengths."""
        data, offsets = string_buffers(batch.column("text"))
        shingles, counts = shingle_sets(data, offsets, self.config.shingle_words)
        return {
            "bands": bands_of(shingles, counts, *permutations(), self.config.bands, self.config.rows),
            "shingles": shingles,
            "counts": counts,
            "sizes": np.asarray(pc.binary_length(batch.column("text")), dtype=np.int64),
            "rows": rows_of(batch),
        }

    def decide(self, measures: Sequence[Measures]) -> list[Decision]:
        """As GlobalStep.decide: the rows to drop by partition, and how many clusters there are."""
        bands = np.concatenate([part["bands"] for part in measures])
        sizes = np.concatenate([part["sizes"] for part in measures])
        first, second = candidate_pairs(bands)
        similar = similarities(measures, first, second) >= self.config.threshold
        clusters = clusters_of(len(bands), first[similar], second[similar])
        # The one that stays: by cluster, then longest, then first.
        order = np.lexsort((np.arange(len(clusters)), -sizes, clusters))
        stays = np.zeros(len(clusters), bool)
        stays[order[np.flatnonzero(np.diff(clusters[order], prepend=-1))]] = True
        stops = np.cumsum([len(part["rows"]) for part in measures])
        _, members = np.unique(clusters, return_counts=True)
        self.counts["clusters"] = int((members > 1).sum())
        self.counts["candidate pairs"] = len(first)
        return [
            {"rows": part["rows"][~kept]}
            for part, kept in zip(measures, np.split(stays, stops[:-1]), strict=True)
        ]

    def apply(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """As Step.apply."""
        repeated = np.isin(rows_of(batch), self.decision["rows"]).tolist()
        return divide(batch, ["near duplicate" if again else None for again in repeated])


def candidate_pairs(bands: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of documents that share a band, each once, the lower number first.

    Args:
        bands: (N, B), zero where a document has no shingles.
    """
    keys = [np.empty(0, np.int64)]
    for band in range(bands.shape[1]):
        column = bands[:, band]
        order = np.argsort(column, kind="stable")  # stable: numbers ascend within a group
        order = order[np.searchsorted(column[order], 1) :]
        keys.append(np.unique(_pairs_of_groups(column[order], order, len(bands))))
    pairs = np.unique(np.concatenate(keys))
    return np.divmod(pairs, max(len(bands), 1))


@njit(cache=True, nogil=True)
def _pairs_of_groups(keys, documents, total):  # type: ignore[no-untyped-def]
    count = 0
    for attempt in range(2):  # once to count, once to write
        pairs = np.empty(count, np.int64)
        count = 0
        start = 0
        for stop in range(1, len(keys) + 1):
            if stop < len(keys) and keys[stop] == keys[start]:
                continue
            for second in range(start + 1, stop):
                for first in range(start, second):
                    if stop - start <= LARGEST_GROUP or first == start or first == second - 1:
                        if attempt:
                            pairs[count] = documents[first] * total + documents[second]
                        count += 1
            start = stop
    return pairs


def similarities(
    measures: Sequence[Measures], first: NDArray[np.int64], second: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The exact Jaccard similarity of pairs of documents, numbered through all partitions."""
    counts = np.concatenate([part["counts"] for part in measures])
    shingles = np.concatenate([part["shingles"] for part in measures])
    return jaccard_of_pairs(shingles, np.cumsum(counts) - counts, counts, first, second)


@njit(cache=True, nogil=True)
def clusters_of(total, first, second):  # type: ignore[no-untyped-def]
    """(N,) the lowest number of each document's connected component."""
    parents = np.arange(total)
    for pair in range(len(first)):
        a, b = first[pair], second[pair]
        while parents[a] != a:
            parents[a] = parents[parents[a]]
            a = parents[a]
        while parents[b] != b:
            parents[b] = parents[parents[b]]
            b = parents[b]
        if a < b:
            parents[b] = a
        else:
            parents[a] = b
    for document in range(total):
        parents[document] = parents[parents[document]]
    return parents
