"""What a step is: `apply(batch) -> (kept, dropped)`, whoever runs it.

`dropped` has one more column, `reason`. A step may also change the text of what it keeps. A global step
needs to have seen the whole corpus before it can decide: every batch is measured first, `decide` reads the
measures of all partitions, and `apply` then carries the decision out. Whoever runs the steps does the
counting, the writing and the timing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

__all__ = ["Decision", "GlobalStep", "Measures", "Step", "divide", "keep_all", "texts_of", "with_texts"]

Measures = Mapping[str, NDArray]  # name -> array; a partition's batches are concatenated along the first axis
Decision = Mapping[str, NDArray]


class Step(Protocol):
    """One pass over a batch; `name` stands in the report."""

    name: str

    def apply(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """Return (kept, dropped with the column `reason`), both in the order of the batch."""
        ...


@runtime_checkable
class GlobalStep(Protocol):
    """A step that decides on the whole corpus. `batch` has the column `row`, its place in the partition."""

    name: str
    decision: Decision

    def measure(self, batch: pa.RecordBatch) -> Measures:
        """What `decide` needs of these documents."""
        ...

    def decide(self, measures: Sequence[Measures]) -> list[Decision]:
        """One decision a partition, in the order of the partitions."""
        ...

    def apply(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """As Step.apply, by `self.decision`."""
        ...


def divide(batch: pa.RecordBatch, reasons: Sequence[str | None]) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """Split a batch by reason: None keeps the row."""
    column = pa.array(reasons, pa.string())
    keep = pc.is_null(column)
    return batch.filter(keep), batch.append_column("reason", column).filter(pc.invert(keep))


def keep_all(batch: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """The batch and an empty one."""
    return batch, batch.slice(0, 0).append_column("reason", pa.array([], pa.string()))


def texts_of(batch: pa.RecordBatch) -> list[str]:
    """The column `text` as Python strings."""
    return batch.column("text").to_pylist()


def with_texts(batch: pa.RecordBatch, texts: Sequence[str] | pa.StringArray) -> pa.RecordBatch:
    """The batch with other texts."""
    place = batch.schema.get_field_index("text")
    column = texts if isinstance(texts, pa.Array) else pa.array(texts, pa.string())
    return batch.set_column(place, "text", column)


def rows_of(batch: pa.RecordBatch) -> NDArray[np.int64]:
    """(N,) the places of the documents in their partition."""
    return np.asarray(batch.column("row"), dtype=np.int64)


class Notes:
    """A mixin: `counts`, what a step found beside kept and dropped, for the report."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
