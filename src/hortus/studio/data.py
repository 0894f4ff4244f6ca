"""Opened data: rows by number for templates, and columns for search, filter, sort and balance.

Rows come from `hortus.prompts.Dataset`, so that a template sees here what it sees anywhere. Beside them each
field is kept once as an Arrow column of texts: searching 100,000 rows is one pass of a compiled kernel.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hortus.config import to_mapping
from hortus.errors import ConfigError, DataError, HortusError, nearest
from hortus.prompts import Dataset, DatasetConfig, load_dataset
from hortus.prompts.hub import find_files
from hortus.prompts.rows import open_file
from hortus.studio.config import DataSource, WorkingRequest

__all__ = ["OpenData", "Table", "shortened"]

MOST_ROWS = 2_000_000
_KEPT_QUERIES = 8
_KEPT_TABLES = 4
_FEW_VALUES = 50
_LONG = 2000
_LABEL_NAMES = ("label", "labels", "class", "category", "target", "answer", "topic", "sentiment", "gold")


@dataclass(frozen=True)
class Column:
    """One field of all rows: as text, and as what it is sorted by."""

    kind: str
    texts: pa.Array
    order: pa.Array


class Table:
    """A dataset with its columns.

    >>> table = Table(load_dataset([{"text": "A cat", "label": 1}, {"text": "a dog", "label": 0}]), "pets")
    >>> table.find(search="CAT").tolist(), table.find(sort="label").tolist()
    ([0], [1, 0])
    >>> table.balance("label")["values"]
    [{'value': '0', 'count': 1}, {'value': '1', 'count': 1}]
    """

    def __init__(self, dataset: Dataset, name: str, fingerprint: str = ""):
        if len(dataset) > MOST_ROWS:
            raise DataError(f"{name} has {len(dataset)} rows", allowed=f"up to {MOST_ROWS}", do="take a part")
        self.dataset, self.name, self.fingerprint = dataset, name, fingerprint
        values: dict[str, list[Any]] = {field: [] for field in dataset.columns}
        for row in dataset:
            for field, column in values.items():
                column.append(row.get(field))
        self._lock = threading.Lock()
        self._queries: OrderedDict[Any, np.ndarray] = OrderedDict()
        self.columns: dict[str, Column] = {}
        for field in list(values):
            self.columns[field] = _column(values.pop(field))

    def __len__(self) -> int:
        return len(self.dataset)

    def row(self, index: int) -> dict[str, Any]:
        """One row's values.

        Raises:
            DataError: there is no such row.
        """
        if not 0 <= index < len(self):
            raise DataError(f"row {index}", allowed=f"0 to {len(self) - 1}")
        with self._lock:  # the rows' reader keeps decoded parts
            return self.dataset[index]

    def fields(self) -> list[dict[str, Any]]:
        """What each field holds."""
        return [
            {
                "name": name,
                "kind": column.kind,
                "distinct": self._distinct(name),
                "example": next((t[:200] for t in column.texts.slice(0, 100).to_pylist() if t), ""),
                "empty": int(pc.sum(pc.equal(column.texts, "")).as_py() or 0),
            }
            for name, column in self.columns.items()
        ]

    def _distinct(self, name: str) -> int | None:
        number = pc.count_distinct(self.column(name).texts).as_py()
        return number if number <= _FEW_VALUES else None

    def column(self, field: str) -> Column:
        """A field's column.

        Raises:
            DataError: there is no such field.
        """
        if field not in self.columns:
            raise DataError(f"{self.name} has no field {field!r}", do=nearest(field, self.columns))
        return self.columns[field]

    def find(
        self,
        search: str = "",
        field: str = "",
        filters: Sequence[str] = (),
        sort: str = "",
        descending: bool = False,
    ) -> np.ndarray:
        """Numbers of the rows that hold a text and fulfil filters, in order.

        Args:
            search: without regard to case; in any field, or in `field`.
            filters: FIELD=VALUE, all of which must hold.
            sort: a field; rows of equal value keep their order.
        """
        key = (search, field, tuple(filters), sort, descending)
        with self._lock:
            if key in self._queries:
                self._queries.move_to_end(key)
                return self._queries[key]
        kept = np.ones(len(self), dtype=bool)
        if search:
            looked = [self.column(field)] if field else list(self.columns.values())
            found = [pc.match_substring(column.texts, search, ignore_case=True) for column in looked]
            kept &= np.logical_or.reduce([mask.to_numpy(zero_copy_only=False) for mask in found])
        for text in filters:
            name, equals, value = text.partition("=")
            if not equals:
                raise ConfigError(f"filter {text!r}", allowed="FIELD=VALUE")
            kept &= pc.equal(self.column(name).texts, value).to_numpy(zero_copy_only=False)
        rows = np.flatnonzero(kept)
        if sort:
            rows = rows[_order(self.column(sort).order.take(pa.array(rows)), descending)]
        with self._lock:
            self._queries[key] = rows
            while len(self._queries) > _KEPT_QUERIES:
                self._queries.popitem(last=False)
        return rows

    def balance(self, field: str, search: str = "", filters: Sequence[str] = ()) -> dict[str, Any]:
        """How often each value of a field occurs, the commonest first."""
        rows = self.find(search, "", filters)
        counts = pc.value_counts(self.column(field).texts.take(pa.array(rows))).to_pylist()
        counts.sort(key=lambda one: (-one["counts"], one["values"]))
        shown = [{"value": one["values"], "count": one["counts"]} for one in counts[:_FEW_VALUES]]
        other = sum(one["counts"] for one in counts[_FEW_VALUES:])
        return {"field": field, "total": len(rows), "values": shown, "other": other}

    def draw(self, request: WorkingRequest) -> list[int]:
        """The rows of a working set.

        Raises:
            DataError: nothing to draw from, or a picked row does not exist.
        """
        if request.how == "picked":
            rows = list(dict.fromkeys(request.rows))
            for row in rows:
                self.row(row)
            return rows
        found = self.find(request.search, "", request.filters)
        if not len(found):
            raise DataError("no row fulfils the search", do="widen it")
        generator = np.random.default_rng(request.seed)
        shuffled = generator.permutation(found)
        if request.how == "stratified":
            if request.field is None:
                raise ConfigError("a stratified working set without a field", do="name the label's field")
            shuffled = self._in_turns(shuffled, request.field)
        return sorted(map(int, shuffled[: request.count]))

    def _in_turns(self, rows: np.ndarray, field: str) -> np.ndarray:
        """The rows such that the values of a field take turns."""
        codes = self.column(field).texts.take(pa.array(rows)).dictionary_encode().indices.to_numpy()
        turn = np.zeros(len(rows), dtype=np.int64)
        for code in np.unique(codes):
            members = codes == code
            turn[members] = np.arange(members.sum())
        return rows[np.argsort(turn, kind="stable")]

    def guess_task(self) -> dict[str, Any]:
        """A first task: the field that looks like a label, its values as answers."""
        few = {name: self._distinct(name) for name in self.columns}
        likely = [name for name, number in few.items() if number and 2 <= number <= 20 and number < len(self)]
        likely.sort(key=lambda name: (name.lower() not in _LABEL_NAMES, few[name]))
        if not likely:
            return {"kind": "choices", "label": None, "classes": []}
        label = likely[0]
        names = self.dataset.class_names.get(label, ())
        values = sorted((one["value"] for one in self.balance(label)["values"]), key=_natural)
        values = [value for value in values if value not in ("", "-1")]
        worded = [names[int(v)] if v.isdigit() and int(v) < len(names) else v for v in values]
        classes = [{"value": v, "wording": w.replace("_", " ")} for v, w in zip(values, worded, strict=True)]
        return {"kind": "choices", "label": label, "classes": classes}

    def describe(self, source: DataSource) -> dict[str, Any]:
        """The data section of a project."""
        about = {
            "name": self.name,
            "rows": len(self),
            "fingerprint": self.fingerprint,
            "fields": self.fields(),
        }
        return {**to_mapping(source), **about, "missing": None}


def _order(values: pa.Array, descending: bool) -> np.ndarray:
    order = "descending" if descending else "ascending"
    table = pa.table({"value": values, "place": pa.array(np.arange(len(values)))})
    indices = pc.sort_indices(table, sort_keys=[("value", order), ("place", "ascending")])
    result: np.ndarray = indices.to_numpy()
    return result


def _natural(text: str) -> tuple[bool, float, str]:
    number = float(text) if re.fullmatch(r"-?\d+(\.\d+)?", text) else None
    return number is None, number or 0.0, text


def _text(value: Any) -> str:
    """A value as search and filters see it: as a template prints it; lists and mappings as JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        # A lone surrogate, which JSON can spell, has no UTF-8 form.
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=True, default=str)
    return str(value)


