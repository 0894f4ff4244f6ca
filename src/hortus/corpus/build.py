"""Build a corpus: partitions pass through stages, decisions fall between them, then split and write.

Stages are cut at the steps that need the whole corpus (pipeline.py). Within a stage every partition is a
task of its own (passes.py), which the engine runs (engine.py). What is in memory at once: a batch a process;
while deciding, what the global step says of itself; for the split, the sketches of near_duplicates.py.

A build that was killed goes on where it ended when it is called again with the same sources and settings,
and its output is the same as if it had not been.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import hortus
from hortus.artifact import read_json, write_json
from hortus.config import to_mapping
from hortus.corpus.config import CorpusConfig
from hortus.corpus.engine import Task, run_tasks
from hortus.corpus.files import ReadLog
from hortus.corpus.passes import (
    PLAN,
    read_measures,
    read_part,
    run_pass,
    run_task,
    stage_folder,
    write_decision,
)
from hortus.corpus.pipeline import Stage, cut_stages, make_stage, num_stages
from hortus.corpus.sources import Partition, plan_partitions, source_files
from hortus.corpus.splitting import DOCUMENTS, SPLITS, write_documents, write_dropped
from hortus.corpus.steps.step import GlobalStep, Notes, Step
from hortus.errors import DataError, DeviceError, HortusError

__all__ = ["DOCUMENTS", "SPLITS", "CorpusStatistics", "build_corpus", "read_statistics"]

STATISTICS, TIMING, WORK = "statistics.json", "timing.json", ".work"
FEW_PARTITIONS = 4


@dataclass
class CorpusStatistics:
    """Counts of a build.

    languages: language -> split -> {"documents", "bytes"}.
    steps: step -> {"kept": n, and dropped documents by reason}.
    flow: step -> {"documents_in", "bytes_in", "documents_out", "bytes_out", "documents_changed"}.
    counts: step -> what it found beside that (clusters, redactions by category, bytes cut).
    samples: step -> [reason or "changed", text] of a few documents.
    sources, licences: source (a catalogue's or built-in name, else the file's folder), licence -> documents.
    catalogue: source -> {"language", "licence", "provenance"}.
    clustered_documents: documents that lie in a cluster with others, for the split.
    default_bounds: languages to which the default filter bounds were applied.
    repaired, skipped, broken, repeated_conversations: see ReadLog.
    """

    documents: int = 0
    num_bytes: int = 0
    languages: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)
    steps: dict[str, dict[str, int]] = field(default_factory=dict)
    flow: dict[str, dict[str, int]] = field(default_factory=dict)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    samples: dict[str, list[list[str]]] = field(default_factory=dict)
    sources: dict[str, int] = field(default_factory=dict)
    licences: dict[str, int] = field(default_factory=dict)
    catalogue: dict[str, dict[str, str | None]] = field(default_factory=dict)
    clusters: int = 0
    clustered_documents: int = 0
    default_bounds: list[str] = field(default_factory=list)
    repaired: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    broken: dict[str, int] = field(default_factory=dict)
    repeated_conversations: int = 0

    def to_mapping(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def build_corpus(
    config: CorpusConfig,
    folder: str | Path,
    *,
    steps: list[Step] | None = None,
    progress: Callable[[str], None] | None = None,
) -> CorpusStatistics:
    """Write documents.parquet, dropped.parquet, statistics.json and timing.json to `folder`.

    documents.parquet has the columns id, text, language, source, licence, url, split ("train" or
    "validation"); dropped.parquet has id, text, language, source, step, reason.

    Args:
        steps: instead of those that the configuration names; they run in this process.
        progress: called now and then with a line on where the build stands.

    Raises:
        DataError: a source is missing or broken, or nothing is left.
        DeviceError: a package that a step needs is missing, or the disk is full.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "a.jsonl").write_text('{"text": "One."}\\n{"text": "one."}\\n{"text": "Two."}\\n')
    >>> config = CorpusConfig(sources=(str(folder / "a.jsonl"),), language="en")
    >>> build_corpus(config, folder / "corpus").steps["exact duplicates"]
    {'kept': 2, 'exact duplicate': 1}
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    work, log = folder / WORK, ReadLog()
    try:
        partitions = plan_partitions(config, log)
        stages = cut_stages(steps) if steps is not None else None
        count = len(stages) if stages is not None else num_stages(config)
        _begin(work, config, partitions, fresh=stages is not None)
        for index in range(count):
            with _watched(work, index, count, len(partitions), progress):
                _run_stage(work, index, config, len(partitions), stages)
            if index < count - 1:
                stage = stages[index] if stages is not None else make_stage(config, index)
                _decide(work, index, len(partitions), stage.ends)
            if index:
                _forget(stage_folder(work, index - 1))
        statistics = _merge(work, count, len(partitions), log)
        statistics.catalogue = _catalogue(partitions)
        write_documents(work, count - 1, len(partitions), config, folder, statistics)
        write_dropped(work, count, len(partitions), folder)
        write_json(folder / TIMING, _timing(work, count, len(partitions)))
        write_json(folder / STATISTICS, statistics.to_mapping())
    except HortusError as error:
        if not isinstance(error, DeviceError):
            shutil.rmtree(work, ignore_errors=True)
        raise
    shutil.rmtree(work, ignore_errors=True)
    return statistics


