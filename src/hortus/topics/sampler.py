"""Collapsed Gibbs sampling of LDA, compiled: one sweep over a share of the documents.

Per token the topic is drawn from (n_dk + alpha_k)(n_wk + eta) / (n_k + V eta), tokens counted without the one
at hand (Griffiths and Steyvers 2004). The weight is split as in AliasLDA (Li et al. 2014):

    n_dk (n_wk + eta) / (n_k + V eta)       walked over the few topics of the document, with current counts;
    alpha_k (n_wk + eta) / (n_k + V eta)    drawn in constant time from a table of the word made when the
                                            sweep began; one Metropolis-Hastings test removes the error of its
                                            age.

So a token costs the number of topics in its document, not K; the tables cost V K once a sweep.

Design choices that differ from the paper:
* the token at hand is taken out of the table's weights too, else words that occur once would cling to their
  topic. The rest of the table's age makes the chain approximate; with fresh tables it is exact;
* a document's counts are rebuilt from its assignments when its turn comes (N_d steps): no D x K table is
  kept;
* most draws return the old topic, and then the test needs no lookup at all;
* the first assignment is sequential: each token is drawn given the tokens before it, one dense pass. It
  starts where about ten sweeps from a uniform start would arrive;
* T threads share n_wk without copies or locks (the block scheme of Yan, Xu and Qi 2009): documents and words
  are cut into T shares each; in phase p of a sweep thread t draws the tokens of its documents whose words lie
  in share (t + p) mod T, so no two threads touch one row. Only n_k is a copy, brought together after each
  phase. The cuts, the streams of random numbers and the order of addition depend on the seed and on T alone.

Axes: n tokens (sorted by document, then by word), D documents, V words, K topics. Functions release the
    interpreter's lock.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

__all__: list[str] = []


def compiled(function: Any) -> Any:
    """Compile without bounds checks, cached on disk, releasing the interpreter's lock."""
    relaxed = {
        "contract",
        "arcp",
        "nsz",
    }  # sums may be fused, not reordered: NaN and order keep their meaning
    return numba.njit(nogil=True, cache=True, fastmath=relaxed, error_model="numpy")(function)


@numba.njit(inline="always")
def next_random(state: np.ndarray) -> Any:
    """splitmix64 (Steele et al. 2014): the next 64 random bits of a stream held in state[0]."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    z = state[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@numba.njit(inline="always")
def uniform(state: np.ndarray) -> Any:
    """A float64 in [0, 1) with 53 random bits."""
    return np.float64(next_random(state) >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@compiled
def assign_sequentially(
    words: np.ndarray,  # (n,) int32
    offsets: np.ndarray,  # (D + 1,) int64, the tokens of document d are offsets[d]:offsets[d + 1]
    topics: np.ndarray,  # (n,) int32, written
    word_topic: np.ndarray,  # (V, K) int32, added to
    topic_totals: np.ndarray,  # (K,) int64, added to
    alpha: np.ndarray,  # (K,) float64
    eta: float,
    order: np.ndarray,  # (D,) int64: the documents in the order of assignment
    state: np.ndarray,  # (1,) uint64
) -> None:
    """Draw each token's first topic given the tokens assigned before it."""
    num_words, num_topics = word_topic.shape
    document = np.zeros(num_topics, np.float64)
    inverse = 1.0 / (topic_totals + num_words * eta)
    cumulative = np.empty(num_topics, np.float64)
    for d in order:
        document[:] = alpha
        for i in range(offsets[d], offsets[d + 1]):
            row = word_topic[words[i]]
            total = 0.0
            for k in range(num_topics):
                total += document[k] * (row[k] + eta) * inverse[k]
                cumulative[k] = total
            target = uniform(state) * total
            k = 0
            while k < num_topics - 1 and cumulative[k] <= target:
                k += 1
            topics[i] = k
            document[k] += 1.0
            row[k] += 1
            topic_totals[k] += 1
            inverse[k] = 1.0 / (topic_totals[k] + num_words * eta)


