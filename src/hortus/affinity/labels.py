"""Measured affinities: PDBbind index files, plain or gzipped, and CSV tables with any numeric column."""

from __future__ import annotations

import csv
import gzip
import math
import re
from pathlib import Path

from hortus.errors import DataError, nearest

__all__ = ["pk_of_measure", "read_labels"]

_UNITS = {"M": 0, "mM": 3, "uM": 6, "nM": 9, "pM": 12, "fM": 15}
_MEASURE = re.compile(r"^(?:Kd|Ki|IC50|EC50)(=|<|>|<=|>=|~)([0-9.]+(?:[eE]-?\d+)?)(fM|pM|nM|uM|mM|M)$")


def pk_of_measure(measure: str) -> float:
    """-log10 of a dissociation or inhibition constant in mol/L, as index files write it.

    Raises:
        ValueError: not such a measure.

    >>> pk_of_measure("Ki=50uM")
    4.3
    """
    found = _MEASURE.match(measure)
    if not found or float(found[2]) <= 0:
        raise ValueError(f"{measure!r} is no measure such as Kd=3.2nM")
    return round(_UNITS[found[3]] - math.log10(float(found[2])), 2)


def read_labels(path: str | Path, column: str | None = None) -> dict[str, float]:
    """Name -> value, from a PDBbind index (no suffix, .2020, .gz) or a CSV table (.csv, .csv.gz).

    Args:
        column: the column of a CSV to learn; default "pK", else the only numeric column beside the name.

    Raises:
        DataError: no such file, a malformed line (named by its number), an unknown column, a name twice.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path} is not a file", allowed="a PDBbind index or a CSV table")
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    lines = raw.decode("utf-8", errors="replace").splitlines()
    if ".csv" in path.suffixes:
        return _from_table(path, lines, column)
    return _from_index(path, lines)


def _put(labels: dict[str, float], name: str, value: float, path: Path, number: int) -> None:
    if name in labels:
        raise DataError(f"{path}, line {number}: {name!r} comes twice", do="remove one of the lines")
    if not math.isfinite(value):
        raise DataError(f"{path}, line {number}: the value of {name!r} is not finite", do="mend the line")
    labels[name] = value


def _from_index(path: Path, lines: list[str]) -> dict[str, float]:
    labels: dict[str, float] = {}
    for number, line in enumerate(lines, start=1):
        words = line.partition("//")[0].split()
        if not words or words[0].startswith("#"):
            continue
        try:
            # code, resolution, year, then either the pK and the measure or the measure alone
            value = float(words[3]) if re.fullmatch(r"-?[0-9.]+", words[3]) else pk_of_measure(words[3])
        except (IndexError, ValueError) as error:
            raise DataError(
                f"{path}, line {number} is malformed: {line.strip()[:60]!r}",
                allowed="code, resolution, year, -logK, measure",
                do="mend or remove the line",
            ) from error
        _put(labels, words[0], value, path, number)
    return _not_empty(labels, path)


def _from_table(path: Path, lines: list[str], column: str | None) -> dict[str, float]:
    rows = list(csv.reader(lines))
    header = rows[0] if rows else []
    if len(header) < 2:
        raise DataError(f"{path} has no header of at least two columns", allowed="name, value")
    if column is None:
        column = next((name for name in header if name.lower() == "pk"), header[1])
    if column not in header:
        raise DataError(f"{path} has no column {column!r}", do=nearest(column, header))
    place = header.index(column)
    labels: dict[str, float] = {}
    for number, row in enumerate(rows[1:], start=2):
        if not any(row):
            continue
        try:
            value = float(row[place])
        except (IndexError, ValueError) as error:
            raise DataError(
                f"{path}, line {number} is malformed: {','.join(row)[:60]!r}",
                allowed=f"a number in column {column!r}",
                do="mend or remove the line",
            ) from error
        _put(labels, row[0], value, path, number)
    return _not_empty(labels, path)


def _not_empty(labels: dict[str, float], path: Path) -> dict[str, float]:
    if not labels:
        raise DataError(f"{path} holds no label", allowed="a PDBbind index or a CSV table")
    return labels
