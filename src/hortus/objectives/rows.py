"""Rows of finetuning: read from files, split, and their texts turned into tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hortus.errors import DataError, nearest
from hortus.objectives.finetune_config import FinetuneConfig
from hortus.prompts.rows import open_file
from hortus.tokenizer import Tokenizer

__all__ = ["read_rows", "split_rows", "text_of", "token_limit", "within"]

_USUAL_LENGTH = 512

Row = Mapping[str, Any]


def read_rows(path: Path, config: FinetuneConfig, columns: Sequence[str]) -> list[Row]:
    """All rows of a jsonl, csv, tsv or parquet file.

    Raises:
        DataError: the file cannot be read, is empty, or lacks a column (the nearest is named).
    """
    rows = open_file(Path(path), config.encoding, config.columns)
    for column in columns:
        if column not in rows.columns:
            raise DataError(f"{path} has no column {column!r}", do=nearest(column, rows.columns))
    if not len(rows):
        raise DataError(f"{path} has no rows", allowed="at least one")
    return [rows.row(index) for index in range(len(rows))]


def split_rows(
    data: Path, validation: Path | None, config: FinetuneConfig, columns: Sequence[str]
) -> tuple[list[Row], list[Row]]:
    """Training and validation rows: of two files, or a random share of one.

    Raises:
        DataError: as `read_rows`, or nothing is left for training.
    """
    rows = read_rows(data, config, columns)
    if validation is not None:
        return rows, read_rows(validation, config, columns)
    order = np.random.default_rng(config.seed).permutation(len(rows))
    kept = round(len(rows) * config.validation_share)
    if kept == len(rows):
        raise DataError(f"{data} has {len(rows)} rows", do="give a validation file")
    return [rows[index] for index in order[kept:]], [rows[index] for index in order[:kept]]


def text_of(row: Row, column: str, number: int) -> str:
    """A text of a row.

    Raises:
        DataError: not a text.
    """
    value = row[column]
    if not isinstance(value, str):
        raise DataError(f"row {number + 1}: {column} is {value!r:.40}", allowed="a text")
    return value


def token_limit(network: Any, tokenizer: Tokenizer, config: FinetuneConfig) -> int:
    """The most tokens of an example: what the user, the network and the tokenizer allow.

    Raises:
        DataError: the user asks for more than the network has positions.
    """
    most = getattr(network.config, "max_positions", None)
    if config.max_length is not None:
        if most is not None and config.max_length > most:
            raise DataError(f"max_length={config.max_length}", allowed=f"at most {most}, its positions")
        return config.max_length
    stored = tokenizer.settings.get("model_max_length")
    limits = [_USUAL_LENGTH, most, stored if isinstance(stored, int) and stored > 0 else None]
    return min(limit for limit in limits if limit is not None)


def within(ids: list[int], most: int, truncate: bool, number: int) -> list[int]:
    """The first `most` tokens of a row's text.

    Raises:
        DataError: there are more and they may not be cut.
    """
    if len(ids) > most and not truncate:
        raise DataError(
            f"row {number + 1} has {len(ids)} tokens",
            allowed=f"{most} or fewer",
            do="raise --max-length or pass --truncate to cut its end off",
        )
    return ids[:most]
