"""Turn files of each kind into documents."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hortus.corpus.config import CODE, CorpusConfig
from hortus.corpus.documents import Document
from hortus.corpus.files import ReadLog, cut_parts, decode_blocks, kind_of, not_utf8, open_bytes, repaired
from hortus.errors import DataError

__all__ = ["read_file"]


def read_file(path: Path, config: CorpusConfig, log: ReadLog) -> Iterator[Document]:
    """The documents of one file.

    Raises:
        DataError: corrupt, not UTF-8, or without the text column; names the file and the place in it.
    """
    kind = kind_of(path)
    if kind == "jsonl":
        yield from _read_jsonl(path, config, log)
    elif kind == "parquet":
        yield from _read_parquet(path, config)
    else:
        language = CODE if kind == "code" else None
        with open_bytes(path) as stream:
            for part in cut_parts(decode_blocks(stream, path, config.repair, log), config.part_characters):
                yield Document(part, str(path), language)


def _read_jsonl(path: Path, config: CorpusConfig, log: ReadLog) -> Iterator[Document]:
    offset = 0
    with open_bytes(path) as stream:
        for number, line in enumerate(stream, start=1):
            text = _decode_line(line, path, offset, config, log)
            offset += len(line)
            if text.strip():
                yield _row_document(
                    _parse_line(text, path, number), f"{path}, line {number}", path, config, log
                )


def _decode_line(line: bytes, path: Path, offset: int, config: CorpusConfig, log: ReadLog) -> str:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        if not config.repair:
            raise not_utf8(path, offset + error.start) from error
        text = repaired(line, path, log)
    return text.removeprefix("\ufeff") if offset == 0 else text


def _parse_line(text: str, path: Path, number: int) -> dict[str, Any]:
    try:
        row = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        message = getattr(error, "msg", "nested too deeply")
        raise DataError(
            f"{path}, line {number} is not JSON: {message}", do="mend or remove the line"
        ) from error
    if not isinstance(row, dict):
        raise DataError(f"{path}, line {number} is a {type(row).__name__}", allowed="one JSON object a line")
    return row


def _row_document(
    row: dict[str, Any], place: str, path: Path, config: CorpusConfig, log: ReadLog
) -> Document:
    if config.text_column not in row:
        raise _no_text_column(place, config.text_column, list(row))
    text, language = row[config.text_column], row.get(config.language_column)
    if text is None:
        text = ""  # dropped as empty, with the count in the report
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
    return Document(text, str(path), language or None)


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
    columns = [name for name in (config.text_column, config.language_column) if name in schema.names]
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
    named = config.language_column in batch.schema.names
    languages = batch.column(config.language_column).to_pylist() if named else [None] * len(texts)
    for text, language in zip(texts, languages, strict=True):
        yield Document(text or "", str(path), language or None)
