"""Reading what a user passes as X and y: frames, arrays, labels, values; and what is refused or warned of."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import assert_all_finite, check_array, check_consistent_length, column_or_1d

from hortus.counterfactual.encoding import TableEncoder
from hortus.errors import DataError, nearest

__all__ = ["RESERVED", "as_frame", "match_frame", "read_labels", "read_values", "warn_about"]

RESERVED = "hortus_"
_FEW_ROWS = 50


def as_frame(X: Any) -> pd.DataFrame:
    """A table as a frame; an array gets the names x0, x1, ...

    Raises:
        TypeError: a sparse matrix.
        DataError: no rows, repeated or reserved column names, or an array that is not (N, D).
    """
    if sparse.issparse(X):
        raise TypeError("X is a sparse matrix; pass a dense array or a pandas DataFrame")
    if isinstance(X, pd.DataFrame):
        repeated = X.columns[X.columns.duplicated()]
        if len(repeated):
            raise DataError(f"column {repeated[0]!r} is there twice", do="rename or drop one")
        reserved = [name for name in X.columns if str(name).startswith(RESERVED)]
        if reserved:
            raise DataError(f"column name {reserved[0]!r} is reserved for results", do="rename or drop it")
        return X
    try:
        array = check_array(X, dtype=None, ensure_all_finite=False, ensure_min_samples=0, input_name="X")
    except ValueError as error:
        raise DataError(str(error)) from error
    return pd.DataFrame(array, columns=[f"x{place}" for place in range(array.shape[1])])


def match_frame(X: Any, names: Sequence[str], estimator: str) -> pd.DataFrame:
    """A table with the columns of training: a frame in any order of columns, or an array in theirs.

    The columns come back in the order of X.

    Raises:
        DataError: a column is missing (named) or was not in training, or the array's width differs.
    """
    frame = as_frame(X)
    if not isinstance(X, pd.DataFrame):
        if frame.shape[1] != len(names):
            raise DataError(
                f"X has {frame.shape[1]} features, but {estimator} is expecting {len(names)} features as "
                "input"
            )
        return frame.set_axis(list(names), axis=1)
    missing = [name for name in names if name not in frame.columns]
    unknown = [name for name in frame.columns if name not in names]
    if missing:
        listed = ", ".join(map(repr, missing[:10]))
        raise DataError(f"the table lacks the columns {listed}", do="add them, empty where nothing is known")
    if unknown:
        known = nearest(str(unknown[0]), map(str, names))
        raise DataError(f"column {unknown[0]!r} was not in training", do=f"drop it; {known}")
    return frame


def _checked(y: Any, num_rows: int, estimator: str) -> np.ndarray:
    if y is None:
        raise DataError(f"{estimator} requires y to be passed, but the target y is None")
    try:
        target = column_or_1d(y, warn=True)
        if pd.isna(target).any():
            raise DataError(f"{int(pd.isna(target).sum())} target values are NaN", do="drop these rows")
        check_consistent_length(np.empty(num_rows), target)
        if target.dtype.kind == "f":
            assert_all_finite(target, input_name="y")
    except DataError:
        raise
    except ValueError as error:
        raise DataError(str(error)) from error
    return np.asarray(target)


def read_labels(y: Any, num_rows: int, estimator: str) -> tuple[np.ndarray, np.ndarray]:
    """The classes in sorted order (K,), and for each row the number of its class (N,).

    Raises:
        DataError: NaN, other than one label a row, continuous values, fewer than two classes.
    """
    target = _checked(y, num_rows, estimator)
    try:
        check_classification_targets(target)
        classes, numbers = np.unique(target, return_inverse=True)
    except (ValueError, TypeError) as error:
        raise DataError(str(error), do="pass one class a row") from error
    if len(classes) < 2:
        raise DataError(
            f"the target has 1 class, {classes.tolist()[0]!r}",
            allowed="two classes or more",
            do="check the target",
        )
    return classes, numbers


def read_values(y: Any, num_rows: int, estimator: str) -> np.ndarray:
    """The target values (N,) as float64.

    Raises:
        DataError: NaN, infinity, text, other than one value a row.
    """
    target = _checked(y, num_rows, estimator)
    try:
        return target.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise DataError("the target holds values that are no numbers", do="use VCNet for classes") from error


def warn_about(frame: pd.DataFrame, encoder: TableEncoder) -> None:
    """Warn of few rows, constant columns, and category columns that name each row."""
    messages = []
    if len(frame) < _FEW_ROWS:
        messages.append(f"only {len(frame)} rows: a model of what is realistic needs {_FEW_ROWS} and more")
    if encoder.constants:
        listed = ", ".join(map(repr, encoder.constants[:10]))
        messages.append(f"constant columns are kept as they are and take no part: {listed}")
    for column in encoder.categories:
        if len(column.categories) > max(20, 0.5 * len(frame)):
            messages.append(
                f"column {column.name!r} has {len(column.categories)} categories in {len(frame)} rows; "
                "drop it if it is a name or a number of the row"
            )
    for message in messages:
        # Attributed to the caller of fit.
        warnings.warn(message, UserWarning, stacklevel=4)
