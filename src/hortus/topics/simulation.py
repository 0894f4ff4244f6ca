"""The Monte Carlo study: data from known topics, K chosen by every criterion, and which topics come back.

Design of the comparison's public code: topics and proportions of a real corpus are the truth and stay fixed;
for each of a document's positions a topic is drawn from its proportions and a word from that topic. Settings
are all pairs of documents D and length factors (and, for Dirichlet truths, of K); each holds R replications.
Every replication also draws a tenth as many further documents from the same proportions, on which perplexity
is judged: none is taken from the fits.

Recovery: a true topic is found again when its match among the fitted topics has a cosine of at least a
threshold; matches are the best one, reused freely, or one to one (Hungarian). It is taken at the K of each
criterion and at the true K (or the nearest candidate).

Axes: D documents, V words, K topics, R replications.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from hortus.artifact import read_json, write_json
from hortus.config import to_mapping
from hortus.errors import ConfigError, DataError
from hortus.topics.config import SimulateConfig, TruthConfig
from hortus.topics.counts import check_counts
from hortus.topics.criteria.stability import cosines, matched
from hortus.topics.fits import Progress
from hortus.topics.parallel import run_tasks
from hortus.topics.selection import Selection, select_num_topics

__all__ = ["Setting", "Truth", "draw_documents", "read_truth", "simulate", "summarize"]


@dataclass(frozen=True, eq=False)
class Truth:
    """A data-generating process: theta (D, K), phi (K, V), lengths (D,)."""

    theta: np.ndarray
    phi: np.ndarray
    lengths: np.ndarray


@dataclass(frozen=True)
class Setting:
    """One cell of a study."""

    num_topics: int
    documents: int
    length_factor: float

    @property
    def name(self) -> str:
        """A file name."""
        return f"K{self.num_topics}-D{self.documents}-length{self.length_factor:g}"


def read_truth(config: TruthConfig, num_topics: int, documents: int, seed: int) -> Truth:
    """The truth of a setting, from files or from Dirichlet draws.

    Raises:
        DataError: files that are missing, do not fit together, or do not hold distributions.
    """
    if config.folder is not None:
        return _read_files(config, config.folder)
    generator = np.random.default_rng((seed, num_topics))
    return Truth(
        generator.dirichlet(np.full(num_topics, config.doc_topic_prior), documents),
        generator.dirichlet(np.full(config.num_words, config.topic_word_prior), num_topics),
        generator.poisson(config.mean_length, documents),
    )


def _read_files(config: TruthConfig, folder: Path) -> Truth:
    arrays = []
    for name in (config.doc_topic, config.topic_word, config.lengths):
        try:
            arrays.append(np.load(folder / name, allow_pickle=False))
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"cannot read {folder / name}: {error}", do="check truth.folder") from error
    theta, phi, lengths = arrays
    fits = theta.ndim == phi.ndim == 2 and lengths.shape == (len(theta),) and theta.shape[1] == len(phi)
    if not fits:
        raise DataError(
            f"{folder}: shapes {theta.shape}, {phi.shape}, {lengths.shape} do not fit together",
            allowed="(D, K), (K, V), (D,)",
        )
    for name, rows in ((config.doc_topic, theta), (config.topic_word, phi)):
        if rows.min() < 0 or not np.allclose(rows.sum(axis=1), 1, atol=1e-6):
            raise DataError(f"{folder / name}: rows are not distributions", do="normalise them to sum 1")
    return Truth(theta, phi, lengths.astype(np.int64))


def draw_documents(theta: np.ndarray, phi: np.ndarray, lengths: np.ndarray, seed: Any) -> sparse.csr_array:
    """Counts (D, V): for each position a topic from theta_d, then a word from that topic, by inverse cdf.

    >>> draw_documents(np.ones((2, 1)), np.array([[0.0, 1.0]]), np.array([3, 0]), 1).toarray().tolist()
    [[0, 3], [0, 0]]
    """
    generator = np.random.default_rng(seed)
    rows = np.repeat(np.arange(len(lengths)), lengths)
    cumulative = np.cumsum(theta, axis=1)
    cumulative[:, -1] = 1.0
    topics = (generator.random(len(rows))[:, None] >= cumulative[rows]).sum(axis=1)
    words = np.empty(len(rows), dtype=np.int64)
    for k, topic in enumerate(phi):
        places = np.flatnonzero(topics == k)
        edges = np.cumsum(topic)
        words[places] = np.searchsorted(edges, generator.random(len(places)) * edges[-1], side="right")
    matrix = sparse.csr_array(
        (np.ones(len(rows), np.int64), (rows, words)), shape=(len(lengths), phi.shape[1])
    )
    matrix.sum_duplicates()
    return matrix


def settings(config: SimulateConfig) -> list[Setting]:
    """All cells of a study, in order."""
    topics = config.truth.num_topics
    if config.truth.folder is not None:
        topics = (len(_read_files(config.truth, config.truth.folder).phi),)
    return [
        Setting(k, documents, factor)
        for k in topics
        for documents in config.documents
        for factor in config.length_factors
    ]


def replicate(config: SimulateConfig, setting: Setting, replication: int, jobs: int = 1) -> dict[str, Any]:
    """One data set: drawn, fitted over the grid, judged. Plain values, ready for JSON."""
    truth = read_truth(config.truth, setting.num_topics, setting.documents, config.seed)
    long_enough = np.flatnonzero(np.rint(truth.lengths * setting.length_factor) > 0)[: setting.documents]
    if len(long_enough) < setting.documents:
        raise ConfigError(
            f"documents={setting.documents}", allowed=f"at most {len(long_enough)}, what the truth holds"
        )
    lengths = np.rint(truth.lengths[long_enough] * setting.length_factor).astype(np.int64)
    theta = truth.theta[long_enough]
    cell = (setting.num_topics, setting.documents, round(1000 * setting.length_factor), replication)
    seeds = np.random.SeedSequence((config.seed, *cell)).spawn(3)
    counts = draw_documents(theta, truth.phi, lengths, seeds[0])
    further = np.arange(0, setting.documents, 10)
    test = draw_documents(theta[further], truth.phi, lengths[further], seeds[1])
    fit_seed = int(seeds[2].generate_state(1)[0])
    select = replace(config.select, seed=fit_seed, jobs=jobs)
    selection = select_num_topics(counts, config=select, test=test)
    used = check_counts(counts)
    return {
        "setting": asdict(setting),
        "replication": replication,
        "documents": used.num_documents,
        "words": used.num_words,
        "tokens": used.num_tokens,
        "chosen": selection.chosen,
        "table": json.loads(selection.table.to_json(orient="split")),
        "restarts": json.loads(selection.restarts.to_json(orient="split")),
        "traces": {str(k): list(trace) for k, trace in selection.traces.items()},
        "matches": _matches(selection, truth.phi),
    }


def _matches(selection: Selection, truth: np.ndarray) -> dict[str, dict[str, list[float]]]:
    """Number of topics -> rule -> each true topic's cosine with its match."""
    result = {}
    for k, model in selection.models.items():
        similarity = cosines(truth, model.topic_word_)
        result[str(k)] = {rule: matched(similarity, rule).round(6).tolist() for rule in ("best", "hungarian")}
    return result