@compiled
def build_tables(
    word_topic: np.ndarray,  # (V, K) int32
    topic_totals: np.ndarray,  # (K,) int64
    alpha: np.ndarray,  # (K,) float64
    eta: float,
    first: int,
    last: int,
    weight: np.ndarray,  # (V, K) float32, written: alpha_k (n_wk + eta) / (n_k + V eta)
    mass: np.ndarray,  # (V,) float64, written: its sum over k
    share: np.ndarray,  # (V, K) float32, written: the chance that cell k yields k itself
    alias: np.ndarray,  # (V, K) int32, written: what it yields otherwise
    less: np.ndarray,  # (K, 2) float64, written: less[k, 0] weight - less[k, 1] is a weight without one token
) -> None:
    """Make the alias tables (Walker 1977, Vose's linear-time form) of words first..last-1."""
    num_words, num_topics = word_topic.shape
    smoothing = num_words * eta
    scale = alpha / (topic_totals + smoothing)
    for k in range(num_topics):
        others = max(topic_totals[k] - 1, 0) + smoothing
        less[k, 0] = (topic_totals[k] + smoothing) / others
        less[k, 1] = alpha[k] / others
    scaled = np.empty(num_topics, np.float64)
    small = np.empty(num_topics, np.int32)
    large = np.empty(num_topics, np.int32)
    for w in range(first, last):
        total = 0.0
        for k in range(num_topics):
            scaled[k] = (word_topic[w, k] + eta) * scale[k]
            weight[w, k] = scaled[k]
            total += scaled[k]
        mass[w] = total
        num_small = num_large = 0
        factor = num_topics / total
        for k in range(num_topics):
            scaled[k] *= factor
            if scaled[k] < 1.0:
                small[num_small] = k
                num_small += 1
            else:
                large[num_large] = k
                num_large += 1
        while num_small > 0 and num_large > 0:
            num_small -= 1
            short, long = small[num_small], large[num_large - 1]
            share[w, short] = scaled[short]
            alias[w, short] = long
            scaled[long] -= 1.0 - scaled[short]
            if scaled[long] < 1.0:
                num_large -= 1
                small[num_small] = long
                num_small += 1
        for j in range(num_small):
            share[w, small[j]] = 1.0
            alias[w, small[j]] = small[j]
        for j in range(num_large):
            share[w, large[j]] = 1.0
            alias[w, large[j]] = large[j]


@numba.njit(inline="always")
def _walk(present: np.ndarray, cumulative: np.ndarray, target: float) -> Any:
    """The topic in whose stretch of the cumulated weights the target lies."""
    j = 0
    while cumulative[j] <= target:
        j += 1
    return present[j]


