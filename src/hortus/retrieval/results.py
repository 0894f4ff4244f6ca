"""What was answered, question by question, as a table on disk: the rows that gates and reports are made
of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hortus.artifact import replacing_file
from hortus.errors import DataError
from hortus.retrieval.gates import Evidence
from hortus.retrieval.probing import Probe

__all__ = ["Results", "read_results", "results_of", "write_results"]

_KIND = b"hortus retrieval results"


@dataclass(frozen=True)
class Results:
    """Answers of one model to one question set, without and with a passage: (N,) arrays, joined by id.

    model, parameters, seed, exponent: which model, of how many parameters, on which world; only the first
        is known outside the recipe.
    parametric, retrieved: right by the published rule.
    hits: whether the passage holds an answer.
    confidence: log-probability of the answer without a passage, NaN where it was not asked for.
    tokens, seconds: of a question without and with a passage.
    index: hash of the corpus that was searched.
    """

    model: str
    parameters: int
    seed: int
    exponent: float
    tokens: tuple[float, float]
    seconds: tuple[float, float]
    index: str
    ids: np.ndarray
    subject: np.ndarray
    relation: np.ndarray
    popularity: np.ndarray
    parametric: np.ndarray
    retrieved: np.ndarray
    hits: np.ndarray
    confidence: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def evidence(self) -> Evidence:
        """The rows whose popularity is known, as gates take them."""
        confidence = None if np.isnan(self.confidence).any() else self.confidence
        rows = Evidence(self.relation, self.popularity, self.parametric, self.retrieved, confidence)
        return rows.take(~np.isnan(self.popularity))


_COLUMNS = ("ids", "subject", "relation", "popularity", "parametric", "retrieved", "hits", "confidence")


def results_of(
    closed: Probe,
    opened: Probe,
    *,
    model: str,
    index: str = "",
    parameters: int = 0,
    seed: int = 0,
    exponent: float = 0.0,
) -> Results:
    """Join two probes of a model by the questions' ids.

    Raises:
        DataError: they did not ask the same questions.
    """
    place = {one.id: row for row, one in enumerate(opened.questions)}
    ids = [one.id for one in closed.questions]
    if len(place) != len(ids) or not all(one in place for one in ids):
        raise DataError("the two probes asked different questions", do="probe both with the same set")
    order = np.array([place[one] for one in ids])
    asked = closed.questions
    hits = np.zeros(len(ids), dtype=bool) if opened.hits is None else opened.hits[order]
    unknown = np.full(len(ids), np.nan)
    return Results(
        model=model,
        parameters=parameters,
        seed=seed,
        exponent=exponent,
        tokens=(closed.prompt_tokens, opened.prompt_tokens),
        seconds=(closed.seconds, opened.seconds),
        index=index,
        ids=np.array(ids),
        subject=np.array([one.subject for one in asked]),
        relation=np.array([one.relation for one in asked]),
        popularity=np.array([np.nan if one.popularity is None else one.popularity for one in asked]),
        parametric=closed.scores["substring"],
        retrieved=opened.scores["substring"][order],
        hits=hits,
        confidence=unknown if closed.confidence is None else closed.confidence,
    )


def write_results(results: Sequence[Results], path: str | Path) -> None:
    """Write the answers of any number of models to one Parquet file."""
    tables = []
    for one in results:
        heads = [f.name for f in fields(Results) if f.name not in _COLUMNS]
        columns: dict[str, Any] = {name: pa.array(getattr(one, name)) for name in _COLUMNS}
        columns |= {name: pa.array([getattr(one, name)] * len(one)) for name in heads}
        tables.append(pa.table(columns))
    with replacing_file(path) as temporary:
        pq.write_table(pa.concat_tables(tables).replace_schema_metadata({b"kind": _KIND}), temporary)


def read_results(path: str | Path) -> list[Results]:
    """The inverse of `write_results`.

    Raises:
        DataError: no such file, or another one.
    """
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            f"cannot read {path}: {error}", do="give a file that hortus retrieval probe wrote"
        ) from error
    if (table.schema.metadata or {}).get(b"kind") != _KIND:
        raise DataError(f"{path} holds something else", do="give a file that hortus retrieval probe wrote")
    groups: dict[tuple[Any, ...], list[int]] = {}
    keys = [table.column(name).to_pylist() for name in ("model", "seed", "exponent")]
    for row, key in enumerate(zip(*keys, strict=True)):
        groups.setdefault(key, []).append(row)
    return [_one(table.take(rows)) for rows in groups.values()]


def _one(table: pa.Table) -> Results:
    first: Mapping[str, Any] = table.slice(0, 1).to_pylist()[0]
    arrays: dict[str, Any] = {name: np.array(table.column(name).to_pylist()) for name in _COLUMNS}
    heads = {f.name: first[f.name] for f in fields(Results) if f.name not in _COLUMNS}
    heads |= {name: tuple(heads[name]) for name in ("tokens", "seconds")}
    return Results(**heads, **arrays)