def read_statistics(folder: str | Path) -> CorpusStatistics:
    """The statistics of a corpus folder.

    Raises:
        DataError: the folder holds none.
    """
    path = Path(folder) / STATISTICS
    if not path.is_file():
        raise DataError(f"no corpus in {folder}", do="build one first: hortus corpus build")
    return CorpusStatistics(**read_json(path))


def _begin(work: Path, config: CorpusConfig, partitions: Sequence[Partition], fresh: bool) -> None:
    """Write the plan, or keep what an interrupted build with the same plan left."""
    plan = {"config": to_mapping(config), "partitions": [to_mapping(partition) for partition in partitions]}
    # Engine and workers change who does the work, not what comes out.
    settings = {name: value for name, value in plan["config"].items() if name not in ("engine", "workers")}
    paths = source_files(config)
    files = [[str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in paths]
    what = json.dumps([hortus.__version__, settings, plan["partitions"], files], default=str, sort_keys=True)
    plan["fingerprint"] = hashlib.sha256(what.encode()).hexdigest()
    known = read_json(work / PLAN) if (work / PLAN).is_file() else {}
    if fresh or known.get("fingerprint") != plan["fingerprint"]:
        shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True, exist_ok=True)
    write_json(work / PLAN, json.loads(json.dumps(plan, default=str)))


def _run_stage(work: Path, index: int, config: CorpusConfig, total: int, stages: list[Stage] | None) -> None:
    def missing() -> list[Task]:
        done = stage_folder(work, index)
        return [
            {"work": str(work.resolve()), "stage": index, "partition": number}
            for number in range(total)
            if not (done / f"part-{number:05d}.json").is_file()
        ]

    if stages is None:
        # Below this, starting processes costs more than they save.
        workers = config.workers or (1 if total < FEW_PARTITIONS else None)
        run_tasks(run_task, missing, engine=config.engine, workers=workers)
        return
    for task in missing():
        run_pass(work, index, task["partition"], stages[index], index == len(stages) - 1)
        for step in (stages[index].begins, *stages[index].steps):
            if isinstance(step, Notes):
                step.counts.clear()  # the next partition counts anew


def _decide(work: Path, index: int, total: int, step: GlobalStep | None) -> None:
    assert step is not None
    counts = stage_folder(work, index) / "decided.json"
    if counts.is_file():
        return
    decisions = step.decide([read_measures(work, index, number) for number in range(total)])
    for number, decision in enumerate(decisions):
        write_decision(work, index, number, decision)
    found = step.counts if isinstance(step, Notes) else Counter[str]()
    write_json(counts, {step.name: dict(found)})
    found.clear()


def _forget(folder: Path) -> None:
    """Remove the documents and measures of a stage that the next one has read."""
    for pattern in ("part-*.parquet", "measure-*.npy", "decision-*.npz"):
        for path in folder.glob(pattern):
            path.unlink()


@contextmanager
def _watched(
    work: Path, index: int, count: int, total: int, progress: Callable[[str], None] | None
) -> Iterator[None]:
    """Call `progress` whenever a partition of the stage is done."""
    if progress is None:
        yield
        return
    ended = threading.Event()

    def watch() -> None:
        known = -1
        while True:
            over = ended.wait(0.3)
            done = len(list(stage_folder(work, index).glob("part-*.json")))
            if done != known:
                known = done
                progress(f"stage {index + 1} of {count}: {done} of {total} partitions")
            if over:
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _merge(work: Path, count: int, total: int, log: ReadLog) -> CorpusStatistics:
    """Add up what the passes counted, in the order of stages and partitions."""
    statistics = CorpusStatistics(skipped=dict(log.skipped))
    for index in range(count):
        for number in range(total):
            part = read_part(work, index, number)
            for name in ("steps", "flow", "counts"):
                for step, counts in part[name].items():
                    _add(getattr(statistics, name).setdefault(step, {}), counts)
            for step, samples in part["samples"].items():
                _add_samples(statistics.samples.setdefault(step, []), samples)
            for name in ("repaired", "skipped", "broken"):
                _add(getattr(statistics, name), part["log"][name])
            statistics.repeated_conversations += part["log"]["repeated_conversations"]
        decided = stage_folder(work, index) / "decided.json"
        if decided.is_file():
            for step, counts in read_json(decided).items():
                _add(statistics.counts.setdefault(step, {}), counts)
    statistics.counts = {step: counts for step, counts in statistics.counts.items() if counts}
    return statistics


def _add(total: dict[str, int], counts: dict[str, int]) -> None:
    for name, number in counts.items():
        total[name] = total.get(name, 0) + number


def _add_samples(shown: list[list[str]], samples: list[list[str]]) -> None:
    for reason, text in samples:
        if sum(one[0] == reason for one in shown) < 3:
            shown.append([reason, text])


def _timing(work: Path, count: int, total: int) -> dict[str, Any]:
    """Seconds by step, summed over processes, and what was read."""
    seconds: dict[str, float] = defaultdict(float)
    read = Counter[str]()
    for index in range(count):
        for number in range(total):
            part = read_part(work, index, number)
            for name, value in part["seconds"].items():
                seconds[name] += value
            if index == 0:
                read.update(part["read"])
    return {"seconds": {name: round(value, 3) for name, value in seconds.items()}, "read": dict(read)}


def _catalogue(partitions: Sequence[Partition]) -> dict[str, dict[str, str | None]]:
    sources = {partition.source.name or partition.source.path: partition.source for partition in partitions}
    return {
        name: {key: getattr(source, key) for key in ("language", "licence", "provenance")}
        for name, source in sources.items()
    }
