"""Collapsed Gibbs sampling of LDA, compiled: first assignments, and what the sweeps share.

Functions release the interpreter's lock.

Axes: n tokens, D documents, V words, K topics, J topics of an earlier fit.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

__all__: list[str] = []


_intrinsic: Any = intrinsic  # untyped: its calls lack the first argument of its definition

# Sums may be fused, not reordered: NaN and order keep their meaning.
_RELAXED = {"contract", "arcp", "nsz"}


def compiled(function: Any, reorder: bool = False) -> Any:
    """Compile without bounds checks, cached on disk, releasing the interpreter's lock.

    With `reorder` sums over arrays may be taken in vectors, whose width follows the processor.
    """
    relaxed = {*_RELAXED, "reassoc"} if reorder else _RELAXED
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


@_intrinsic
def prefetch(typing: Any, array: Any, row: Any, column: Any) -> Any:
    """Ask the processor to bring the cache line of array[row, column] near; changes nothing else."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = signature.args[0]
        view = context.make_array(kind)(context, builder, arguments[0])
        shape = cgutils.unpack_tuple(builder, view.shape, kind.ndim)
        strides = cgutils.unpack_tuple(builder, view.strides, kind.ndim)
        element = cgutils.get_item_pointer2(
            context, builder, view.data, shape, strides, kind.layout, arguments[1:], wraparound=False
        )
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        form = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        function = builder.module.declare_intrinsic("llvm.prefetch", [byte], form)
        # For reading, to be kept in all levels, as data.
        builder.call(function, [builder.bitcast(element, byte), number(0), number(3), number(1)])
        return context.get_dummy_value()

    return types.none(array, types.intp, types.intp), generate


@compiled
def assign_sequentially(
    words: np.ndarray,  # (n,) int32, sorted by document
    offsets: np.ndarray,  # (D + 1,) int64, the tokens of document d are offsets[d]:offsets[d + 1]
    topics: np.ndarray,  # (n,) uint32, written
    num_words: int,
    alpha: np.ndarray,  # (K,) float64
    eta: float,
    order: np.ndarray,  # (D,) int64: the documents in the order of assignment
    state: np.ndarray,  # (1,) uint64
) -> None:
    """Draw each token's first topic given the tokens assigned before it, one dense pass.

    It starts the chain where about ten sweeps from uniform topics would arrive.
    """
    num_topics = alpha.size
    word_topic = np.zeros((num_words, num_topics), np.float64)
    word_topic[:] = eta
    topic_totals = np.full(num_topics, num_words * eta)
    inverse = 1.0 / topic_totals
    document = np.empty(num_topics, np.float64)
    cumulative = np.empty(num_topics, np.float64)
    for d in order:
        document[:] = alpha
        for i in range(offsets[d], offsets[d + 1]):
            row = word_topic[words[i]]
            total = 0.0
            for k in range(num_topics):
                total += document[k] * row[k] * inverse[k]
                cumulative[k] = total
            target = uniform(state) * total
            k = 0
            while k < num_topics - 1 and cumulative[k] <= target:
                k += 1
            topics[i] = k
            document[k] += 1.0
            row[k] += 1.0
            topic_totals[k] += 1.0
            inverse[k] = 1.0 / topic_totals[k]


@compiled
def assign_from(
    words: np.ndarray,  # (n,) int32, sorted by document
    offsets: np.ndarray,  # (D + 1,) int64
    topics: np.ndarray,  # (n,) uint32, written
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
def list_topics(
    offsets: np.ndarray,  # (D + 1,) int64
    topics: np.ndarray,  # (n,) uint32, sorted by document
    places: np.ndarray,  # (D, 2) int64, written: where a document's list begins and how long it is
    entries: np.ndarray,  # (P, 2) uint32, written: (topic, count) of the documents' topics, in no order
    num_topics: int,
) -> None:
    """Make the documents' lists of topics, each with room for min(N_d, K) of them."""
    position = np.full(num_topics, -1, np.int64)
    begin = 0
    for d in range(len(offsets) - 1):
        size = 0
        for i in range(offsets[d], offsets[d + 1]):
            k = topics[i]
            if position[k] < 0:
                position[k] = size
                entries[begin + size, 0] = k
                entries[begin + size, 1] = 0
                size += 1
            entries[begin + position[k], 1] += 1
        for j in range(size):
            position[entries[begin + j, 0]] = -1
        places[d, 0] = begin
        places[d, 1] = size
        begin += min(offsets[d + 1] - offsets[d], num_topics)
