"""Build a corpus: read, pass the steps, cluster, split, write. Batches stream from source to disk.

What is in memory at once: one batch, 16 bytes of hash per document for exact duplicates, and the
sketches of near_duplicates.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hortus.artifact import read_json, replacing_file, write_json
from hortus.corpus.config import CorpusConfig
from hortus.corpus.documents import DOCUMENT_SCHEMA, DROPPED_SCHEMA, RAW_SCHEMA, batches
from hortus.corpus.files import ReadLog
from hortus.corpus.near_duplicates import Sketches, cluster, join_groups
from hortus.corpus.sources import read_sources
from hortus.corpus.split import SplitEntry, choose_validation
from hortus.corpus.steps import Step, default_steps
from hortus.errors import DataError

__all__ = ["CorpusStatistics", "build_corpus", "read_statistics"]

DOCUMENTS, DROPPED, STATISTICS = "documents.parquet", "dropped.parquet", "statistics.json"
SPLITS = ("train", "validation")


@dataclass
class CorpusStatistics:
    """Counts of a build.

    languages: language -> split -> {"documents", "bytes"}.
    steps: step -> {"kept": n, and dropped documents by reason}.
    sources: source (as configured for built-ins, else the file's folder) -> documents kept.
    clustered_documents: documents that lie in a cluster with others.
    repaired, skipped, repeated_conversations: see ReadLog.
    """

    documents: int = 0
    num_bytes: int = 0
    languages: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)
    steps: dict[str, dict[str, int]] = field(default_factory=dict)
    sources: dict[str, int] = field(default_factory=dict)
    clusters: int = 0
    clustered_documents: int = 0
    repaired: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    repeated_conversations: int = 0

    def to_mapping(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def build_corpus(
    config: CorpusConfig,
    folder: str | Path,
    *,
    steps: list[Step] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> CorpusStatistics:
    """Write documents.parquet, dropped.parquet and statistics.json to `folder`.

    documents.parquet has the columns id, text, language, source, split ("train" or "validation");
    dropped.parquet has id, text, language, source, step, reason.

    Args:
        steps: instead of the default ones.
        progress: called after every batch with documents and bytes read so far.

    Raises:
        DataError: a source is missing or broken, or nothing is left.
        DeviceError: a library for a source or for language identification is missing.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "a.jsonl").write_text('{"text": "One."}\\n{"text": "one."}\\n{"text": "Two."}\\n')
    >>> config = CorpusConfig(sources=(str(folder / "a.jsonl"),), language="en")
    >>> build_corpus(config, folder / "corpus").steps["exact duplicates"]
    {'kept': 2, 'exact duplicate': 1}
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    log = ReadLog()
    steps = default_steps(config) if steps is None else steps
    counts: dict[str, Counter[str]] = {step.name: Counter() for step in steps}
    kept_path = folder / "kept.parquet.partial"
    try:
        with ExitStack() as stack:
            dropped_path = stack.enter_context(replacing_file(folder / DROPPED))
            dropped = stack.enter_context(pq.ParquetWriter(dropped_path, DROPPED_SCHEMA, compression="zstd"))
            kept = stack.enter_context(pq.ParquetWriter(kept_path, RAW_SCHEMA, compression="zstd"))
            entries: list[tuple[str, str, int]] = []
            sketches, groups = Sketches(), list[str | None]()
            for batch in _counted(batches(read_sources(config, log)), progress):
                batch = _pass(batch, steps, counts, dropped)
                kept.write_batch(batch)
                sketches.add(batch.column("text").to_pylist())
                entries += _entries(batch)
                groups += batch.column("group").to_pylist()
            if not entries:
                raise _nothing_left(config, counts)
        clusters = cluster(sketches, config.near_duplicate_overlap)
        together = join_groups(clusters, groups)
        numbered = [
            SplitEntry(*entry, number) for entry, number in zip(entries, together.tolist(), strict=True)
        ]
        held_out = choose_validation(numbered, config)
        statistics = _statistics(clusters, counts, log)
        with replacing_file(folder / DOCUMENTS) as path:
            _write_split(kept_path, path, together, held_out, statistics)
        write_json(folder / STATISTICS, statistics.to_mapping())
        return statistics
    finally:
        kept_path.unlink(missing_ok=True)


