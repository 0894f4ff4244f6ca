"""How many topics? One call: fits in parallel, every criterion from the same fits, what to make of them.

Axes: D documents, V words, K topics.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from hortus.errors import ConfigError
from hortus.topics.config import SelectConfig
from hortus.topics.counts import Counts, check_counts
from hortus.topics.fits import Progress, fit_grid, kept_fit
from hortus.topics.lda import LatentDirichletAllocation
from hortus.topics.recommendation import Recommendation, recommend
from hortus.topics.scoring import available_criteria, choose, score_fits

__all__ = ["Selection", "select_num_topics"]


@dataclass(frozen=True, eq=False)
class Selection:
    """The choice of a number of topics.

    Attributes:
        table: one row a number of topics: log_likelihood, then the criteria.
        chosen: criterion -> its number of topics.
        models: number of topics -> the fit that was judged.
        restarts: log-likelihoods, one row a number of topics, one column a restart.
        traces: number of topics -> (sweep, log-likelihood) of the fit that was judged.
        weights: number of topics -> posterior weight under sBIC.
        recommendation: number of topics, and why, in plain language.
        corpus: D, V, n, lengths, what was removed, documents held out.
        config: the settings.
    """

    table: pd.DataFrame
    chosen: dict[str, int]
    models: dict[int, LatentDirichletAllocation]
    restarts: pd.DataFrame
    traces: dict[int, tuple[tuple[int, float], ...]]
    weights: dict[int, float]
    recommendation: Recommendation
    corpus: dict[str, Any]
    config: SelectConfig = field(repr=False)

    @property
    def agreement(self) -> pd.Series:
        """How many criteria choose each number of topics."""
        votes = pd.Series(self.chosen, dtype=int).value_counts()
        return votes.reindex(self.table.index, fill_value=0).rename("criteria")

    @property
    def best(self) -> LatentDirichletAllocation:
        """The model with the recommended number of topics."""
        return self.models[self.recommendation.num_topics]


def select_num_topics(
    X: Any,
    candidates: Sequence[int] | str | None = None,
    *,
    restarts: int | None = None,
    criteria: Sequence[str] | None = None,
    jobs: int | None = None,
    config: SelectConfig | None = None,
    vocabulary: Sequence[str] | None = None,
    tokens: Sequence[np.ndarray] | None = None,
    test: Any = None,
    folder: str | Path | None = None,
    progress: Progress | None = None,
) -> Selection:
    """Fit every candidate number of topics and judge all fits by all criteria.

    Args:
        X: (D, V) counts.
        candidates: numbers of topics in any order, or "first:last:step".
        restarts, criteria, jobs: override the settings of the same name in `config`.
        vocabulary: (V,) words, for the models and the pages.
        tokens: per document the word numbers in reading order: NPMI and C_V then count sliding windows.
        test: (D', V) counts of further documents for held-out perplexity; else a share of X is held out.
        folder: keeps finished fits, so that the same call after an interruption goes on.
        progress: called as progress(what, share of the work done, seconds left).

    Raises:
        ConfigError: a candidate above the number of words or documents, an unknown criterion.
        DataError: counts that are no counts.

    >>> rng = np.random.default_rng(0)
    >>> blocks = np.kron(np.eye(2), np.ones((20, 10)))
    >>> chosen = select_num_topics(rng.poisson(3 * blocks), [1, 2, 3], restarts=1, criteria=["sbic"]).chosen
    >>> chosen
    {'sbic': 2}
    """
    config = _settings(config, candidates, restarts, criteria, jobs)
    whole = check_counts(X)
    training, held_out, rows = _hold_out(whole, config, test)
    numbers = config.numbers
    smaller = min(training.num_words, training.num_documents)
    if numbers[-1] > smaller:
        raise ConfigError(
            f"candidates go up to {numbers[-1]} with {training.num_documents} documents and "
            f"{training.num_words} words",
            allowed=f"1 to {smaller}",
        )
    names = available_criteria(
        config.criteria, held_out is not None, config.model.method == "gibbs", config.restarts
    )
    workers = config.jobs or os.cpu_count() or 1
    grid = fit_grid(
        training,
        numbers,
        config.restarts,
        config.model,
        config.seed,
        jobs=workers,
        warm_start=config.warm_start,
        folder=None if folder is None else Path(folder) / "fits",
        progress=progress,
    )
    kept = {k: kept_fit(fits, config.keep) for k, fits in grid.items()}
    scores = score_fits(
        training,
        kept,
        grid,
        names,
        held_out=held_out,
        tokens=_renumbered(tokens, whole, training, rows),
        top_words=config.top_words,
        convention=config.convention,
        jobs=workers,
    )
    chosen = choose(scores.table)
    corpus = {**whole.describe(), "documents_held_out": whole.num_documents - training.num_documents}
    restart_columns = [f"restart {r + 1}" for r in range(config.restarts)]
    likelihoods = [[fit.log_likelihood for fit in grid[k]] for k in numbers]
    words = None if vocabulary is None else list(vocabulary)
    fitted = _in_columns(training, whole, rows)
    return Selection(
        table=scores.table,
        chosen=chosen,
        models={
            k: LatentDirichletAllocation.from_fit(
                fitted, kept[k], words, num_topics=k, **asdict(config.model)
            )
            for k in numbers
        },
        restarts=pd.DataFrame(likelihoods, index=scores.table.index, columns=restart_columns),
        traces={k: kept[k].trace for k in numbers},
        weights=dict(zip(numbers, map(float, scores.weights), strict=True)),
        recommendation=recommend(chosen, numbers, training),
        corpus=corpus,
        config=config,
    )


def _settings(
    config: SelectConfig | None,
    candidates: Sequence[int] | str | None,
    restarts: int | None,
    criteria: Sequence[str] | None,
    jobs: int | None,
) -> SelectConfig:
    given = {
        "candidates": candidates if candidates is None or isinstance(candidates, str) else tuple(candidates),
        "restarts": restarts,
        "criteria": None if criteria is None else tuple(criteria),
        "jobs": jobs,
    }
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    return replace(config or SelectConfig(), **changes)


def _hold_out(
    whole: Counts, config: SelectConfig, test: Any
) -> tuple[Counts, sparse.csr_array | None, np.ndarray]:
    """The corpus to fit, held-out counts over its words, and the rows of `whole` it took."""
    everything = np.arange(whole.num_documents)
    if test is not None:
        others = check_counts(test, allow_empty=True)
        return whole, others.restore(np.arange(others.shape[1]))[:, whole.words], everything
    size = int(config.held_out * whole.num_documents)
    if size == 0:
        return whole, None, everything
    order = np.random.default_rng(config.seed).permutation(whole.num_documents)
    rows = np.sort(order[size:])
    training = check_counts(whole.matrix[rows])
    return training, whole.matrix[np.sort(order[:size])][:, training.words], rows


def _renumbered(
    tokens: Sequence[np.ndarray] | None, whole: Counts, training: Counts, rows: np.ndarray
) -> list[np.ndarray] | None:
    """The texts of the fitted documents, in the numbers of the words in use; other words left out."""
    if tokens is None:
        return None
    number = np.full(whole.shape[1], -1)
    number[whole.words[training.words] if training is not whole else whole.words] = np.arange(
        training.num_words
    )
    chosen = (number[np.asarray(tokens[d])] for d in whole.documents[rows])
    return [text[text >= 0] for text in chosen]


def _in_columns(training: Counts, whole: Counts, rows: np.ndarray) -> Counts:
    """The fitted corpus with indices into the user's own matrix."""
    if training is whole:
        return whole
    return Counts(training.matrix, whole.documents[rows], whole.words[training.words], whole.shape)