@compiled
def sweep(
    words: np.ndarray,  # (n,) int32
    offsets: np.ndarray,  # (D + 1,) int64
    topics: np.ndarray,  # (n,) int32, rewritten
    word_topic: np.ndarray,  # (V, K) int32: rows first_word..last_word-1 are rewritten
    topic_totals: np.ndarray,  # (K,) int64: this thread's copy, rewritten
    eta: float,
    weight: np.ndarray,  # (V, K) float32, of build_tables, as are the next four
    mass: np.ndarray,  # (V,) float64
    share: np.ndarray,  # (V, K) float32
    alias: np.ndarray,  # (V, K) int32
    less: np.ndarray,  # (K, 2) float64
    alpha: np.ndarray,  # (K,) float64
    first: int,
    last: int,
    first_word: int,
    last_word: int,
    state: np.ndarray,  # (1,) uint64
) -> None:
    """Draw every token of documents first..last-1 with a word in first_word..last_word-1 once."""
    num_words, num_topics = word_topic.shape
    smoothing = num_words * eta
    inverse = np.empty(num_topics, np.float64)
    for k in range(num_topics):
        inverse[k] = 1.0 / (topic_totals[k] + smoothing)
    counts = np.zeros(num_topics, np.int32)  # of the document at hand
    present = np.empty(num_topics, np.int32)  # its topics, in no order
    cumulative = np.empty(num_topics, np.float64)
    for d in range(first, last):
        num_present = 0
        begin = end = offsets[d]
        for i in range(offsets[d], offsets[d + 1]):
            k = topics[i]
            if counts[k] == 0:
                present[num_present] = k
                num_present += 1
            counts[k] += 1
            begin += words[i] < first_word
            end += words[i] < last_word
        for i in range(begin, end):
            w = words[i]
            old = topics[i]
            row = word_topic[w]
            counts[old] -= 1
            row[old] -= 1
            old_inverse = inverse[old]
            inverse[old] = 1.0 / (topic_totals[old] - 1 + smoothing)
            total = 0.0
            for j in range(num_present):
                k = present[j]
                total += counts[k] * (row[k] + eta) * inverse[k]
                cumulative[j] = total
            target = uniform(state) * (total + mass[w])
            if target < total:
                new = _walk(present, cumulative, target)
            else:
                spot = uniform(state) * num_topics
                cell = np.int32(spot)
                new = cell if spot - cell < share[w, cell] else alias[w, cell]
                if new == old:
                    # The table was made with this token in it, and a proposal must not know where the token
                    # is: the token's share of the weight is refused, a refused draw made again without it.
                    weight_old = max(weight[w, old] * less[old, 0] - less[old, 1], 0.0)
                    if uniform(state) * weight[w, old] >= weight_old:
                        target = uniform(state) * (total + mass[w] - weight[w, old] + weight_old)
                        if target < total:
                            new = _walk(present, cumulative, target)
                        else:
                            target -= total
                            new = 0
                            while new < num_topics - 1:
                                target -= weight_old if new == old else weight[w, new]
                                if target < 0.0:
                                    break
                                new += 1
            if new != old:
                exact_new = (row[new] + eta) * inverse[new]
                exact_old = (row[old] + eta) * inverse[old]
                weight_old = max(weight[w, old] * less[old, 0] - less[old, 1], 0.0)
                gain = (counts[new] + alpha[new]) * exact_new * (counts[old] * exact_old + weight_old)
                loss = (counts[old] + alpha[old]) * exact_old * (counts[new] * exact_new + weight[w, new])
                if gain < loss and uniform(state) * loss >= gain:
                    new = old
            if new == old:
                counts[old] += 1
                row[old] += 1
                inverse[old] = old_inverse
                continue
            topics[i] = new
            topic_totals[old] -= 1
            topic_totals[new] += 1
            inverse[new] = 1.0 / (topic_totals[new] + smoothing)
            row[new] += 1
            if counts[old] == 0:
                j = 0
                while present[j] != old:
                    j += 1
                num_present -= 1
                present[j] = present[num_present]
            if counts[new] == 0:
                present[num_present] = new
                num_present += 1
            counts[new] += 1
        for j in range(num_present):
            counts[present[j]] = 0


@compiled
def assign_from(
    words: np.ndarray,  # (n,) int32
    offsets: np.ndarray,  # (D + 1,) int64
    topics: np.ndarray,  # (n,) int32, written
    theta: np.ndarray,  # (D, J) float64: the topic proportions of an earlier fit
    phi: np.ndarray,  # (V, J) float64: its topics
    state: np.ndarray,  # (1,) uint64
) -> None:
    """Draw each token's topic from theta_dk phi_kw of an earlier fit."""
    num_topics = theta.shape[1]
    cumulative = np.empty(num_topics)
    for d in range(len(offsets) - 1):
        for i in range(offsets[d], offsets[d + 1]):
            total = 0.0
            for k in range(num_topics):
                total += theta[d, k] * phi[words[i], k]
                cumulative[k] = total
            target = uniform(state) * total
            k = 0
            while k < num_topics - 1 and cumulative[k] <= target:
                k += 1
            topics[i] = k


@compiled
def count_topics(offsets: np.ndarray, topics: np.ndarray, document_topic: np.ndarray) -> None:
    """Add the assignments (n,) of all documents to document_topic (D, K) int32."""
    for d in range(len(offsets) - 1):
        for i in range(offsets[d], offsets[d + 1]):
            document_topic[d, topics[i]] += 1