def read_statistics(folder: str | Path) -> CorpusStatistics:
    """The statistics of a corpus folder.

    Raises:
        DataError: the folder holds none.
    """
    path = Path(folder) / STATISTICS
    if not path.is_file():
        raise DataError(f"no corpus in {folder}", do="build one first: hortus corpus build")
    return CorpusStatistics(**read_json(path))


def _counted(
    stream: Iterator[pa.RecordBatch], progress: Callable[[int, int], None] | None
) -> Iterator[pa.RecordBatch]:
    documents = num_bytes = 0
    for batch in stream:
        yield batch
        documents += batch.num_rows
        num_bytes += pc.sum(pc.binary_length(batch.column("text"))).as_py() or 0
        if progress:
            progress(documents, num_bytes)


def _pass(
    batch: pa.RecordBatch, steps: list[Step], counts: dict[str, Counter[str]], writer: pq.ParquetWriter
) -> pa.RecordBatch:
    for step in steps:
        batch, dropped = step.apply(batch)
        counts[step.name]["kept"] += batch.num_rows
        if dropped.num_rows:
            counts[step.name].update(dropped.column("reason").to_pylist())
            named = pa.array([step.name] * dropped.num_rows, pa.string())
            writer.write_batch(dropped.append_column("step", named).select(DROPPED_SCHEMA.names))
    return batch


def _entries(batch: pa.RecordBatch) -> Iterator[tuple[str, str, int]]:
    sizes = pc.binary_length(batch.column("text")).to_pylist()
    return zip(batch.column("id").to_pylist(), batch.column("language").to_pylist(), sizes, strict=True)


def _nothing_left(config: CorpusConfig, counts: dict[str, Counter[str]]) -> DataError:
    reasons = Counter[str]()
    for count in counts.values():
        reasons.update({reason: number for reason, number in count.items() if reason != "kept"})
    why = (
        ", ".join(f"{number} {reason}" for reason, number in reasons.most_common()) or "the sources hold none"
    )
    return DataError(
        f"no document is left of {', '.join(config.sources)}: {why}", do="add sources or relax the settings"
    )


def _statistics(clusters: np.ndarray, counts: dict[str, Counter[str]], log: ReadLog) -> CorpusStatistics:
    _, sizes = np.unique(clusters, return_counts=True)
    return CorpusStatistics(
        steps={name: dict(count) for name, count in counts.items()},
        clusters=int((sizes > 1).sum()),
        clustered_documents=int(sizes[sizes > 1].sum()),
        repaired=dict(log.repaired),
        skipped=dict(log.skipped.most_common()),
        repeated_conversations=log.repeated_conversations,
    )


def _write_split(
    kept_path: Path, path: Path, clusters: np.ndarray, held_out: set[int], statistics: CorpusStatistics
) -> None:
    """Copy the kept documents with their split, counting by language and source."""
    in_validation = np.isin(clusters, list(held_out))
    done = 0
    with (
        pq.ParquetFile(kept_path) as kept,
        pq.ParquetWriter(path, DOCUMENT_SCHEMA, compression="zstd") as writer,
    ):
        for batch in kept.iter_batches(batch_size=1024):
            held = in_validation[done : done + batch.num_rows]
            done += batch.num_rows
            split = pa.array(np.where(held, SPLITS[1], SPLITS[0]), pa.string())
            batch = batch.append_column("split", split).select(DOCUMENT_SCHEMA.names)
            writer.write_batch(batch)
            _count(batch, statistics)


def _count(batch: pa.RecordBatch, statistics: CorpusStatistics) -> None:
    sizes = pc.binary_length(batch.column("text")).to_pylist()
    columns = [batch.column(name).to_pylist() for name in ("language", "split", "source")]
    for language, split, source, size in zip(*columns, sizes, strict=True):
        of_language = statistics.languages.setdefault(
            language, {name: {"documents": 0, "bytes": 0} for name in SPLITS}
        )
        of_language[split]["documents"] += 1
        of_language[split]["bytes"] += size
        name = source.partition(":")[0] if ":" in source else str(Path(source).parent)
        statistics.sources[name] = statistics.sources.get(name, 0) + 1
        statistics.documents += 1
        statistics.num_bytes += size
