"""A grid of fits, in threads, kept in a folder so that an interrupted run goes on.

The compiled samplers release the interpreter's lock, so threads share one corpus and no process is started.
Each fit's seed follows from the study's seed, its number of topics and its restart alone: the order of the
work, the number of jobs and an interruption change nothing.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import numpy as np

from hortus.artifact import read_json, replacing_file, write_json
from hortus.config import to_mapping
from hortus.errors import ArtifactError, ConfigError
from hortus.topics.config import ModelConfig
from hortus.topics.counts import Counts
from hortus.topics.gibbs import Fit, run_gibbs
from hortus.topics.variational import run_variational

__all__ = ["FitFolder", "Progress", "fit_grid", "fit_model", "fit_seed", "kept_fit"]

Progress = Callable[[str, float, float], Any]
"""Called as progress(what was finished, share of the work done, seconds left)."""


def fit_seed(seed: int, num_topics: int, restart: int) -> int:
    """The seed of one fit of a grid."""
    return int(np.random.SeedSequence((seed, num_topics, restart)).generate_state(1)[0])


def fit_model(
    counts: Counts,
    num_topics: int,
    config: ModelConfig,
    seed: int,
    num_threads: int = 1,
    start: Fit | None = None,
    progress: Callable[[int, int], Any] | None = None,
) -> Fit:
    """One fit, by the method of the settings; see `run_gibbs`."""
    run = run_variational if config.method == "variational" else run_gibbs
    return run(counts, num_topics, config, seed, num_threads, start, progress)


def kept_fit(fits: Sequence[Fit], rule: str) -> Fit:
    """Of restarts the one that stays: the "best" or the "median" log-likelihood."""
    order = sorted(fits, key=lambda fit: -fit.log_likelihood)
    return order[0 if rule == "best" else len(order) // 2]


class FitFolder:
    """Finished fits on disk, one .npz each, under a key that names the corpus and the settings.

    Raises:
        ConfigError: the folder holds fits of another corpus or of other settings.
    """

    def __init__(
        self, folder: Path, counts: Counts, config: ModelConfig, seed: int, grid: Sequence[int] | None
    ):
        self.folder = folder
        key = {
            "corpus": _fingerprint(counts),
            "model": to_mapping(config),
            "seed": seed,
            "warm_start_over": list(grid) if grid else None,
        }
        folder.mkdir(parents=True, exist_ok=True)
        place = folder / "key.json"
        if place.exists() and (found := read_json(place)) != key:
            differing = [name for name in key if found.get(name) != key[name]]
            raise ConfigError(
                f"{folder} holds fits that differ in {', '.join(differing)}",
                do="give another folder, or delete this one",
            )
        write_json(place, key)

    def _place(self, num_topics: int, restart: int) -> Path:
        return self.folder / f"topics-{num_topics:04d}-restart-{restart:02d}.npz"

    def read(self, num_topics: int, restart: int) -> Fit | None:
        """The finished fit, or None. A damaged file is an ArtifactError that names it."""
        place = self._place(num_topics, restart)
        if not place.exists():
            return None
        try:
            with np.load(place, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
            eta, likelihood = float(arrays.pop("eta")), float(arrays.pop("log_likelihood"))
            trace = tuple((int(sweep), float(value)) for sweep, value in arrays.pop("trace"))
            evidence = tuple(map(float, arrays.pop("evidence")))
            return Fit(**arrays, eta=eta, log_likelihood=likelihood, trace=trace, evidence=evidence)
        except (OSError, ValueError, KeyError, EOFError, TypeError) as error:
            raise ArtifactError(
                f"{place} is damaged: {error}", do="delete it; the fit is made again"
            ) from error

    def write(self, num_topics: int, restart: int, fit: Fit) -> None:
        """Store a fit, whole or not at all."""
        arrays = {**vars(fit), "trace": np.array(fit.trace, float).reshape(-1, 2)}
        with replacing_file(self._place(num_topics, restart)) as temporary, temporary.open("wb") as stream:
            np.savez(stream, **arrays)


def _fingerprint(counts: Counts) -> str:
    digest = hashlib.sha256(json.dumps(counts.matrix.shape).encode())
    for array in (counts.matrix.indptr, counts.matrix.indices, counts.matrix.data):
        digest.update(np.ascontiguousarray(array, dtype=np.int64).tobytes())
    return digest.hexdigest()


def fit_grid(
    counts: Counts,
    numbers: Sequence[int],
    restarts: int,
    config: ModelConfig,
    seed: int,
    *,
    jobs: int = 1,
    warm_start: bool = False,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> dict[int, list[Fit]]:
    """Fit every number of topics `restarts` times.

    Args:
        numbers: in rising order.
        warm_start: each restart is a chain along the grid, every fit starting from the one before it; the
            chains run in parallel. Otherwise all fits run in parallel, the largest first.
        folder: where finished fits are kept; an interrupted grid goes on from them.
    """
    store = None
    if folder is not None:
        store = FitFolder(folder, counts, config, seed, numbers if warm_start else None)
    clock = _Clock(numbers, restarts, progress)
    results: dict[tuple[int, int], Fit] = {}

    def make(k: int, restart: int, start: Fit | None) -> Fit:
        fit = store.read(k, restart) if store else None
        if fit is not None:
            clock.skip(k)
            return fit
        fit = fit_model(counts, k, config, fit_seed(seed, k, restart), start=start)
        if store:
            store.write(k, restart, fit)
        clock.finish(k, restart)
        return fit

    def chain(restart: int) -> None:
        fit: Fit | None = None
        for k in numbers:
            fit = results[k, restart] = make(k, restart, fit)

    def single(k: int, restart: int) -> None:
        results[k, restart] = make(k, restart, None)

    with ThreadPoolExecutor(max(1, jobs)) as pool:
        if warm_start:
            futures = [pool.submit(chain, restart) for restart in range(restarts)]
        else:
            order = [(k, restart) for k in reversed(numbers) for restart in range(restarts)]
            futures = [pool.submit(single, k, restart) for k, restart in order]
        _finish(futures)
    return {k: [results[k, restart] for restart in range(restarts)] for k in numbers}


def _finish(futures: Sequence[Future[None]]) -> None:
    """Wait for all; on the first error or Ctrl-C give up those that have not begun."""
    pending = set(futures)
    try:
        while pending:
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()
    except BaseException:
        for future in pending:
            future.cancel()
        raise


class _Clock:
    """Progress with the time left: work of a fit is taken as 50 + K, which fits the samplers' measured
    cost."""

    def __init__(self, numbers: Sequence[int], restarts: int, progress: Progress | None):
        self.progress, self.began = progress, time.perf_counter()
        self.total = float(sum(50 + k for k in numbers) * restarts)
        self.skipped = self.made = 0.0

    def skip(self, num_topics: int) -> None:
        self.skipped += 50 + num_topics

    def finish(self, num_topics: int, restart: int) -> None:
        self.made += 50 + num_topics
        if self.progress is not None:
            left = self.total - self.skipped - self.made
            seconds = (time.perf_counter() - self.began) / self.made * left
            share = (self.skipped + self.made) / self.total
            self.progress(f"K = {num_topics}, restart {restart + 1}", share, seconds)
