"""One partition through one stage: read, carry out the last decision, run the steps, measure, write.

In WORK/stage-K stand, for every partition N, each renamed into place when it is whole:

    part-N.parquet    what was kept            measure-N.NAME.npy  what the next decision needs
    dropped-N.parquet what was not, and why    decision-N.npz      the decision for this partition
    part-N.json       counts, samples, seconds; written last: a partition that has it is done
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hortus.artifact import read_json, replacing_file, write_json
from hortus.config import from_mapping
from hortus.corpus.config import CorpusConfig
from hortus.corpus.documents import DROPPED_SCHEMA, RAW_SCHEMA, batches
from hortus.corpus.engine import Task
from hortus.corpus.files import ReadLog
from hortus.corpus.near_duplicates import sketch
from hortus.corpus.pipeline import Stage, make_stage, num_stages
from hortus.corpus.sources import Partition, read_partition
from hortus.corpus.steps.step import Decision, Measures, Notes, Step

__all__ = [
    "PLAN",
    "decision_path",
    "read_measures",
    "read_part",
    "run_pass",
    "run_task",
    "stage_folder",
    "write_decision",
]

PLAN = "plan.json"
SAMPLES = 3  # dropped documents shown by step and reason, changed ones by step
SAMPLE_CHARACTERS = 300


def stage_folder(work: Path, stage: int) -> Path:
    """Where the files of a stage are."""
    return work / f"stage-{stage}"


def decision_path(work: Path, stage: int, number: int) -> Path:
    """Where the decision that ends a stage is, for one partition."""
    return stage_folder(work, stage) / f"decision-{number:05d}.npz"


def run_task(task: Task) -> None:
    """Run the pass that a task names: {"work", "stage", "partition"}."""
    work, index, number = Path(task["work"]), int(task["stage"]), int(task["partition"])
    plan = read_json(work / PLAN)
    config = from_mapping(CorpusConfig, plan["config"])
    run_pass(work, index, number, make_stage(config, index), index == num_stages(config) - 1)


def run_pass(work: Path, index: int, number: int, stage: Stage, is_last: bool) -> None:
    """Take partition `number` through stage `index`.

    Raises:
        DataError: a source is broken.
        DeviceError: the disk is full.
    """
    plan = read_json(work / PLAN)
    config = from_mapping(CorpusConfig, plan["config"])
    folder = stage_folder(work, index)
    folder.mkdir(parents=True, exist_ok=True)
    log, tally = ReadLog(), _Tally()
    if stage.begins is not None:
        with np.load(decision_path(work, index - 1, number)) as arrays:
            stage.begins.decision = dict(arrays)
    steps: list[Step] = [*([stage.begins] if stage.begins else []), *stage.steps]
    if index == 0:
        stream = batches(read_partition(from_mapping(Partition, plan["partitions"][number]), config, log))
    else:
        stream = _stored(stage_folder(work, index - 1) / f"part-{number:05d}.parquet")
    measures: dict[str, list[np.ndarray]] = {}
    splits = is_last and config.validation_fraction > 0
    measure = stage.ends.measure if stage.ends else _split_measures if splits else None
    with ExitStack() as stack:
        kept = _writer(stack, folder / f"part-{number:05d}.parquet", RAW_SCHEMA)
        dropped = _writer(stack, folder / f"dropped-{number:05d}.parquet", DROPPED_SCHEMA)
        empty = pa.RecordBatch.from_pylist([], RAW_SCHEMA)
        for batch in _timed(stream, tally):
            batch = tally.run(batch, steps, dropped)
            kept.write_batch(batch)
            _measure(batch, measure, measures, tally)
        _measure(empty, measure, measures, tally)
    for name, arrays in measures.items():
        with replacing_file(folder / f"measure-{number:05d}.{name}.npy") as path, path.open("wb") as file:
            np.save(file, np.concatenate(arrays))
    counts = {step.name: dict(step.counts) for step in steps if isinstance(step, Notes)}
    log_values = {name: dict(getattr(log, name)) for name in ("repaired", "skipped", "broken")}
    log_values["repeated_conversations"] = log.repeated_conversations  # type: ignore[assignment]
    record = {"log": log_values, "counts": counts, **tally.to_mapping()}
    write_json(folder / f"part-{number:05d}.json", record)


def _writer(stack: ExitStack, path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    temporary = stack.enter_context(replacing_file(path))
    return stack.enter_context(pq.ParquetWriter(temporary, schema, compression="lz4"))


def _stored(path: Path) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):  # as they were written: a batch a group
            table = file.read_row_group(group)
            yield from table.combine_chunks().to_batches()


def _timed(stream: Iterator[pa.RecordBatch], tally: _Tally) -> Iterator[pa.RecordBatch]:
    while True:
        began = time.perf_counter()
        batch = next(stream, None)
        tally.seconds["read"] += time.perf_counter() - began
        if batch is None:
            return
        tally.read["documents"] += batch.num_rows
        tally.read["bytes"] += text_bytes(batch)
        yield batch


def _measure(
    batch: pa.RecordBatch, measure: Any, measures: dict[str, list[np.ndarray]], tally: _Tally
) -> None:
    if measure is not None:
        began = time.perf_counter()
        for name, array in measure(batch).items():
            measures.setdefault(name, []).append(array)
        tally.seconds["measure"] += time.perf_counter() - began


def _split_measures(batch: pa.RecordBatch) -> Measures:
    """The sketches by which the split keeps near duplicates on one side."""
    sketches = [sketch(text) for text in batch.column("text").to_pylist()]
    return {
        "hashes": np.concatenate([np.empty(0, np.uint64), *(hashes for hashes, _ in sketches)]),
        "lengths": np.array([len(hashes) for hashes, _ in sketches], np.int64),
        "scales": np.array([scale for _, scale in sketches], np.int64),
    }


def text_bytes(batch: pa.RecordBatch) -> int:
    """UTF-8 bytes of a batch's texts."""
    return pc.sum(pc.binary_length(batch.column("text"))).as_py() or 0


