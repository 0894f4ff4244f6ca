"""Random access to the rows of jsonl, csv, tsv and parquet files without reading them whole.

A text file is mapped and only the byte offsets of its records are kept (16 bytes a row); a parquet file is
read by row group, of which the last few stay decoded. `blocks` names the stretches of rows that are cheap to
read together, which is what a shuffle needs to know.
"""

from __future__ import annotations

import bisect
import csv
import io
import json
import mmap
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from hortus.errors import DataError
from hortus.prompts.sampling import keyed

__all__ = ["ChainedRows", "ChosenRows", "ListRows", "ParquetRows", "Rows", "TextRows", "open_file"]

Row = dict[str, Any]

SCAN_BYTES = 1 << 24
ROW_GROUPS_KEPT = 16
# Rows of a jsonl file that are read to learn its columns; a field that first appears later is still kept.
COLUMN_ROWS = 1000
SUFFIXES = (".jsonl", ".csv", ".tsv", ".parquet")


class Rows(Protocol):
    """Numbered rows: what every source looks like."""

    columns: tuple[str, ...]
    blocks: list[tuple[int, int]]
    class_names: dict[str, tuple[str, ...]]

    def __len__(self) -> int: ...

    def row(self, index: int) -> Row: ...


class ListRows:
    """Rows that are in memory."""

    def __init__(self, rows: Sequence[Row]):
        self._rows = rows
        self.columns = tuple(dict.fromkeys(name for row in rows[:COLUMN_ROWS] for name in row))
        self.blocks = [(0, len(rows))]
        self.class_names: dict[str, tuple[str, ...]] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, index: int) -> Row:
        return dict.fromkeys(self.columns) | self._rows[index]


class TextRows:
    """Records of a text file; `parse(text, where)` makes a row of one."""

    def __init__(
        self, path: Path, encoding: str, quoted: bool, header: bool, parse: Callable[[str, str], Row]
    ):
        self.path, self.encoding, self.parse = path, encoding, parse
        with path.open("rb") as file:
            if path.stat().st_size == 0:
                raise DataError(f"{path} is empty")
            self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        starts, stops = _records(self._bytes, quoted)
        self.header_text = self._text(starts[0], stops[0]) if header and len(starts) else ""
        self._starts, self._stops = (starts[1:], stops[1:]) if header else (starts, stops)
        self._first_record = 2 if header else 1
        self.columns: tuple[str, ...] = ()
        self.blocks = [(0, len(self._starts))]
        self.class_names: dict[str, tuple[str, ...]] = {}

    def __len__(self) -> int:
        return len(self._starts)

    def row(self, index: int) -> Row:
        where = f"{self.path}, record {index + self._first_record}"
        try:
            text = self._text(self._starts[index], self._stops[index])
        except UnicodeDecodeError as error:
            raise DataError(
                f"{where} is not {self.encoding}: {error}", do="set the dataset's encoding"
            ) from error
        return self.parse(text, where)

    def _text(self, start: int, stop: int) -> str:
        return self._bytes[start:stop].decode(self.encoding).rstrip("\r\n")


def _records(data: mmap.mmap, quoted: bool) -> tuple[np.ndarray, np.ndarray]:
    """Start and stop offsets of the records that are not blank; a quoted line break ends none."""
    ends: list[np.ndarray] = []
    open_quote = 0
    for offset in range(0, len(data), SCAN_BYTES):
        chunk = np.frombuffer(data[offset : offset + SCAN_BYTES], dtype=np.uint8)
        breaks = np.flatnonzero(chunk == ord("\n"))
        if quoted:
            # A doubled quote inside quotes leaves the parity as it was.
            quotes = np.cumsum(chunk == ord('"'), dtype=np.int64) + open_quote
            breaks = breaks[quotes[breaks] % 2 == 0]
            open_quote = int(quotes[-1])
        ends.append(breaks.astype(np.int64) + offset + 1)
    stops = np.concatenate(ends)
    if not len(stops) or stops[-1] != len(data):
        stops = np.append(stops, len(data))
    starts = np.concatenate([[0], stops[:-1]])
    short = np.flatnonzero(stops - starts <= 2)
    keep = np.ones(len(starts), dtype=bool)
    keep[short] = [bool(data[starts[record] : stops[record]].strip()) for record in short]
    return starts[keep], stops[keep]


def _json_row(text: str, where: str) -> Row:
    try:
        row = json.loads(text)
    except ValueError as error:
        raise DataError(f"{where} is not JSON: {error}") from error
    if not isinstance(row, dict):
        raise DataError(f"{where} is {type(row).__name__}", allowed="one JSON object a line")
    return row


def _jsonl(path: Path, encoding: str) -> TextRows:
    rows = TextRows(path, encoding, quoted=False, header=False, parse=_json_row)
    first = [rows.row(index) for index in range(min(len(rows), COLUMN_ROWS))]
    rows.columns = tuple(dict.fromkeys(name for row in first for name in row))
    # A field that a row leaves out is null, as in every columnar form of the same data.
    rows.parse = lambda text, where: dict.fromkeys(rows.columns) | _json_row(text, where)
    return rows


def _csv_fields(text: str) -> list[str]:
    return next(csv.reader(io.StringIO(text, newline=""), strict=True))


