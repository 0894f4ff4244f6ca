"""Turn files of each kind into documents."""

from __future__ import annotations

import csv
import itertools
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from hortus.corpus.config import CODE, CorpusConfig
from hortus.corpus.documents import Document
from hortus.corpus.files import ReadLog, cut_parts, decode_blocks, kind_of, not_utf8, open_bytes, repaired
from hortus.corpus.licences import licence_of_file
from hortus.corpus.warc import read_warc
from hortus.errors import DataError

__all__ = ["Span", "read_file"]

MAX_LINE_BYTES = 256_000_000


@dataclass(frozen=True)
class Span:
    """The lines that begin at bytes start to stop of a file."""

    start: int
    stop: int


def read_file(
    path: Path, config: CorpusConfig, log: ReadLog, span: Span | None = None, root: Path | None = None
) -> Iterator[Document]:
    """The documents of one file.

    Args:
        span: of a jsonl file, only the lines that begin there.
        root: the top of a source tree, for the licence of code.

    Raises:
        DataError: corrupt, not UTF-8, or without the text column; names the file and the place in it.
    """
    match kind_of(path):
        case "jsonl":
            yield from _read_jsonl(path, config, log, span)
        case "parquet":
            yield from _read_parquet(path, config)
        case "csv":
            yield from _read_csv(path, config, log)
        case "warc":
            yield from read_warc(path, config.repair, log)
        case kind:
            yield from _read_text(path, config, log, kind == CODE, root or path.parent)


def _read_text(
    path: Path, config: CorpusConfig, log: ReadLog, is_code: bool, root: Path
) -> Iterator[Document]:
    with open_bytes(path) as stream:
        blocks = decode_blocks(stream, path, config.repair, log)
        first = next(blocks, "")
        if "\0" in first:
            log.skipped["binary files"] += 1
            return
        licence = licence_of_file(path, first, root) if is_code else None
        for part in cut_parts(itertools.chain([first], blocks), config.part_characters):
            yield Document(part, str(path), CODE if is_code else None, licence=licence)


def _read_jsonl(path: Path, config: CorpusConfig, log: ReadLog, span: Span | None) -> Iterator[Document]:
    with open_bytes(path) as stream:
        offset = 0
        if span and span.start:
            # The line that begins before belongs to the span before.
            stream.seek(span.start - 1)
            offset = span.start - 1 + len(stream.readline())
        for number in itertools.count(1):
            if span and offset >= span.stop:
                return
            place = f"{path}, line {number}" if not (span and span.start) else f"{path}, byte {offset}"
            line, size = _next_line(stream, place, config, log)
            if not size:
                return
            text = _decode_line(line, path, offset, config, log)
            offset += size
            if not text.strip():
                continue
            try:
                yield _row_document(_parse_line(text, place), place, path, config, log)
            except DataError:
                if not config.repair or number == 1:  # a wrong column name shows at once
                    raise
                log.broken[str(path)] += 1


def _next_line(stream: BinaryIO, place: str, config: CorpusConfig, log: ReadLog) -> tuple[bytes, int]:
    """The next line and the bytes read for it: 0 at the end, or where a broken file ends under `repair`."""
    try:
        line = stream.readline(MAX_LINE_BYTES)
        size = len(line)
        if size < MAX_LINE_BYTES or line.endswith(b"\n"):
            return line, size
        while not line.endswith(b"\n") and (line := stream.readline(MAX_LINE_BYTES)):
            size += len(line)
    except DataError:
        if not config.repair:
            raise
        log.broken[place.rpartition(", ")[0]] += 1
        return b"", 0
    if not config.repair:
        raise DataError(
            f"{place} has {size:,} bytes",
            allowed=f"{MAX_LINE_BYTES:,}",
            do="split it, or set repair: true to skip it",
        )
    log.skipped["overlong lines"] += 1
    return b"", size


def _decode_line(line: bytes, path: Path, offset: int, config: CorpusConfig, log: ReadLog) -> str:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        if not config.repair:
            raise not_utf8(path, offset + error.start) from error
        text = repaired(line, path, log)
    return text.removeprefix("\ufeff") if offset == 0 else text


