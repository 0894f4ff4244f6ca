"""`hortus corpus`: build a corpus from sources, and show what is in one."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import cyclopts
from cyclopts import Parameter

from hortus.corpus.config import CorpusConfig
from hortus.report import Table

__all__ = ["app", "build", "print_table", "stats"]

app = cyclopts.App(name="corpus", help="Build a clean corpus from files and folders.")
DEFAULTS = CorpusConfig()


@app.command
def build(
    *,
    sources: Annotated[tuple[str, ...], Parameter(consume_multiple=True, negative=())],
    output: Path,
    text_column: str = DEFAULTS.text_column,
    language_column: str = DEFAULTS.language_column,
    language: str | None = None,
    repair: Annotated[bool, Parameter(negative=())] = False,
    min_characters: int = DEFAULTS.min_characters,
    validation_fraction: float = DEFAULTS.validation_fraction,
    seed: int = DEFAULTS.seed,
    json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> None:
    """Read sources, drop duplicates, hold documents out, write documents.parquet.

    Parameters
    ----------
    sources
        Folders, files, globs, or the built-in chatterbot and stdlib.
    output
        Folder for documents.parquet, dropped.parquet and statistics.json.
    text_column
        Column of jsonl and parquet rows that holds the text.
    language_column
        Column that holds the language, where there is one.
    language
        Language of documents that name none; without it, it is identified.
    repair
        Read bytes that are not UTF-8 as Windows-1252 instead of stopping.
    min_characters
        Drop shorter documents.
    validation_fraction
        Share of documents held out.
    seed
        Another seed holds out other documents.
    json
        Print one JSON object.
    """
    from hortus.corpus.build import build_corpus

    config = replace(
        DEFAULTS,
        sources=sources,
        text_column=text_column,
        language_column=language_column,
        language=language,
        repair=repair,
        min_characters=min_characters,
        validation_fraction=validation_fraction,
        seed=seed,
    )
    build_corpus(config, output, progress=_progress)
    print(file=sys.stderr)
    _show(output, json)


@app.command
def stats(folder: Path, *, json: Annotated[bool, Parameter(name="--json", negative=())] = False) -> None:
    """Show what a corpus holds, by language, step and source.

    Parameters
    ----------
    folder
        What `hortus corpus build` wrote.
    json
        Print one JSON object.
    """
    _show(folder, json)


def _progress(documents: int, num_bytes: int) -> None:
    print(f"\r{documents:,} documents, {num_bytes / 1e6:,.1f} MB read", end="", file=sys.stderr, flush=True)


def _show(folder: Path, as_json: bool) -> None:
    from hortus.corpus.build import read_statistics

    statistics = read_statistics(folder)
    if as_json:
        print(json.dumps({"folder": str(folder), **statistics.to_mapping()}, ensure_ascii=False))
        return
    from hortus.corpus.stage import corpus_tables

    for table in corpus_tables(statistics):
        print_table(table)


def print_table(table: Table) -> None:
    """Print a report's table on the terminal."""
    from rich.console import Console
    from rich.table import Table as RichTable

    printed = RichTable(title=table.title, title_justify="left")
    for column in table.columns:
        printed.add_column(column, overflow="fold")
    for row in table.rows:
        printed.add_row(*(f"{value:,}" if isinstance(value, int) else str(value) for value in row))
    Console().print(printed)
