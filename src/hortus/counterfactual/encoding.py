"""A table of mixed columns to a matrix in [0, 1] and back, without losing a bit of what did not change.

    N rows, P number columns, Q category columns, D columns of the matrix

    frame  <->  Rows(numbers (N, P) in the user's units, codes (N, Q))  ->  matrix (N, D)

The matrix holds first the numbers, min-max scaled on the training part, then one mark of absence for each
number column that had empty cells in training, then the one-hot groups; a group of a column that had empty
cells ends with a level for them. A value outside the training range is read as its nearest end.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from hortus.counterfactual.columns import (
    CategoryColumn,
    Column,
    ConstantColumn,
    NumberColumn,
    column_from_json,
    column_to_json,
    infer_columns,
    read_numbers,
)
from hortus.errors import DataError, nearest

__all__ = ["MISSING", "UNSEEN", "Rows", "TableEncoder"]

MISSING, UNSEEN = -1, -2


@dataclass
class Rows:
    """Rows of a table without their pandas clothes.

    Args:
        numbers: (N, P) float64 in the user's units, NaN where empty.
        codes: (N, Q) positions in the column's categories, MISSING or UNSEEN.
    """

    numbers: np.ndarray
    codes: np.ndarray

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, rows: np.ndarray) -> Rows:
        """The rows at these positions (or of this mask), copied."""
        return Rows(self.numbers[rows], self.codes[rows])

    def put(self, rows: np.ndarray, values: Rows) -> None:
        """Replace the rows at these positions (or of this mask)."""
        self.numbers[rows], self.codes[rows] = values.numbers, values.codes

    def copy(self) -> Rows:
        """The same rows in arrays of their own."""
        return Rows(self.numbers.copy(), self.codes.copy())

    def changed(self, other: Rows) -> tuple[np.ndarray, np.ndarray]:
        """Masks (N, P) and (N, Q) of the cells that differ; two empty cells do not."""
        both_empty = np.isnan(self.numbers) & np.isnan(other.numbers)
        return (self.numbers != other.numbers) & ~both_empty, self.codes != other.codes


@dataclass(frozen=True)
class TableEncoder:
    """The encoding of one table; built by `TableEncoder.fit`.

    >>> frame = pd.DataFrame({"age": [20, 30, 60], "sex": ["f", "m", "f"]})
    >>> encoder = TableEncoder.fit(frame)
    >>> encoder.matrix(encoder.read(frame)).tolist()
    [[0.0, 1.0, 0.0], [0.25, 0.0, 1.0], [1.0, 1.0, 0.0]]
    """

    columns: tuple[Column, ...]

    @classmethod
    def fit(
        cls, frame: pd.DataFrame, *, categorical: Collection[str] = (), numeric: Collection[str] = ()
    ) -> TableEncoder:
        """Learn columns, ranges and categories from the training part.

        Raises:
            ConfigError, DataError: see `infer_columns`; no column varies.
        """
        encoder = cls(tuple(infer_columns(frame, categorical=categorical, numeric=numeric)))
        if not encoder.numbers and not encoder.categories:
            raise DataError("no column varies", allowed="at least one column with two values")
        return encoder

    @cached_property
    def names(self) -> list[str]:
        """Every column's name, in the table's order."""
        return [column.name for column in self.columns]

    @cached_property
    def numbers(self) -> list[NumberColumn]:
        """The number columns, in the order of `Rows.numbers`."""
        return [column for column in self.columns if isinstance(column, NumberColumn)]

    @cached_property
    def categories(self) -> list[CategoryColumn]:
        """The category columns, in the order of `Rows.codes`."""
        return [column for column in self.columns if isinstance(column, CategoryColumn)]

    @cached_property
    def constants(self) -> list[str]:
        """Names of the columns that take no part."""
        return [column.name for column in self.columns if isinstance(column, ConstantColumn)]

    @cached_property
    def marks(self) -> list[int]:
        """For each mark of absence, the position of its number column."""
        return [place for place, column in enumerate(self.numbers) if column.missing]

    @cached_property
    def groups(self) -> list[tuple[int, int]]:
        """Start and end of each category column's group in the matrix."""
        start, groups = len(self.numbers) + len(self.marks), []
        for column in self.categories:
            groups.append((start, start + len(column.categories) + column.missing))
            start = groups[-1][1]
        return groups

    @cached_property
    def width(self) -> int:
        """Columns of the matrix (D)."""
        return self.groups[-1][1] if self.groups else len(self.numbers) + len(self.marks)

    def places(self, names: Collection[str]) -> list[int]:
        """Positions in the matrix of these columns, without marks of absence: numbers, then groups."""
        numbers = [place for place, column in enumerate(self.numbers) if column.name in names]
        pairs = zip(self.groups, self.categories, strict=True)
        return numbers + [p for group, column in pairs if column.name in names for p in range(*group)]

    @cached_property
    def spans(self) -> np.ndarray:
        """(P,) widths of the training ranges."""
        return np.array([column.span for column in self.numbers])

    # Frame to rows

    def read(self, frame: pd.DataFrame, *, unseen: str = "error") -> Rows:
        """The rows of a frame that has (at least) the columns of the table, in any order.

        Args:
            unseen: "error" refuses a category that training did not have, and an empty cell in a column that
                had none; "ignore" reads the first as no category and the second as the median.

        Raises:
            DataError: see `unseen`; text or infinity in a number column.
        """
        rows = Rows(
            np.empty((len(frame), len(self.numbers))),
            np.empty((len(frame), len(self.categories)), dtype=np.int32),
        )
        for place, column in enumerate(self.numbers):
            rows.numbers[:, place] = read_numbers(frame[column.name])
        for place, category in enumerate(self.categories):
            rows.codes[:, place] = _codes(frame[category.name], category)
        if unseen == "error":
            self._refuse_unseen(frame, rows)
        return rows

    def problems(self, frame: pd.DataFrame, rows: Rows) -> dict[int, str]:
        """For each row that training can say nothing about, why: {position: reason}."""
        found: dict[int, str] = {}
        for place, column in enumerate(self.numbers):
            if not column.missing:
                for row in np.flatnonzero(np.isnan(rows.numbers[:, place])):
                    found.setdefault(int(row), f"{column.name} is empty (NaN), which training never saw")
        for place, category in enumerate(self.categories):
            for row in np.flatnonzero(rows.codes[:, place] == UNSEEN):
                value = frame[category.name].iloc[row]
                found.setdefault(int(row), f"{category.name} is {value!r}, which training never saw")
            if not category.missing:
                for row in np.flatnonzero(rows.codes[:, place] == MISSING):
                    found.setdefault(int(row), f"{category.name} is empty (NaN), which training never saw")
        return found

    def _refuse_unseen(self, frame: pd.DataFrame, rows: Rows) -> None:
        problems = self.problems(frame, rows)
        if not problems:
            return
        row, reason = min(problems.items())
        more = f" (and {len(problems) - 1} more rows)" if len(problems) > 1 else ""
        hint = "set unseen='ignore' to predict all the same, or mend the value"
        for place, column in enumerate(self.categories):
            if rows.codes[row, place] == UNSEEN and reason.startswith(f"{column.name} is"):
                value = str(frame[column.name].iloc[row])
                hint = f"{nearest(value, map(str, column.categories))} Or {hint}"
        raise DataError(f"row {frame.index[row]!r}: {reason}{more}", do=hint)

    # Rows to matrix

    def matrix(self, rows: Rows) -> np.ndarray:
        """(N, D) float64, every value in [0, 1]."""
        matrix = np.zeros((len(rows), self.width))
        for place, column in enumerate(self.numbers):
            values = rows.numbers[:, place]
            empty = np.isnan(values)
            scaled = (np.where(empty, column.median, values) - column.low) / column.span
            matrix[:, place] = np.clip(scaled, 0, 1)
        for mark, place in enumerate(self.marks, start=len(self.numbers)):
            matrix[:, mark] = np.isnan(rows.numbers[:, place])
        for place, ((start, end), category) in enumerate(zip(self.groups, self.categories, strict=True)):
            codes = rows.codes[:, place]
            known = np.flatnonzero(codes >= 0)
            matrix[known, start + codes[known]] = 1
            if category.missing:
                matrix[codes == MISSING, end - 1] = 1
        return matrix

    def unscale(self, scaled: np.ndarray) -> np.ndarray:
        """(N, P) of the matrix back to the user's units, rounded to each column's decimal places."""
        values = np.empty_like(scaled)
        for place, column in enumerate(self.numbers):
            value = column.low + scaled[:, place] * column.span
            values[:, place] = value if column.decimals is None else np.round(value, column.decimals)
        return values

    # Rows to frame

    def write(self, rows: Rows, frame: pd.DataFrame, original: Rows) -> pd.DataFrame:
        """`frame` with the cells of `rows` that differ from `original`; all others are its own, bit for bit.

        Columns keep their order and dtype; a dtype that cannot hold a new value (a pandas category without
        it, too narrow an integer) is widened.
        """
        numbers, codes = rows.changed(original)
        written = {name: frame[name] for name in frame.columns}
        for place, column in enumerate(self.numbers):
            changed = np.flatnonzero(numbers[:, place])
            if len(changed):
                values = rows.numbers[changed, place]
                written[column.name] = _replace_numbers(frame[column.name], changed, values, column.decimals)
        for place, category in enumerate(self.categories):
            changed = np.flatnonzero(codes[:, place])
            if len(changed):
                written[category.name] = _replace_categories(
                    frame[category.name], changed, rows.codes[changed, place], category
                )
        return pd.DataFrame(written, index=frame.index, columns=frame.columns)

    # Plain values

    def to_json(self) -> list[dict[str, Any]]:
        """The encoding as plain values."""
        return [column_to_json(column) for column in self.columns]

    @classmethod
    def from_json(cls, value: Sequence[Mapping[str, Any]]) -> TableEncoder:
        """The inverse of `to_json`."""
        return cls(tuple(column_from_json(column) for column in value))


