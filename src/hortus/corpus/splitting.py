"""The end of a build: choose what is held out, write the documents and what was dropped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hortus.artifact import replacing_file
from hortus.corpus.bounds import Bounds
from hortus.corpus.config import CODE, CorpusConfig, expand_steps
from hortus.corpus.documents import DOCUMENT_SCHEMA, DROPPED_SCHEMA
from hortus.corpus.near_duplicates import Sketches, cluster, join_groups
from hortus.corpus.passes import read_measures, stage_folder
from hortus.corpus.split import SplitEntry, choose_validation
from hortus.errors import DataError

if TYPE_CHECKING:
    from hortus.corpus.build import CorpusStatistics

__all__ = ["DOCUMENTS", "DROPPED", "SPLITS", "write_documents", "write_dropped"]

DOCUMENTS, DROPPED = "documents.parquet", "dropped.parquet"
SPLITS = ("train", "validation")


def write_documents(
    work: Path, last: int, total: int, config: CorpusConfig, folder: Path, statistics: CorpusStatistics
) -> None:
    """Copy the documents of the last stage with their split, counting by language, source and licence.

    Raises:
        DataError: nothing is left.
    """
    entries = _entries(work, last, total)
    if not entries:
        raise _nothing_left(config, statistics)
    together = clusters = np.arange(len(entries))
    if config.validation_fraction > 0:
        together, clusters = _clusters(work, last, total, config)
    _, sizes = np.unique(clusters, return_counts=True)
    statistics.clusters, statistics.clustered_documents = int((sizes > 1).sum()), int(sizes[sizes > 1].sum())
    numbered = [SplitEntry(*entry, number) for entry, number in zip(entries, together.tolist(), strict=True)]
    held_out = choose_validation(numbered, config)
    in_validation = np.isin(together, list(held_out))
    done = 0
    with (
        replacing_file(folder / DOCUMENTS) as path,
        pq.ParquetWriter(path, DOCUMENT_SCHEMA, compression="zstd") as writer,
    ):
        for batch in _batches(work, last, total):
            held = in_validation[done : done + batch.num_rows]
            done += batch.num_rows
            split = pa.array(np.where(held, SPLITS[1], SPLITS[0]), pa.string())
            batch = batch.append_column("split", split).select(DOCUMENT_SCHEMA.names)
            writer.write_batch(batch)
            _count(batch, statistics)
    if {"filters", "rewrite"} & set(expand_steps(config.steps)):
        bounds = Bounds(config.bounds)
        statistics.default_bounds = sorted(
            language for language in statistics.languages if language != CODE and bounds.is_default(language)
        )


def write_dropped(work: Path, stages: int, total: int, folder: Path) -> None:
    """Gather what all stages dropped, in the order of stages and partitions."""
    with (
        replacing_file(folder / DROPPED) as path,
        pq.ParquetWriter(path, DROPPED_SCHEMA, compression="zstd") as writer,
    ):
        for index in range(stages):
            for batch in _batches(work, index, total, "dropped"):
                writer.write_batch(batch)


def _batches(work: Path, stage: int, total: int, what: str = "part") -> Iterator[pa.RecordBatch]:
    for number in range(total):
        with pq.ParquetFile(stage_folder(work, stage) / f"{what}-{number:05d}.parquet") as file:
            yield from file.iter_batches(batch_size=1024)


def _entries(work: Path, last: int, total: int) -> list[tuple[str, str, int]]:
    entries: list[tuple[str, str, int]] = []
    for batch in _batches(work, last, total):
        sizes = pc.binary_length(batch.column("text")).to_pylist()
        columns = (batch.column(name).to_pylist() for name in ("id", "language"))
        entries += zip(*columns, sizes, strict=True)
    return entries


def _clusters(work: Path, last: int, total: int, config: CorpusConfig) -> tuple[np.ndarray, np.ndarray]:
    """Cluster numbers with and without what groups join."""
    sketches, groups = Sketches(), list[str | None]()
    for number in range(total):
        measures = read_measures(work, last, number)
        stops = np.cumsum(measures["lengths"])[:-1]
        sketches.hashes += np.split(np.asarray(measures["hashes"]), stops) if len(measures["lengths"]) else []
        sketches.scales += measures["scales"].tolist()
    for batch in _batches(work, last, total):
        groups += batch.column("group").to_pylist()
    clusters = cluster(sketches, config.near_duplicate_overlap)
    return join_groups(clusters, groups), clusters


def _nothing_left(config: CorpusConfig, statistics: CorpusStatistics) -> DataError:
    reasons = Counter[str]()
    for counts in statistics.steps.values():
        reasons.update({reason: number for reason, number in counts.items() if reason != "kept"})
    why = (
        ", ".join(f"{number} {reason}" for reason, number in reasons.most_common()) or "the sources hold none"
    )
    return DataError(
        f"no document is left of {', '.join(config.sources)}: {why}", do="add sources or relax the settings"
    )


def _count(batch: pa.RecordBatch, statistics: CorpusStatistics) -> None:
    sizes = pc.binary_length(batch.column("text")).to_pylist()
    columns = [batch.column(name).to_pylist() for name in ("language", "split", "source", "licence")]
    for language, split, source, licence, size in zip(*columns, sizes, strict=True):
        of_language = statistics.languages.setdefault(
            language, {name: {"documents": 0, "bytes": 0} for name in SPLITS}
        )
        of_language[split]["documents"] += 1
        of_language[split]["bytes"] += size
        name = source.partition(":")[0] if ":" in source else str(Path(source).parent)
        statistics.sources[name] = statistics.sources.get(name, 0) + 1
        licence = licence or "unknown"
        statistics.licences[licence] = statistics.licences.get(licence, 0) + 1
        statistics.documents += 1
        statistics.num_bytes += size
