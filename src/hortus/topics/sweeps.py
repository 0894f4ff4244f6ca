"""One sweep of collapsed Gibbs sampling over a share of the words, compiled, for few topics and for many.

Per token the topic is drawn from (n_dk + alpha_k) f_k, f_k = (n_wk + eta) / (n_k + V eta), tokens counted
without the one at hand (Griffiths and Steyvers 2004). Tokens are visited word by word, as in F+LDA (Yu et al.
2015): f then stays in the first-level cache for all tokens of a word, and what is met at random is the
document's side alone. Nothing is approximated but n_k across threads (see `gibbs`).

    sweep_dense     (n_dk + alpha_k) f_k for all topics, in vectors: eight topics a step and no branch. The
                    faster one up to some 160 topics;
    sweep_sparse    n_dk f_k is walked over the few topics of the document. The sum of alpha_k f_k is kept up
                    to date, in blocks of about sqrt K topics that are walked only when the draw falls there.
                    A token costs the topics of its document and about 2 sqrt K for some draws, not K.

What makes them fast: the token at hand is taken out by arithmetic, not by writing, so that a draw of the old
topic, the most frequent one, writes nothing; the row of a document further on is asked for ahead of time (of
the cost of a dense draw at K = 100 a quarter).

Axes: n tokens, D documents, V words, K topics, W K rounded up to whole blocks of 32.
"""

from __future__ import annotations

from functools import partial

import numba
import numpy as np

from hortus.topics.sampler import compiled, prefetch, uniform

__all__: list[str] = []

AHEAD = 2  # tokens; the second next document is in the cache when its turn comes


@numba.njit(inline="always")
def _invert(topic_totals: np.ndarray, smoothing: float, inverse: np.ndarray, k: int) -> None:
    """1 / (n_k + V eta) with all tokens, and with one fewer."""
    inverse[k, 0] = 1.0 / (topic_totals[k] + smoothing)
    inverse[k, 1] = 1.0 / (max(topic_totals[k] - 1, 0) + smoothing)


@numba.njit(inline="always")
def _move(
    row: np.ndarray, topic_totals: np.ndarray, smoothing: float, inverse: np.ndarray, old: int, new: int
) -> None:
    """Count one token of a word under its new topic."""
    row[old] -= 1
    row[new] += 1
    topic_totals[old] -= 1
    topic_totals[new] += 1
    _invert(topic_totals, smoothing, inverse, old)
    _invert(topic_totals, smoothing, inverse, new)


@partial(compiled, reorder=True)
def sweep_dense(
    documents: np.ndarray,  # (n,) uint32, sorted by word, then by document
    begins: np.ndarray,  # (V,) int64: the tokens of word w to draw are begins[w]:ends[w]
    ends: np.ndarray,  # (V,) int64
    topics: np.ndarray,  # (n,) uint32, rewritten
    word_topic: np.ndarray,  # (V, K) int32, rewritten
    topic_totals: np.ndarray,  # (K,) int64, rewritten
    table: np.ndarray,  # (D, W) float32: n_dk, then zeros; rewritten
    alpha: np.ndarray,  # (W,) float32
    eta: float,
    first: int,
    last: int,
    state: np.ndarray,  # (1,) uint64
) -> None:
    """Draw the tokens of words first..last-1 once each."""
    num_words, num_topics = word_topic.shape
    width = table.shape[1]
    blocks = width // 32
    smoothing = num_words * eta
    inverse = np.empty((num_topics, 2))
    for k in range(num_topics):
        _invert(topic_totals, smoothing, inverse, k)
    f = np.zeros(width, np.float32)
    lane = np.arange(width).astype(np.int32)
    for w in range(first, last):
        row = word_topic[w]
        for k in range(num_topics):
            f[k] = np.float32((row[k] + eta) * inverse[k, 0])
        for i in range(begins[w], ends[w]):
            if i + AHEAD < ends[w]:
                for k in range(0, width, 16):
                    prefetch(table, documents[i + AHEAD], k)
            old = topics[i]
            mark = np.int32(old)
            own = table[documents[i]]
            others = np.float32(0.0)
            for k in range(blocks * 32):  # a multiple of the vectors' width, so that no remainder is left
                others += (own[k] + alpha[k]) * f[k] if lane[k] != mark else np.float32(0.0)
            f_less = (row[old] - 1 + eta) * inverse[old, 1]
            stay = (own[old] - np.float32(1.0) + alpha[old]) * f_less
            target = uniform(state) * (stay + others) - stay
            if target < 0.0:
                continue
            block = 0
            while block < 2 * blocks - 1:
                part = np.float32(0.0)
                for j in range(16):
                    k = 16 * block + j
                    part += (own[k] + alpha[k]) * f[k] if lane[k] != mark else np.float32(0.0)
                if target < part:
                    break
                target -= part
                block += 1
            new = old  # what rounding leaves beyond the last topic
            for k in range(16 * block, 16 * block + 16):
                if lane[k] != mark:
                    target -= (own[k] + alpha[k]) * f[k]
                    if target < 0.0:
                        new = np.uint32(k)
                        break
            if new == old:
                continue
            topics[i] = new
            own[old] -= np.float32(1.0)
            own[new] += np.float32(1.0)
            _move(row, topic_totals, smoothing, inverse, old, new)
            f[old] = np.float32(f_less)
            f[new] = np.float32((row[new] + eta) * inverse[new, 0])


