"""Open the sources that a configuration names, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hortus.corpus.builtin import BUILTIN
from hortus.corpus.config import CorpusConfig
from hortus.corpus.documents import Document
from hortus.corpus.files import ReadLog, find_files
from hortus.corpus.readers import read_file

__all__ = ["read_sources", "source_files"]


def read_sources(config: CorpusConfig, log: ReadLog) -> Iterator[Document]:
    """All documents of all sources, in the order given; files in the order of their names.

    Every path is looked up before the first document is read, so a mistyped one costs no time.

    Raises:
        DataError: a source is missing, empty or broken.
    """
    opened: list[str | list[Path]] = []
    for source in config.sources:
        opened.append(source if source in BUILTIN else find_files(source, log))
    for files in opened:
        if isinstance(files, str):
            yield from BUILTIN[files](config, log)
        else:
            for path in files:
                yield from read_file(path, config, log)


def source_files(config: CorpusConfig) -> list[Path]:
    """The user's files that a build reads, built-in sources left out.

    Raises:
        DataError: a source is missing or empty.
    """
    log = ReadLog()
    return [path for source in config.sources if source not in BUILTIN for path in find_files(source, log)]