def _parse_line(text: str, place: str) -> dict[str, Any]:
    try:
        row = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        message = getattr(error, "msg", "nested too deeply")
        raise DataError(f"{place} is not JSON: {message}", do="mend or remove the line") from error
    if not isinstance(row, dict):
        raise DataError(f"{place} is a {type(row).__name__}", allowed="one JSON object a line")
    return row


def _value(row: dict[str, Any], column: str) -> Any:
    """The value of a column; a dot goes into a nested object where no column has the whole name."""
    value: Any = row
    for name in [column] if column in row else column.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _row_document(
    row: dict[str, Any], place: str, path: Path, config: CorpusConfig, log: ReadLog
) -> Document:
    if config.text_column not in row and _value(row, config.text_column) is None:
        raise _no_text_column(place, config.text_column, list(row))
    text, language, url = (
        _value(row, name) for name in (config.text_column, config.language_column, config.url_column)
    )
    text = "" if text is None else text
    for name, value in ((config.text_column, text), (config.language_column, language)):
        if value is not None and not isinstance(value, str):
            raise DataError(
                f"{place}: {name!r} is a {type(value).__name__}", allowed="text", do="name another column"
            )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        if not config.repair:
            raise DataError(
                f"{place}: {config.text_column!r} holds half a surrogate pair",
                do="mend it, or set repair: true",
            ) from error
        # A backslash-u escape of half a pair stands for no character.
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        log.repaired[str(path)] += 1
    return Document(text, str(path), language or None, url=url if isinstance(url, str) else None)


def _read_csv(path: Path, config: CorpusConfig, log: ReadLog) -> Iterator[Document]:
    csv.field_size_limit(min(sys.maxsize, MAX_LINE_BYTES))
    tabs = ".tsv" in path.suffixes
    with open_bytes(path) as stream:
        lines = _lines(decode_blocks(stream, path, config.repair, log))
        reader = csv.DictReader(lines, delimiter="\t" if tabs else ",")
        try:
            for row in reader:
                if config.text_column not in row:
                    raise _no_text_column(str(path), config.text_column, [str(name) for name in row])
                place = f"{path}, line {reader.line_num}"
                yield _row_document(row, place, path, config, log)
        except csv.Error as error:
            raise DataError(f"{path}, line {reader.line_num}: {error}", do="mend the line") from error


def _lines(blocks: Iterator[str]) -> Iterator[str]:
    rest = ""
    for block in blocks:
        *lines, rest = (rest + block).replace("\0", "").split("\n")
        yield from (f"{line}\n" for line in lines)
    if rest:
        yield rest


def _no_text_column(place: str, column: str, columns: list[str]) -> DataError:
    return DataError(
        f"{place} has no column {column!r}; it has: {', '.join(columns) or 'none'}",
        do="name the column that holds the text: text_column (--text-column)",
    )


def _read_parquet(path: Path, config: CorpusConfig) -> Iterator[Document]:
    try:
        with pq.ParquetFile(path) as file:
            columns = _parquet_columns(file.schema_arrow, path, config)
            for batch in file.iter_batches(batch_size=1024, columns=columns):
                yield from _parquet_documents(batch, path, config)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{path} is not a readable parquet file: {error}", do="fetch or write it again"
        ) from error


def _parquet_columns(schema: pa.Schema, path: Path, config: CorpusConfig) -> list[str]:
    if config.text_column not in schema.names:
        raise _no_text_column(str(path), config.text_column, schema.names)
    wanted = (config.text_column, config.language_column, config.url_column)
    columns = [name for name in wanted if name in schema.names]
    for name in columns:
        kind = schema.field(name).type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
            raise DataError(
                f"{path}: the column {name!r} is {kind}", allowed="text", do="name another column"
            )
    return columns


def _parquet_documents(batch: pa.RecordBatch, path: Path, config: CorpusConfig) -> Iterator[Document]:
    try:
        texts = batch.column(config.text_column).to_pylist()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: {config.text_column!r} is not UTF-8", do="write the file again") from error
    others = [
        batch.column(name).to_pylist() if name in batch.schema.names else [None] * len(texts)
        for name in (config.language_column, config.url_column)
    ]
    for text, language, url in zip(texts, *others, strict=True):
        yield Document(text or "", str(path), language or None, url=url)