@numba.njit(inline="always")
def _move_entry(entries: np.ndarray, begin: int, size: int, place: int, found: int, new: int) -> int:
    """Move one from the list's entry at `place` to that at `found` (size: a new one); the new size."""
    if found < size:
        entries[begin + found, 1] += 1
        entries[begin + place, 1] -= 1
        if entries[begin + place, 1] == 0:
            size -= 1
            entries[begin + place, 0] = entries[begin + size, 0]
            entries[begin + place, 1] = entries[begin + size, 1]
    elif entries[begin + place, 1] == 1:
        entries[begin + place, 0] = new
    else:
        entries[begin + place, 1] -= 1
        entries[begin + size, 0] = new
        entries[begin + size, 1] = 1
        size += 1
    return size


@compiled
def sweep_sparse(
    documents: np.ndarray,  # as in sweep_dense, as are the next six
    begins: np.ndarray,
    ends: np.ndarray,
    topics: np.ndarray,
    word_topic: np.ndarray,
    topic_totals: np.ndarray,
    places: np.ndarray,  # (D, 2) int64, of list_topics, rewritten
    entries: np.ndarray,  # (P, 2) uint32, of list_topics, rewritten
    alpha: np.ndarray,  # (K,) float64
    eta: float,
    first: int,
    last: int,
    state: np.ndarray,  # (1,) uint64
) -> None:
    """Draw the tokens of words first..last-1 once each."""
    num_words, num_topics = word_topic.shape
    smoothing = num_words * eta
    shift = 0  # a block is 2**shift topics
    while 4 << (2 * shift) <= num_topics:
        shift += 1
    inverse = np.empty((num_topics, 2))
    for k in range(num_topics):
        _invert(topic_totals, smoothing, inverse, k)
    f = np.empty(num_topics)
    blocks = np.empty(((num_topics - 1) >> shift) + 1)  # sums of alpha_k f_k
    cumulative = np.empty(num_topics)
    for w in range(first, last):
        if begins[w] == ends[w]:
            continue
        row = word_topic[w]
        blocks[:] = 0.0
        for k in range(num_topics):
            f[k] = (row[k] + eta) * inverse[k, 0]
            blocks[k >> shift] += alpha[k] * f[k]
        prior = blocks.sum()
        for i in range(begins[w], ends[w]):
            if i + AHEAD < ends[w]:
                prefetch(entries, places[documents[i + AHEAD], 0], 0)
            begin, size = places[documents[i]]
            old = topics[i]
            f_old = f[old]
            f[old] = (row[old] - 1 + eta) * inverse[old, 1]
            change = alpha[old] * (f[old] - f_old)
            total = 0.0
            place = 0
            for j in range(size):
                k = entries[begin + j, 0]
                same = k == old
                place = j if same else place
                total += np.float64(np.int64(entries[begin + j, 1]) - same) * f[k]
                cumulative[j] = total
            target = uniform(state) * (total + prior + change)
            found = -1  # the new topic's place in the list
            if target < total:
                found = 0
                while cumulative[found] <= target:
                    found += 1
                new = entries[begin + found, 0]
            else:
                target -= total
                blocks[old >> shift] += change
                block = 0
                while block < blocks.size - 1 and target >= blocks[block]:
                    target -= blocks[block]
                    block += 1
                blocks[old >> shift] -= change
                k = block << shift
                end = min((block + 1) << shift, num_topics) - 1
                while k < end and target >= alpha[k] * f[k]:
                    target -= alpha[k] * f[k]
                    k += 1
                new = np.uint32(k)
            if new == old:
                f[old] = f_old
                continue
            topics[i] = new
            _move(row, topic_totals, smoothing, inverse, old, new)
            f_new = f[new]
            f[new] = (row[new] + eta) * inverse[new, 0]
            gain = alpha[new] * (f[new] - f_new)
            blocks[old >> shift] += change
            blocks[new >> shift] += gain
            prior += change + gain
            if found < 0:
                found = 0
                while found < size and entries[begin + found, 0] != new:
                    found += 1
            places[documents[i], 1] = _move_entry(entries, begin, size, place, found, new)