def simulate(
    config: SimulateConfig, folder: str | Path, progress: Progress | None = None, seconds: float | None = None
) -> pd.DataFrame | None:
    """Run a study, or go on with an interrupted one; each replication is kept in `folder` when it is done.

    Args:
        seconds: stop after about so long, between replications; None means run to the end.

    Returns:
        The summary (see `summarize`), or None when time ran out before all replications were done.

    Raises:
        ConfigError: `folder` holds another study.
    """
    folder = Path(folder)
    _keep_settings(config, folder)
    tasks = [(setting, r) for setting in settings(config) for r in range(config.replications)]
    # One replication of every setting before the second of any: what an interrupted study holds is balanced.
    tasks.sort(key=lambda task: task[1])
    open_tasks = [task for task in tasks if not _place(folder, *task).exists()]
    finished = run_tasks(
        [(config, *task) for task in open_tasks],
        replicate,
        lambda task, result: write_json(_place(folder, *task[1:]), result),
        jobs=config.select.jobs,
        ray_address=config.ray_address,
        progress=progress,
        seconds=seconds,
    )
    return summarize(config, read_results(config, folder)) if finished else None


def _keep_settings(config: SimulateConfig, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    plain = to_mapping(replace(config, ray_address="", replications=1, select=replace(config.select, jobs=0)))
    place = folder / "study.json"
    if place.exists() and read_json(place) != json.loads(json.dumps(plain)):
        raise ConfigError(f"{folder} holds a study with other settings", do="give another folder")
    write_json(place, plain)


def _place(folder: Path, setting: Setting, replication: int) -> Path:
    return folder / f"{setting.name}-{replication:03d}.json"


def read_results(config: SimulateConfig, folder: str | Path) -> list[dict[str, Any]]:
    """The finished replications of a study."""
    places = (
        _place(Path(folder), setting, r) for setting in settings(config) for r in range(config.replications)
    )
    return [read_json(place) for place in places if place.exists()]


def summarize(config: SimulateConfig, results: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """One row a setting and criterion.

    Columns: num_topics, documents, length_factor, words, mean_length, criterion, replications; mean, spread
    (standard deviation), bias, error (mean |K chosen - K true| / K true) of the chosen K; and
    recovered_RULE_THRESHOLD, the mean share of true topics found again at the chosen K. The criterion "true
    K" has the true K (or the nearest candidate) as its choice.
    """
    rows = [row for result in results for row in _judgements(config, result)]
    frame = pd.DataFrame(rows)
    keys = ["num_topics", "documents", "length_factor", "criterion"]
    recovered = [name for name in frame.columns if name.startswith("recovered_")]
    grouped = frame.groupby(keys, sort=False)
    summary = grouped.agg(
        words=("words", "mean"),
        mean_length=("mean_length", "mean"),
        replications=("chosen", "size"),
        mean=("chosen", "mean"),
        spread=("chosen", "std"),
        **{name: (name, "mean") for name in recovered},
    ).reset_index()
    summary["spread"] = summary["spread"].fillna(0.0)
    summary["bias"] = summary["mean"] - summary["num_topics"]
    errors = (frame["chosen"] - frame["num_topics"]).abs() / frame["num_topics"]
    summary["error"] = errors.groupby([frame[key] for key in keys], sort=False).mean().to_numpy()
    return summary


def _judgements(config: SimulateConfig, result: dict[str, Any]) -> Iterator[dict[str, Any]]:
    true = result["setting"]["num_topics"]
    candidates = [int(k) for k in result["matches"]]
    choices = {**result["chosen"], "true K": min(candidates, key=lambda k: abs(k - true))}
    for criterion, chosen in choices.items():
        row = {
            **result["setting"],
            "words": result["words"],
            "mean_length": result["tokens"] / result["documents"],
            "criterion": criterion,
            "chosen": chosen,
        }
        for rule, cosine in result["matches"][str(chosen)].items():
            for threshold in config.thresholds:
                row[f"recovered_{rule}_{threshold:g}"] = float((np.array(cosine) >= threshold).mean())
        yield row
