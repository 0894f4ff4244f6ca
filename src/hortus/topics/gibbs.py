"""Drive the compiled Gibbs sampler: threads, kept sweeps, trace, priors, warm starts.

T threads share the counts without copies or locks (the block scheme of Yan, Xu and Qi 2009): documents and
words are cut into T shares each; in phase p of a sweep thread t draws the tokens of its words in the
documents of share (t + p) mod T, so no two threads touch one word's or one document's counts. Only the totals
n_k are copies, brought together after each phase. A run is reproducible from its seed and its number of
threads: shares, streams and order of addition are fixed.

Axes: n tokens, D documents, V words, K topics, T threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hortus.topics import sampler, sweeps
from hortus.topics.config import ModelConfig
from hortus.topics.counts import Counts
from hortus.topics.inference import plug_in_log_likelihood
from hortus.topics.priors import log_evidence_of_words, starting_priors, update_prior

__all__ = ["Fit", "run_gibbs"]


DENSE_UP_TO = 160  # topics; beyond, the sparse sweep is the faster one
OPTIMIZE_EVERY = 20  # sweeps between two updates of the priors
TRACE_EVERY = 25  # sweeps between two entries of the trace


@dataclass(frozen=True, eq=False)
class Fit:
    """A fitted model in the cleaned corpus's own rows and columns.

    Attributes:
        word_topic: (V, K) counts, or their mean or expectation.
        document_topic: (D, K) likewise.
        alpha, eta: the priors at the end, (K,) and a number.
        log_likelihood: plug-in, of theta and phi.
        trace: (sweep or iteration, plug-in log-likelihood then).
        evidence: log p(w | z) of each kept sweep; empty for variational fits.
    """

    word_topic: np.ndarray
    document_topic: np.ndarray
    alpha: np.ndarray
    eta: float
    log_likelihood: float
    trace: tuple[tuple[int, float], ...]
    evidence: tuple[float, ...] = ()

    @property
    def theta(self) -> np.ndarray:
        """(D, K) topic proportions (n_dk + alpha_k) / (N_d + sum alpha)."""
        weights = self.document_topic + self.alpha
        return weights / weights.sum(axis=1, keepdims=True)

    @property
    def phi(self) -> np.ndarray:
        """(K, V) topics (n_kw + eta) / (n_k + V eta)."""
        weights = self.word_topic.T + self.eta
        return np.ascontiguousarray(weights / weights.sum(axis=1, keepdims=True))


def run_gibbs(
    counts: Counts,
    num_topics: int,
    config: ModelConfig,
    seed: int,
    num_threads: int = 1,
    start: Fit | None = None,
    progress: Callable[[int, int], Any] | None = None,
) -> Fit:
    """Fit by collapsed Gibbs sampling.

    Args:
        start: a fit of the same corpus with at most K topics; its largest topics are split to make up K.
        progress: called as progress(sweep, num_sweeps) whenever the trace grows.
    """
    chain = _Chain(counts, num_topics, *starting_priors(config, num_topics), seed, num_threads)
    last, thin = config.num_sweeps, config.thin
    kept_from = last - (min(config.num_kept, max(1, last // thin)) - 1) * thin
    words = np.zeros((counts.num_words, num_topics))
    documents = np.zeros((counts.num_documents, num_topics))
    evidence: list[float] = []
    trace: list[tuple[int, float]] = []
    with ThreadPoolExecutor(num_threads) as pool:
        chain.begin(config.initial, start)
        for sweep in range(1, last + 1):
            chain.advance(pool)
            if config.optimize_priors != "none" and sweep % OPTIMIZE_EVERY == 0:
                chain.update_priors(config.optimize_priors == "symmetric")
            if sweep >= kept_from and (sweep - kept_from) % thin == 0:
                evidence.append(log_evidence_of_words(chain.word_topic, chain.eta))
                if config.average:
                    words += chain.word_topic
                    documents += chain.document_topic()
            if sweep % TRACE_EVERY == 0 or sweep == last:
                trace.append((sweep, chain.result(chain.word_topic, chain.document_topic()).log_likelihood))
                if progress is not None:
                    progress(sweep, last)
    if config.average:
        return chain.result(words / len(evidence), documents / len(evidence), trace, evidence)
    return chain.result(chain.word_topic.astype(float), chain.document_topic().astype(float), trace, evidence)


class _Chain:
    """The state of one Markov chain and the cut of its work among threads; tokens sorted by word."""

    def __init__(
        self, counts: Counts, num_topics: int, alpha: np.ndarray, eta: float, seed: int, num_threads: int
    ):
        self.counts, self.alpha, self.eta, self.num_threads = counts, alpha, eta, num_threads
        words, self.offsets = counts.tokens()
        self.order = np.argsort(words, kind="stable")
        self.words = words[self.order]
        document = np.repeat(np.arange(counts.num_documents, dtype=np.uint32), np.diff(self.offsets))
        self.documents = document[self.order]
        self.topics = np.zeros(len(words), np.uint32)
        self.word_topic = np.zeros((counts.num_words, num_topics), np.int32)
        self.totals = np.zeros(num_topics, np.int64)
        self.dense, self.width = num_topics <= DENSE_UP_TO, -(-num_topics // 32) * 32
        streams = np.random.SeedSequence(seed).generate_state(num_threads + 1, np.uint64)
        self.states = [streams[t : t + 1].copy() for t in range(num_threads)]
        self.generator = np.random.default_rng(int(streams[-1]))
        sizes = np.bincount(words, minlength=counts.num_words)
        self.word_cuts = _cuts(sizes, num_threads)
        starts = np.cumsum(sizes) - sizes
        self.bounds = [  # (T + 1) of (V,): where each word's tokens in a share of the documents begin
            starts + np.bincount(self.words[self.documents < cut], minlength=counts.num_words)
            for cut in _cuts(np.diff(self.offsets), num_threads)
        ]

    def begin(self, initial: str, start: Fit | None) -> None:
        """Draw the first topics, from `start` when it is given."""
        words, topics = np.empty_like(self.words), np.empty_like(self.topics)
        words[self.order] = self.words
        if start is not None:
            self._split(start, words, topics)
        elif initial == "sequential":
            order = self.generator.permutation(self.counts.num_documents)
            sampler.assign_sequentially(
                words,
                self.offsets,
                topics,
                self.counts.num_words,
                self.alpha,
                self.eta,
                order,
                self.states[0],
            )
        else:
            topics[:] = self.generator.integers(0, len(self.totals), len(topics))
        self.topics[:] = topics[self.order]
        np.add.at(self.word_topic, (self.words, self.topics), 1)
        self.totals[:] = self.word_topic.sum(axis=0)
        if self.dense:
            self.table = np.zeros((self.counts.num_documents, self.width), np.float32)
            np.add.at(self.table, (self.documents, self.topics), 1)
        else:
            room = np.minimum(np.diff(self.offsets), len(self.totals)).sum()
            self.places = np.empty((self.counts.num_documents, 2), np.int64)
            self.entries = np.empty((room, 2), np.uint32)
            sampler.list_topics(self.offsets, topics, self.places, self.entries, len(self.totals))

    def _split(self, start: Fit, words: np.ndarray, topics: np.ndarray) -> None:
        """Draw topics from a smaller fit, then halve the largest topic by documents until K exist."""
        sampler.assign_from(words, self.offsets, topics, start.theta, start.phi.T.copy(), self.states[0])
        document = np.repeat(np.arange(self.counts.num_documents), np.diff(self.offsets))
        for topic in range(start.word_topic.shape[1], len(self.totals)):
            largest = np.bincount(topics, minlength=topic).argmax()
            half = self.generator.random(self.counts.num_documents) < 0.5
            topics[(topics == largest) & half[document]] = topic

    def advance(self, pool: ThreadPoolExecutor) -> None:
        """One sweep."""
        for phase in range(self.num_threads):
            copies = [self.totals.copy() for _ in range(self.num_threads)]
            list(pool.map(self._share_of_sweep, range(self.num_threads), [phase] * self.num_threads, copies))
            self.totals = self.totals + sum(copy - self.totals for copy in copies)

    def _share_of_sweep(self, thread: int, phase: int, totals: np.ndarray) -> None:
        share = (thread + phase) % self.num_threads
        where = (
            self.documents,
            self.bounds[share],
            self.bounds[share + 1],
            self.topics,
            self.word_topic,
            totals,
        )
        what = (self.eta, self.word_cuts[thread], self.word_cuts[thread + 1], self.states[thread])
        if self.dense:
            alpha = np.zeros(self.width, np.float32)
            alpha[: len(self.alpha)] = self.alpha
            sweeps.sweep_dense(*where, self.table, alpha, *what)
        else:
            sweeps.sweep_sparse(*where, self.places, self.entries, self.alpha, *what)

    def document_topic(self) -> np.ndarray:
        table = np.zeros((self.counts.num_documents, len(self.totals)), np.int32)
        np.add.at(table, (self.documents, self.topics), 1)
        return table

    def update_priors(self, symmetric: bool) -> None:
        self.alpha = update_prior(self.document_topic(), self.alpha, symmetric)
        eta = np.full(self.counts.num_words, self.eta)
        self.eta = float(update_prior(self.word_topic.T, eta, symmetric=True)[0])

    def result(
        self,
        word_topic: np.ndarray,
        document_topic: np.ndarray,
        trace: Sequence[tuple[int, float]] = (),
        evidence: Sequence[float] = (),
    ) -> Fit:
        fit = Fit(word_topic, document_topic, self.alpha, self.eta, np.nan, tuple(trace), tuple(evidence))
        return replace(fit, log_likelihood=plug_in_log_likelihood(self.counts.matrix, fit.theta, fit.phi))


def _cuts(sizes: np.ndarray, parts: int) -> np.ndarray:
    """(parts + 1,) boundaries that share the sizes as evenly as contiguous ranges allow."""
    ends = np.cumsum(sizes)
    inner = np.searchsorted(ends, np.arange(1, parts) * (ends[-1] / parts))
    return np.concatenate([[0], inner, [len(sizes)]]).astype(np.int64)