def _codes(series: pd.Series, column: CategoryColumn) -> np.ndarray:
    index = pd.Index(list(column.categories), dtype=object)
    if isinstance(series.dtype, pd.CategoricalDtype):
        of_category = index.get_indexer(pd.Index(series.cat.categories.tolist(), dtype=object))
        codes = np.append(np.where(of_category < 0, UNSEEN, of_category), MISSING)[series.cat.codes]
    else:
        values = pd.Index(series.to_numpy(dtype=object, na_value=None), dtype=object)
        codes = index.get_indexer(values)
        codes = np.where((codes < 0) & series.notna().to_numpy(), UNSEEN, codes)
    return codes.astype(np.int32)


def _replace_numbers(
    series: pd.Series, changed: np.ndarray, values: np.ndarray, decimals: int | None
) -> pd.Series:
    if isinstance(series.dtype, np.dtype) and series.dtype.kind in "iuf":
        narrow = values.astype(series.dtype)
        # A float32 column rounds a value; an integer column must hold it exactly.
        if series.dtype.kind == "f" or np.array_equal(narrow, values):
            array = series.to_numpy(copy=True)
            array[changed] = narrow
        else:
            array = series.to_numpy(dtype=np.int64 if decimals == 0 else np.float64, copy=True)
            array[changed] = values
        return pd.Series(array, index=series.index, name=series.name)
    replaced = series.astype(object)
    replaced.iloc[changed] = [int(value) if decimals == 0 else float(value) for value in values]
    return replaced if series.dtype == object else replaced.astype(series.dtype)


def _replace_categories(
    series: pd.Series, changed: np.ndarray, codes: np.ndarray, column: CategoryColumn
) -> pd.Series:
    if isinstance(series.dtype, pd.CategoricalDtype):
        lacking = [value for value in column.categories if value not in series.cat.categories]
        wide = series.cat.add_categories(lacking) if lacking else series
        place_of = wide.cat.categories.get_indexer(pd.Index(list(column.categories)))
        array = wide.cat.codes.to_numpy(copy=True)
        array[changed] = place_of[codes]
        categorical = pd.Categorical.from_codes(array, dtype=wide.dtype)
        return pd.Series(categorical, index=series.index, name=series.name)
    array = series.to_numpy(dtype=object, copy=True)
    lookup = np.empty(len(column.categories), dtype=object)
    lookup[:] = column.categories
    array[changed] = lookup[codes]
    replaced = pd.Series(array, index=series.index, name=series.name, dtype=object)
    return replaced if series.dtype == object else replaced.astype(series.dtype)
