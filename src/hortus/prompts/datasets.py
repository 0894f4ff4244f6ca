"""Datasets as templates see them: rows of fields, with columns renamed and classes as numbers.

    load_dataset("rte/train.tsv", columns={"premise": "sentence1", "hypothesis": "sentence2"},
                 classes={"label": ("entailment", "not_entailment")})
    load_dataset("super_glue", subset="rte", split="validation")        # from the hub
    load_dataset([{"text": "...", "label": "World"}, ...])              # any Python iterable

Published templates expect the hub's column names and integer labels; `columns` and `classes` say how local
files get them. Class names that a hub file carries are kept in `class_names`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from hortus.errors import ConfigError, DataError, nearest
from hortus.prompts.config import DatasetConfig
from hortus.prompts.hub import find_files
from hortus.prompts.rows import ChainedRows, ChosenRows, ListRows, Row, Rows, open_file

__all__ = ["Dataset", "hold_out", "load_dataset"]

UNLABELLED = -1


class Dataset:
    """Numbered examples of one dataset; a sequence of dicts.

    Attributes:
        columns: field names, after renaming and with underscores for hyphens.
        class_names: field -> class names in label order, where they are known.
        blocks: (start, stop) stretches that are cheap to read together.
    """

    def __init__(self, rows: Rows, config: DatasetConfig):
        self._rows, self.config = rows, config
        self._names = _field_names(rows.columns, config)
        self._length = min(len(rows), config.max_rows or len(rows))
        if not self._length:
            raise DataError(f"{config.source} has no rows")
        self.columns = tuple(self._names[column] for column in rows.columns)
        carried = {
            self._names[name]: names for name, names in rows.class_names.items() if name in self._names
        }
        self.class_names = carried | {name: tuple(names) for name, names in config.classes.items()}
        self.blocks = [
            (start, min(stop, self._length)) for start, stop in rows.blocks if start < self._length
        ]
        self._converters = _converters(config, self.columns)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Row:
        if not 0 <= index < self._length:
            raise IndexError(index)
        row = {self._names.get(name, _field(name)): value for name, value in self._rows.row(index).items()}
        for name, convert in self._converters.items():
            row[name] = convert(row[name], f"{self.config.source}, row {index}")
        return row

    def __iter__(self) -> Iterator[Row]:
        return (self[index] for index in range(self._length))

    def one_of_each(self, step: int, kept: bool) -> Dataset:
        """One drawn row of every `step`, or with kept=False the others; rows are read when needed."""
        chosen = ChosenRows(self._rows, self._length, step, kept)
        return Dataset(chosen, replace(self.config, max_rows=None))

    def take(self, indices: Iterable[int]) -> list[Row]:
        """The rows of the given numbers, in the given order."""
        return [self[index] for index in indices]


def _field(column: str) -> str:
    # Jinja reads a hyphen as a minus.
    return column.replace("-", "_")


def _field_names(columns: Sequence[str], config: DatasetConfig) -> dict[str, str]:
    """Column -> field name."""
    for field, column in config.columns.items():
        if column not in columns:
            raise DataError(
                f"{config.source} has no column {column!r} (for the field {field!r})",
                do=nearest(column, columns),
            )
    renamed = {column: _field(field) for field, column in config.columns.items()}
    # A column whose name another one takes over steps aside.
    taken = set(renamed.values())
    names = {
        column: renamed.get(column) or _field(column) + ("_original" if _field(column) in taken else "")
        for column in columns
    }
    if "answer_choices" in names.values():
        raise DataError(
            f"{config.source} has a column 'answer_choices', a name that templates keep for the choices",
            do="map it to another field name with `columns`",
        )
    if len(set(names.values())) < len(names):
        raise DataError(f"{config.source}: two columns would share a field name: {', '.join(names.values())}")
    return names


def _converters(config: DatasetConfig, columns: Sequence[str]) -> dict[str, Callable[[Any, str], Any]]:
    for name in (*config.classes, *config.types):
        if name not in columns:
            raise DataError(f"{config.source} has no field {name!r}", do=nearest(name, columns))
    typed = {name: _typed(name, kind) for name, kind in config.types.items()}
    return typed | {name: _class_number(name, tuple(names)) for name, names in config.classes.items()}


def _typed(name: str, kind: str) -> Callable[[Any, str], Any]:
    makers: dict[str, Callable[[Any], Any]] = {"int": int, "float": float, "json": json.loads, "str": str}
    make = makers[kind]

    def convert(value: Any, where: str) -> Any:
        if value is None or value == "":
            return None
        try:
            return make(value)
        except (ValueError, TypeError) as error:
            raise DataError(f"{where}: {name}={value!r} is no {kind}") from error

    return convert


def _class_number(name: str, class_names: tuple[str, ...]) -> Callable[[Any, str], int]:
    numbers = {class_name: number for number, class_name in enumerate(class_names)}
    # A file may hold the numbers themselves, as text in csv and tsv.
    numbers = {str(number): number for number in range(-1, len(class_names))} | numbers

    def convert(value: Any, where: str) -> int:
        if value is None or value == "":
            return UNLABELLED
        number = numbers.get(str(int(value)) if isinstance(value, bool | int) else str(value))
        if number is None:
            raise DataError(
                f"{where}: {name}={value!r} is none of its {len(class_names)} classes",
                do=nearest(str(value), class_names),
            )
        return number

    return convert


def load_dataset(source: DatasetConfig | str | Path | Iterable[Mapping[str, Any]], **options: Any) -> Dataset:
    """Open a dataset: a file, a folder, a hub id, a `DatasetConfig`, or any iterable of mappings.

    Args:
        options: the fields of `DatasetConfig`, such as `split`, `columns` and `classes`.

    Raises:
        DataError: nothing is there, it has no rows, a column is missing, or a file cannot be read.
        ConfigError: an option is unknown.

    >>> data = load_dataset([{"premise-text": "a", "gold": "yes"}], columns={"label": "gold"},
    ...                     classes={"label": ("no", "yes")})
    >>> len(data), data[0]
    (1, {'premise_text': 'a', 'label': 1})
    """
    known = {field.name for field in fields(DatasetConfig)}
    for name in options:
        if name not in known:
            raise ConfigError(f"load_dataset has no option {name!r}", do=nearest(name, known))
    if isinstance(source, DatasetConfig):
        config = source
    elif isinstance(source, str | Path):
        config = DatasetConfig(source=str(source), **options)
    else:
        return Dataset(
            ListRows([dict(row) for row in source]), DatasetConfig(source="the iterable", **options)
        )
    files = find_files(config.source, config.subset, config.split)
    opened = [open_file(file, config.encoding, tuple(config.names)) for file in files]
    return Dataset(opened[0] if len(opened) == 1 else ChainedRows(opened), config)


def hold_out(dataset: Dataset, share: float) -> tuple[Dataset, Dataset]:
    """Cut a dataset into rows to train on and rows to validate with, the latter spread evenly over it.

    Raises:
        ConfigError: the share is no share, or leaves either side empty.

    >>> training, validation = hold_out(load_dataset([{"n": n} for n in range(8)]), 0.25)
    >>> len(training), len(validation), {row["n"] for row in training} & {row["n"] for row in validation}
    (6, 2, set())
    """
    if not 0 < share <= 0.5 or len(dataset) < 2:
        raise ConfigError(f"cannot hold out {share} of {len(dataset)} rows", allowed="above 0, at most 0.5")
    step = min(round(1 / share), len(dataset))
    return dataset.one_of_each(step, kept=False), dataset.one_of_each(step, kept=True)
