"""Batch variational Bayes for LDA (Blei, Ng and Jordan 2003; the smoothed model of their section 5.4).

The E-step runs over shares of the documents in threads, each with its own table of expected counts; the
tables are added in the order of the threads, so a run is reproducible from its seed and its number of
threads.

Axes: D documents, V words, K topics.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.special import psi

from hortus.topics.config import ModelConfig
from hortus.topics.counts import Counts
from hortus.topics.gibbs import Fit, _cuts
from hortus.topics.inference import plug_in_log_likelihood, variational_step
from hortus.topics.priors import starting_priors, update_prior

__all__ = ["run_variational"]


def run_variational(
    counts: Counts,
    num_topics: int,
    config: ModelConfig,
    seed: int,
    num_threads: int = 1,
    start: Fit | None = None,
    progress: Callable[[int, int], Any] | None = None,
) -> Fit:
    """Fit by coordinate ascent until the plug-in log-likelihood grows by less than `tolerance` of itself.

    The result's counts are expectations: gamma - alpha and lambda - eta. `start` as in `run_gibbs`, but its
    extra topics begin at random.
    """
    matrix = counts.matrix
    alpha, eta = starting_priors(config, num_topics)
    generator = np.random.default_rng(seed)
    expected = generator.gamma(100.0, 0.01, (counts.num_words, num_topics)) * counts.num_tokens
    expected /= counts.num_words * num_topics
    if start is not None:
        expected[:, : start.word_topic.shape[1]] = start.word_topic
    gamma = np.empty((counts.num_documents, num_topics))
    cuts = _cuts(np.diff(matrix.indptr), num_threads)
    trace: list[tuple[int, float]] = []
    with ThreadPoolExecutor(num_threads) as pool:
        for iteration in range(1, config.num_sweeps + 1):
            posterior = expected + eta
            topics = np.exp(psi(posterior) - psi(posterior.sum(axis=0)))
            tables = [np.zeros_like(expected) for _ in range(num_threads)]
            given = (matrix.indptr, matrix.indices, matrix.data, topics, alpha, gamma)
            shares: list[tuple[Any, ...]] = [
                (*given, table, first, last, 100, 1e-3)
                for table, (first, last) in zip(tables, pairwise(cuts), strict=True)
            ]
            for done in [pool.submit(variational_step, *share) for share in shares]:
                done.result()
            expected = sum(tables[1:], start=tables[0])
            documents = np.maximum(gamma - alpha, 0.0)
            if config.optimize_priors != "none" and iteration % 5 == 0:
                alpha = update_prior(documents, alpha, config.optimize_priors == "symmetric")
                eta = float(update_prior(expected.T, np.full(counts.num_words, eta), symmetric=True)[0])
            fit = Fit(expected, documents, alpha, eta, np.nan, ())
            trace.append((iteration, plug_in_log_likelihood(matrix, fit.theta, fit.phi)))
            if progress is not None:
                progress(iteration, config.num_sweeps)
            if iteration > 1 and abs(trace[-1][1] - trace[-2][1]) < config.tolerance * abs(trace[-1][1]):
                break
    return replace(fit, log_likelihood=trace[-1][1], trace=tuple(trace))
