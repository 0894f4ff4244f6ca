"""All criteria from the same fits: a table with one row a number of topics, one column a criterion.

Axes: K topics, D documents, V words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from hortus.errors import ConfigError, nearest
from hortus.topics.counts import Counts
from hortus.topics.criteria import CRITERIA
from hortus.topics.criteria.coherence import (
    c_v,
    document_counts,
    npmi,
    top_word_ids,
    umass,
    window_counts,
)
from hortus.topics.criteria.divergence import arun, arun_ldatuning, cao_juan, deveaud
from hortus.topics.criteria.evidence import griffiths_steyvers
from hortus.topics.criteria.goodness import optop
from hortus.topics.criteria.information import aic, bic, bic_topics_only, sbic_of_topics
from hortus.topics.criteria.stability import stability
from hortus.topics.gibbs import Fit
from hortus.topics.inference import completion_perplexity

__all__ = ["Scores", "available_criteria", "choose", "score_fits"]

NPMI_WINDOW, C_V_WINDOW = 10, 110
OPTOP_CUTOFFS = {"optop_05": 0.05, "optop_20": 0.2}


@dataclass(frozen=True, eq=False)
class Scores:
    """The criteria of one grid.

    Attributes:
        table: index num_topics; columns the log-likelihood, then the criteria.
        weights: posterior weight of each number of topics under sBIC (uniform prior), in the table's order.
    """

    table: pd.DataFrame
    weights: np.ndarray


def available_criteria(asked: Sequence[str], held_out: bool, gibbs: bool, restarts: int) -> tuple[str, ...]:
    """The criteria to compute: those asked for, or all that the fits allow.

    Raises:
        ConfigError: an unknown name, or a criterion that these fits cannot offer.
    """
    offered = {"": True, "held_out": held_out, "gibbs": gibbs, "restarts": restarts > 1}
    for name in asked:
        if name not in CRITERIA:
            raise ConfigError(f"criteria: {name!r} is not known", do=nearest(name, CRITERIA))
        need = CRITERIA[name].needs
        if not offered[need]:
            mend = {
                "held_out": "set held_out above 0 and give enough documents",
                "gibbs": "choose method gibbs",
                "restarts": "set restarts to 2 or more",
            }
            raise ConfigError(f"criteria: {name!r} needs {need.replace('_', '-')}", do=mend[need])
    return tuple(name for name in asked or CRITERIA if offered[CRITERIA[name].needs])


def score_fits(
    counts: Counts,
    kept: Mapping[int, Fit],
    restarts: Mapping[int, Sequence[Fit]],
    criteria: Sequence[str],
    *,
    held_out: sparse.csr_array | None = None,
    tokens: Sequence[np.ndarray] | None = None,
    top_words: int = 20,
    convention: str = "exact",
    jobs: int = 1,
) -> Scores:
    """Compute criteria for every number of topics.

    Args:
        counts: the corpus of the fits.
        kept: number of topics -> the fit to be judged.
        restarts: number of topics -> all its fits, for stability.
        held_out: (D', V) counts of other documents over the same words, for perplexity.
        tokens: documents in reading order over the same words, for the windows of NPMI and C_V; with None a
            whole document is one window.
        convention: see `learning_coefficient`.
    """
    numbers = sorted(kept)
    likelihoods = np.array([kept[k].log_likelihood for k in numbers])
    table = pd.DataFrame({"log_likelihood": likelihoods}, index=pd.Index(numbers, name="num_topics"))
    size = (counts.num_words, counts.num_documents)
    singular = sbic_of_topics(likelihoods, *size, numbers, counts.num_tokens, convention)
    charged: dict[str, Callable[[], np.ndarray]] = {
        "sbic": lambda: singular.values,
        "aic": lambda: aic(likelihoods, *size, numbers),
        "bic": lambda: bic(likelihoods, *size, numbers, counts.num_tokens),
        "bic_topics_only": lambda: bic_topics_only(likelihoods, *size, numbers),
    }

    def judge(k: int) -> dict[str, float]:
        return _judge(counts, kept[k], restarts[k], criteria, held_out, tokens, top_words)

    with ThreadPoolExecutor(max(1, jobs)) as pool:
        # The largest models take longest: first, so that no thread is left with one at the end.
        rows = dict(zip(reversed(numbers), pool.map(judge, reversed(numbers)), strict=True))
    for name in criteria:
        table[name] = charged[name]() if name in charged else [rows[k][name] for k in numbers]
    return Scores(table, singular.weights)


def _judge(
    counts: Counts,
    fit: Fit,
    restarts: Sequence[Fit],
    criteria: Sequence[str],
    held_out: sparse.csr_array | None,
    tokens: Sequence[np.ndarray] | None,
    top_words: int,
) -> dict[str, float]:
    """The criteria of one fit that do not depend on the other numbers of topics."""
    phi, theta, lengths = fit.phi, fit.theta, counts.lengths
    tops = top_word_ids(phi, min(top_words, counts.num_words))

    def windows(size: int) -> tuple[np.ndarray, int]:
        if tokens is None:
            return document_counts(counts.matrix, tops), counts.num_documents
        return window_counts(tokens, tops, size)

    formulas: dict[str, Callable[[], Any]] = {
        "perplexity": lambda: completion_perplexity(held_out, phi, fit.alpha),
        "griffiths_steyvers": lambda: griffiths_steyvers(fit.evidence),
        "cao_juan": lambda: cao_juan(phi),
        "arun": lambda: arun(phi, theta, lengths),
        "arun_ldatuning": lambda: arun_ldatuning(phi, theta, lengths),
        "deveaud": lambda: deveaud(phi),
        "umass": lambda: umass(tops, counts.matrix).mean(),
        "npmi": lambda: npmi(*windows(NPMI_WINDOW)).mean(),
        "c_v": lambda: c_v(*windows(C_V_WINDOW)).mean(),
        "stability": lambda: stability([other.phi for other in restarts]),
    }
    values = {name: float(formulas[name]()) for name in criteria if name in formulas}
    wanted = [name for name in criteria if name in OPTOP_CUTOFFS]
    if wanted:  # one pass over the documents for both
        statistics = optop(counts.matrix, theta, phi, tuple(OPTOP_CUTOFFS[name] for name in wanted))
        values |= dict(zip(wanted, map(float, statistics), strict=True))
    return values


def choose(table: pd.DataFrame) -> dict[str, int]:
    """The number of topics that each criterion of the table chooses; the smaller one of equals."""
    chosen = {}
    for name in table.columns:
        if name not in CRITERIA:
            continue
        column = table[name].dropna()
        if len(column):
            chosen[name] = int(column.idxmax() if CRITERIA[name].largest else column.idxmin())
    return chosen