class _Tally:
    """What a pass counts: by step kept, dropped by reason, changed, bytes, seconds, and samples."""

    def __init__(self) -> None:
        self.read = Counter[str]()
        self.seconds: dict[str, float] = defaultdict(float)
        self.steps: dict[str, Counter[str]] = {}
        self.flow: dict[str, Counter[str]] = {}
        self.samples: dict[str, list[list[str]]] = {}

    def run(self, batch: pa.RecordBatch, steps: list[Step], writer: pq.ParquetWriter) -> pa.RecordBatch:
        """The batch through all steps."""
        for step in steps:
            began = time.perf_counter()
            kept, dropped = step.apply(batch)
            self.seconds[step.name] += time.perf_counter() - began
            self._count(step.name, batch, kept, dropped)
            if dropped.num_rows:
                named = pa.array([step.name] * dropped.num_rows, pa.string())
                writer.write_batch(dropped.append_column("step", named).select(DROPPED_SCHEMA.names))
            batch = kept
        return batch

    def _count(self, name: str, batch: pa.RecordBatch, kept: pa.RecordBatch, dropped: pa.RecordBatch) -> None:
        steps, flow = self.steps.setdefault(name, Counter()), self.flow.setdefault(name, Counter())
        steps["kept"] += kept.num_rows
        flow["documents_in"] += batch.num_rows
        flow["bytes_in"] += text_bytes(batch)
        flow["documents_out"] += kept.num_rows
        flow["bytes_out"] += text_bytes(kept)
        if dropped.num_rows:
            reasons = dropped.column("reason").to_pylist()
            steps.update(reasons)
            for place, reason in enumerate(reasons):
                self._sample(name, reason, lambda place=place: dropped.column("text")[place].as_py())
        before = batch.column("text") if not dropped.num_rows else _rows_left(batch, kept)
        changed = np.flatnonzero(np.asarray(pc.not_equal(before, kept.column("text"))))
        flow["documents_changed"] += len(changed)
        for place in changed[:SAMPLES].tolist():
            texts = before[place].as_py(), kept.column("text")[place].as_py()
            self._sample(name, "changed", lambda texts=texts: _difference(*texts))

    def _sample(self, step: str, reason: str, text: Any) -> None:
        shown = self.samples.setdefault(step, [])
        if sum(one[0] == reason for one in shown) < SAMPLES:
            shown.append([reason, text()[:SAMPLE_CHARACTERS]])

    def to_mapping(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "read": dict(self.read),
            "steps": {name: dict(counts) for name, counts in self.steps.items()},
            "flow": {name: dict(counts) for name, counts in self.flow.items()},
            "samples": self.samples,
            "seconds": dict(self.seconds),
        }


def _rows_left(batch: pa.RecordBatch, kept: pa.RecordBatch) -> pa.Array:
    places = np.searchsorted(np.asarray(batch.column("row")), np.asarray(kept.column("row")))
    return batch.column("text").take(pa.array(places))


def _difference(before: str, after: str) -> str:
    """Both texts from a little before where they part."""
    place = next(
        (i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b),
        min(len(before), len(after)),
    )
    start, width = max(place - 40, 0), SAMPLE_CHARACTERS // 2 - 10
    return f"{before[start : start + width]}\n→ {after[start : start + width]}"


def read_part(work: Path, stage: int, number: int) -> dict[str, Any]:
    """What a finished pass counted."""
    return read_json(stage_folder(work, stage) / f"part-{number:05d}.json")


def read_measures(work: Path, stage: int, number: int) -> Measures:
    """The measures of a partition, mapped from disk."""
    paths = sorted(stage_folder(work, stage).glob(f"measure-{number:05d}.*.npy"))
    return {path.name.split(".")[1]: np.load(path, mmap_mode="r") for path in paths}


def write_decision(work: Path, stage: int, number: int, decision: Decision) -> None:
    """Store the decision for one partition."""
    with replacing_file(decision_path(work, stage, number)) as path, path.open("wb") as file:
        np.savez(file, **dict(decision))  # type: ignore[arg-type]