def _delimited(
    path: Path, encoding: str, names: tuple[str, ...], split: Callable[[str], list[str]]
) -> TextRows:
    def parse(text: str, where: str) -> Row:
        try:
            values = split(text)
        except csv.Error as error:
            raise DataError(f"{where}: {error}") from error
        if len(values) != len(rows.columns):
            raise DataError(
                f"{where} has {len(values)} fields", allowed=f"{len(rows.columns)}: {', '.join(rows.columns)}"
            )
        return dict(zip(rows.columns, values, strict=True))

    rows = TextRows(path, encoding, quoted=split is _csv_fields, header=not names, parse=parse)
    rows.columns = names or tuple(split(rows.header_text.removeprefix("\ufeff")))
    if len(set(rows.columns)) < len(rows.columns):
        raise DataError(
            f"{path} names a column twice: {', '.join(rows.columns)}", do="give `names` for its columns"
        )
    return rows


class ParquetRows:
    """Rows of a parquet file; a row group is decoded when it is first needed."""

    def __init__(self, path: Path):
        import pyarrow.parquet

        try:
            self._file = pyarrow.parquet.ParquetFile(path, memory_map=True)
        except (OSError, pyarrow.ArrowException) as error:
            raise DataError(f"{path} is not a readable parquet file: {error}") from error
        self.columns = tuple(self._file.schema_arrow.names)
        self.class_names = _class_names(self._file.schema_arrow.metadata or {})
        sizes = [self._file.metadata.row_group(group).num_rows for group in range(self._file.num_row_groups)]
        stops = np.cumsum(sizes, dtype=np.int64).tolist()
        self.blocks = list(zip([0, *stops[:-1]], stops, strict=True)) if stops else []
        self._groups: OrderedDict[int, Any] = OrderedDict()

    def __len__(self) -> int:
        return self.blocks[-1][1] if self.blocks else 0

    def row(self, index: int) -> Row:
        group = bisect.bisect_right(self.blocks, index, key=lambda block: block[1])
        offset = index - self.blocks[group][0]
        row: Row = self._group(group).slice(offset, 1).to_pylist()[0]
        return row

    def _group(self, group: int) -> Any:
        if group not in self._groups:
            self._groups[group] = self._file.read_row_group(group)
            if len(self._groups) > ROW_GROUPS_KEPT:
                self._groups.popitem(last=False)
        self._groups.move_to_end(group)
        return self._groups[group]


def _class_names(metadata: dict[bytes, bytes]) -> dict[str, tuple[str, ...]]:
    """Class names that the hub's writer left in a parquet file's schema."""
    features = json.loads(metadata.get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    return {
        name: tuple(feature["names"])
        for name, feature in features.items()
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and feature.get("names")
    }


class ChainedRows:
    """Several files one after the other."""

    def __init__(self, parts: Sequence[Rows]):
        self._parts = parts
        self.columns = parts[0].columns
        self.class_names = parts[0].class_names
        stops = np.cumsum([len(part) for part in parts]).tolist()
        self._starts = [0, *stops]
        self.blocks = list(self._blocks())

    def _blocks(self) -> Iterator[tuple[int, int]]:
        for part, offset in zip(self._parts, self._starts, strict=False):
            yield from ((start + offset, stop + offset) for start, stop in part.blocks)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def row(self, index: int) -> Row:
        part = bisect.bisect_right(self._starts, index) - 1
        return self._parts[part].row(index - self._starts[part])


class ChosenRows:
    """One row of every `step` of the first `length`, drawn by the number of the stretch; or all the others.

    Drawn rather than every `step`-th, which would be one kind of row where kinds take turns.
    """

    def __init__(self, rows: Rows, length: int, step: int, kept: bool):
        self._rows, self._step, self._kept = rows, step, kept
        self.columns, self.class_names = rows.columns, rows.class_names
        cut = ((start, min(stop, length)) for start, stop in rows.blocks if start < length)
        blocks = ((self._before(start), self._before(stop)) for start, stop in cut)
        self.blocks = [(start, stop) for start, stop in blocks if stop > start]
        self._length = self._before(length)

    def _drawn(self, stretch: int) -> int:
        return keyed("held out", stretch) % self._step

    def _before(self, index: int) -> int:
        """How many of the rows before `index` are chosen."""
        stretch, place = divmod(index, self._step)
        kept = stretch + (place > self._drawn(stretch))
        return kept if self._kept else index - kept

    def __len__(self) -> int:
        return self._length

    def row(self, index: int) -> Row:
        if self._kept:
            return self._rows.row(index * self._step + self._drawn(index))
        stretch, place = divmod(index, self._step - 1)
        return self._rows.row(stretch * self._step + place + (place >= self._drawn(stretch)))


def open_file(path: Path, encoding: str = "utf-8", names: tuple[str, ...] = ()) -> Rows:
    """Open one data file by its suffix; tsv has no quoting, csv has the usual one.

    Raises:
        DataError: the suffix is unknown, or the file is missing, empty or unreadable.
    """
    if not path.is_file():
        raise DataError(f"there is no file {path}")
    if path.suffix == ".parquet":
        return ParquetRows(path)
    if path.suffix == ".jsonl":
        return _jsonl(path, encoding)
    if path.suffix == ".csv":
        return _delimited(path, encoding, names, _csv_fields)
    if path.suffix == ".tsv":
        return _delimited(path, encoding, names, lambda text: text.split("\t"))
    raise DataError(f"{path} has no known data suffix", allowed=", ".join(SUFFIXES))
