"""What a user should hear about a table that is accepted all the same."""

from __future__ import annotations

import warnings

import pandas as pd

from hortus.counterfactual.encoding import TableEncoder

__all__ = ["warn_about"]

_FEW_ROWS = 50


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
        warnings.warn(message, UserWarning, stacklevel=5)