def _column(values: list[Any]) -> Column:
    texts = pa.array([_text(value) for value in values], pa.large_string())
    known = [value for value in values if value is not None and value != ""]
    if known and all(isinstance(value, bool) for value in known):
        return Column("true_false", texts, texts)
    if known and all(isinstance(value, int | float | str) for value in known):
        try:
            numbers = pa.array(
                [None if value is None or value == "" else float(value) for value in values], pa.float64()
            )
            return Column("number", texts, numbers)
        except (ValueError, OverflowError):
            return Column("text", texts, pc.utf8_lower(texts))
    listed = bool(known) and all(isinstance(value, list) for value in known)
    return Column("list" if listed else "text" if not known else "other", texts, pc.utf8_lower(texts))


def shortened(row: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """A row whose long texts are cut, and whether any was."""
    cut = {n: v[:_LONG] if isinstance(v, str) and len(v) > _LONG else v for n, v in row.items()}
    for name, value in cut.items():
        if isinstance(value, list | dict) and len(text := json.dumps(value, default=str)) > _LONG:
            cut[name] = text[:_LONG]
    return cut, cut != row


class OpenData:
    """The tables that projects have open; a few are kept, and read again when their files change."""

    def __init__(self) -> None:
        self._tables: OrderedDict[str, Table] = OrderedDict()
        self._lock = threading.Lock()

    def open(self, source: DataSource) -> Table:
        """The table of a source.

        Raises:
            DataError: it cannot be read; names the row.
        """
        fingerprint = self.check(source)
        with self._lock:
            if fingerprint not in self._tables:
                try:
                    self._tables[fingerprint] = Table(_dataset(source), Path(source.source).name, fingerprint)
                except HortusError:
                    raise
                except (OSError, ValueError, csv.Error, pa.ArrowException, RecursionError) as error:
                    first = str(error).splitlines()[0] if str(error) else type(error).__name__
                    raise DataError(f"{Path(source.source).name} cannot be read: {first}") from error
                while len(self._tables) > _KEPT_TABLES:
                    self._tables.popitem(last=False)
            self._tables.move_to_end(fingerprint)
            return self._tables[fingerprint]

    @staticmethod
    def check(source: DataSource) -> str:
        """A hash of what would be opened: the files, their sizes and times.

        Raises:
            DataError: nothing is there.
        """
        return _fingerprint(source)


def _fingerprint(source: DataSource) -> str:
    digest = hashlib.blake2b(json.dumps(to_mapping(source), sort_keys=True).encode(), digest_size=12)
    for file in find_files(source.source, source.subset, source.split):
        stat = file.stat()
        digest.update(f"{file} {stat.st_size} {stat.st_mtime_ns}".encode())
    return digest.hexdigest()


def _dataset(source: DataSource) -> Dataset:
    """The dataset, its columns renamed where a template could not spell them."""
    config = DatasetConfig(**{**to_mapping(source), "names": tuple(source.names)})
    files = find_files(source.source, source.subset, source.split)
    renamed = dict(source.columns)
    for column in open_file(files[0], source.encoding, tuple(source.names)).columns:
        if column not in renamed.values() and not column.replace("-", "_").isidentifier():
            field = re.sub(r"\W", "_", column)
            renamed[field if field.isidentifier() else "_" + field] = column
    return load_dataset(replace(config, columns=renamed))
