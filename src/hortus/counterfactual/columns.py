"""What a table's columns are: numbers, categories, or constant; inferred from the training part, and shown.

A column is a category when it holds text, truth values or a pandas category, or when it is whole numbers
with at most two values (a switch). It is a number otherwise. A column with one value is kept and reported as
constant: the network doesn't see it and no counterfactual changes it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd

from hortus.errors import ConfigError, DataError, nearest

__all__ = [
    "CategoryColumn",
    "Column",
    "ConstantColumn",
    "NumberColumn",
    "check_names",
    "column_from_json",
    "column_to_json",
    "describe_columns",
    "infer_columns",
    "read_numbers",
]

_MOST_DECIMALS = 6


@dataclass(frozen=True)
class NumberColumn:
    """A column of numbers; all bounds in the user's units.

    Args:
        decimals: decimal places of the training values, 0 for whole numbers, None when more than six.
            Counterfactual values are rounded to as many.
        missing: whether the training part has empty cells.
    """

    name: str
    low: float
    high: float
    median: float
    decimals: int | None
    missing: bool

    @property
    def span(self) -> float:
        """Width of the training range, 1 when it has none."""
        return (self.high - self.low) or 1.0


@dataclass(frozen=True)
class CategoryColumn:
    """A column of categories, in sorted order or, where `ordered`, in the order of the pandas category."""

    name: str
    categories: tuple[Any, ...]
    ordered: bool
    missing: bool


@dataclass(frozen=True)
class ConstantColumn:
    """A column with a single value (or with none at all), which takes no part."""

    name: str
    value: Any


Column = NumberColumn | CategoryColumn | ConstantColumn
_KINDS = {"number": NumberColumn, "category": CategoryColumn, "constant": ConstantColumn}


def infer_columns(
    frame: pd.DataFrame, *, categorical: Collection[str] = (), numeric: Collection[str] = ()
) -> list[Column]:
    """The columns of a training table, in its order.

    Args:
        categorical: columns to take as categories whatever they hold.
        numeric: columns to take as numbers.

    Raises:
        ConfigError: a name that is no column, or in both lists.
        DataError: dates, nested values, infinity, or text in a column taken as numbers.

    >>> frame = pd.DataFrame({"age": [20, 31, 45], "sex": ["f", "m", "f"], "unit": ["cm"] * 3})
    >>> [type(column).__name__ for column in infer_columns(frame)]
    ['NumberColumn', 'CategoryColumn', 'ConstantColumn']
    """
    check_names(categorical, frame.columns, "categorical")
    check_names(numeric, frame.columns, "numeric")
    both = sorted(set(categorical) & set(numeric), key=str)
    if both:
        raise ConfigError(f"{both[0]!r} is in categorical and in numeric", do="name it in one of them")
    columns: list[Column] = []
    for name in frame.columns:
        series = frame[name]
        as_category = name in categorical or (name not in numeric and _looks_categorical(series))
        columns.append(_category(name, series) if as_category else _number(name, series))
    return columns


def check_names(names: Collection[str], known: Collection[str], where: str) -> None:
    """Raise a ConfigError for a name that is no column."""
    if isinstance(names, str):
        raise ConfigError(f"{where}={names!r} is a text", allowed="a list of column names")
    for name in names:
        if name not in known:
            raise ConfigError(
                f"{where} names {name!r}, which is no column", do=nearest(str(name), map(str, known))
            )


def _looks_categorical(series: pd.Series) -> bool:
    if isinstance(series.dtype, pd.CategoricalDtype) or pd.api.types.is_bool_dtype(series.dtype):
        return True
    if pd.api.types.is_datetime64_any_dtype(series.dtype) or pd.api.types.is_timedelta64_dtype(series.dtype):
        raise DataError(f"column {series.name!r} holds dates", do="turn it into a number, such as days")
    if pd.api.types.is_complex_dtype(series.dtype):
        return False
    if not pd.api.types.is_numeric_dtype(series.dtype):
        # An object column may still hold nothing but numbers.
        known = series.dropna()
        return not all(isinstance(v, int | float | np.number) and not isinstance(v, bool) for v in known)
    distinct = series.dropna().unique()
    return len(distinct) <= 2 and all(float(value).is_integer() for value in distinct)


def read_numbers(series: pd.Series) -> np.ndarray:
    """The values of a column as float64 (N,), empty cells as NaN.

    Raises:
        DataError: text, complex numbers or infinity, with the first such value.
    """
    if pd.api.types.is_complex_dtype(series.dtype):
        raise DataError(f"column {series.name!r}: complex data not supported", do="split it into two columns")
    try:
        values = series.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        parsed = pd.to_numeric(series, errors="coerce")
        wrong = series[parsed.isna() & series.notna()]
        shown = repr(wrong.iloc[0]) if len(wrong) else series.dtype
        raise DataError(
            f"column {series.name!r} holds {shown}, which is not a number",
            do="mend the value, or name the column in categorical",
        ) from error
    if np.isinf(values).any():
        raise DataError(f"column {series.name!r} contains infinity", allowed="finite numbers and empty cells")
    return values


def _number(name: str, series: pd.Series) -> Column:
    values = read_numbers(series)
    known = values[~np.isnan(values)]
    missing = len(known) < len(values)
    if not len(known) or (not missing and known.min() == known.max()):
        return ConstantColumn(name, float(known[0]) if len(known) else None)
    low, high, median = float(known.min()), float(known.max()), float(np.median(known))
    return NumberColumn(name, low, high, median, _decimals(known), missing)


def _decimals(values: np.ndarray) -> int | None:
    for decimals in range(_MOST_DECIMALS + 1):
        # Exactly the shortest decimal writing, as a file that was read would give it.
        if np.array_equal(np.round(values, decimals), values):
            return decimals
    return None


def _category(name: str, series: pd.Series) -> Column:
    known = series.dropna()
    ordered = isinstance(series.dtype, pd.CategoricalDtype) and bool(series.dtype.ordered)
    present = set(known.unique())
    if ordered:
        values = [value for value in series.dtype.categories if value in present]
    else:
        values = sorted(present, key=lambda value: (type(value).__name__, value))
    categories = tuple(_plain(name, value) for value in values)
    missing = len(known) < len(series)
    if not categories or (len(categories) == 1 and not missing):
        return ConstantColumn(name, categories[0] if categories else None)
    return CategoryColumn(name, categories, ordered, missing)


def _plain(name: str, value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float) and not math.isfinite(value):
        raise DataError(f"column {name!r} contains infinity", allowed="finite numbers and empty cells")
    if not isinstance(value, str | bool | int | float):
        raise DataError(
            f"column {name!r} holds a {type(value).__name__}: unhashable or nested values are no categories",
            allowed="text, truth values, numbers",
        )
    return value


def describe_columns(columns: Sequence[Column], immutable: Collection[str]) -> pd.DataFrame:
    """One row a column: its kind, what it holds, whether it may change."""
    rows = []
    for column in columns:
        if isinstance(column, NumberColumn):
            kind, places = "number", column.decimals
            holds = f"{column.low:g} to {column.high:g}" + (
                f", {places} decimals" if places is not None else ""
            )
        elif isinstance(column, CategoryColumn):
            kind = "ordered category" if column.ordered else "category"
            holds = f"{len(column.categories)}: {', '.join(map(str, column.categories[:6]))}"
            holds += ", …" if len(column.categories) > 6 else ""
        else:
            kind, holds = "constant", str(column.value)
        fixed = isinstance(column, ConstantColumn) or column.name in immutable
        missing = not isinstance(column, ConstantColumn) and column.missing
        rows.append((column.name, kind, holds, missing, "never" if fixed else "may"))
    return pd.DataFrame(rows, columns=["column", "kind", "holds", "missing", "changes"])


def column_to_json(column: Column) -> dict[str, Any]:
    """The column as plain values."""
    kind = next(name for name, cls in _KINDS.items() if isinstance(column, cls))
    return {"kind": kind, **{field.name: getattr(column, field.name) for field in fields(column)}}


def column_from_json(value: Mapping[str, Any]) -> Column:
    """The inverse of `column_to_json`.

    >>> column = CategoryColumn("sex", ("f", "m"), False, False)
    >>> column_from_json(column_to_json(column)) == column
    True
    """
    values = dict(value)
    kind = _KINDS[values.pop("kind")]
    if "categories" in values:
        values["categories"] = tuple(values["categories"])
    return kind(**values)
