"""Cut the sources into partitions, and read one.

A partition is what is read, written and, after a crash, done again as one: files gathered to about
`partition_bytes`, or a span of a large jsonl or parquet file. Partitions and what is in them depend on the
sources and the settings alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from hortus.corpus.builtin import BUILTIN
from hortus.corpus.catalogue import HUB, Source, list_sources
from hortus.corpus.config import CorpusConfig
from hortus.corpus.documents import Document
from hortus.corpus.files import ReadLog, find_files, kind_of
from hortus.corpus.hub import fetch_hub_file, list_hub_files
from hortus.corpus.readers import Span, read_file
from hortus.corpus.steps.cleaning import Clean, Dropped

__all__ = ["Partition", "plan_partitions", "read_partition", "read_sources", "source_files"]

# Files of one source that a partition gathers; each entry is (path, first byte, end).
MAX_FILES = 4096


@dataclass(frozen=True, kw_only=True)
class Partition:
    """Part of one source. `pieces`: (path or built-in or hub file, start, stop); 0, 0 is the whole file."""

    source: Source
    pieces: tuple[tuple[str, int, int], ...]
    root: str = ""


def plan_partitions(config: CorpusConfig, log: ReadLog) -> list[Partition]:
    """The partitions of all sources, in the order given; files in the order of their names.

    Every path is looked up before the first document is read, so a mistyped one costs no time.

    Raises:
        DataError: a source is missing or holds nothing of a known kind.
    """
    partitions: list[Partition] = []
    for source in list_sources(config):
        if source.path in BUILTIN:
            partitions.append(Partition(source=source, pieces=((source.path, 0, 0),)))
        elif source.path.startswith(HUB):
            source, names = list_hub_files(source)
            partitions += [Partition(source=source, pieces=((name, 0, 0),)) for name in names]
        else:
            root = Path(source.path).expanduser()
            files = find_files(source.path, log)
            for pieces in _gathered(files, config.partition_bytes):
                folder = str(root if root.is_dir() else "")
                partitions.append(Partition(source=source, pieces=pieces, root=folder))
    return partitions


def _gathered(files: list[Path], wanted: int) -> Iterator[tuple[tuple[str, int, int], ...]]:
    pieces: list[tuple[str, int, int]] = []
    size = 0
    for path in files:
        num_bytes = path.stat().st_size
        if num_bytes > 2 * wanted and kind_of(path) == "jsonl" and path.suffix not in (".gz", ".zst"):
            if pieces:
                yield tuple(pieces)
                pieces, size = [], 0
            yield from (
                ((str(path), start, min(start + wanted, num_bytes)),) for start in range(0, num_bytes, wanted)
            )
            continue
        pieces.append((str(path), 0, 0))
        size += num_bytes
        if size >= wanted or len(pieces) >= MAX_FILES:
            yield tuple(pieces)
            pieces, size = [], 0
    if pieces:
        yield tuple(pieces)


def read_partition(partition: Partition, config: CorpusConfig, log: ReadLog) -> Iterator[Document]:
    """The documents of a partition in order, with the source's language and licence.

    Raises:
        DataError: a file is broken.
    """
    source = partition.source
    settings = source.settings(config)
    clean = Clean(source.cleaning)
    for piece, start, stop in partition.pieces:
        if piece in BUILTIN:
            documents = BUILTIN[piece](settings, log)
        else:
            path = fetch_hub_file(piece) if piece.startswith(HUB) else Path(piece)
            span = Span(start, stop) if stop else None
            documents = read_file(
                path, settings, log, span, Path(partition.root) if partition.root else path.parent
            )
        for document in documents:
            named = document.source if piece in BUILTIN else piece
            text = document.text
            for function in clean.functions:
                text = function(text)
                if isinstance(text, Dropped):
                    log.skipped[f"cleaning: {text}"] += 1
                    break
            else:
                yield replace(
                    document,
                    text=text,
                    source=f"{source.name}:{named}" if source.name else named,
                    language=document.language or source.language,
                    licence=document.licence or source.licence,
                )


def read_sources(config: CorpusConfig, log: ReadLog) -> Iterator[Document]:
    """All documents of all sources.

    Raises:
        DataError: a source is missing, empty or broken.
    """
    for partition in plan_partitions(config, log):
        yield from read_partition(partition, config, log)


def source_files(config: CorpusConfig) -> list[Path]:
    """The user's files that a build reads or is steered by, built-in and hub sources left out.

    Raises:
        DataError: a source is missing or empty.
    """
    log = ReadLog()
    local = [
        source
        for source in list_sources(config)
        if source.path not in BUILTIN and not source.path.startswith(HUB)
    ]
    steering = [Path(entry) for entry in config.sources if Path(entry).suffix in (".yaml", ".yml")]
    steering += [path for path in (config.bounds, config.flagged_words) if path]
    steering += [Path(path) for path in config.evaluation_sets]
    return [path for source in local for path in find_files(source.path, log)] + steering
