"""From proposals to counterfactuals that obey the limits, reach the goal, and say so truthfully.

Each attempt proposes one candidate for every row that still lacks one: rounded and hardened, put inside the
limits, small changes undone, predicted again. Nearly all rows are done by the first attempt.

    N rows, P number columns, Q category columns, M rows of an attempt
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from hortus.counterfactual.constraints import Limits
from hortus.counterfactual.encoding import Rows
from hortus.counterfactual.goals import Goal

if TYPE_CHECKING:
    from hortus.counterfactual.explainer import Explainer

__all__ = ["CHUNK", "Proposal", "Search", "Table", "chunks"]

CHUNK = 16_384  # rows at once: some 20 MB a hidden layer, and long enough for the matrix products


@dataclass
class Table:
    """A frame with its rows as numbers and codes."""

    frame: pd.DataFrame
    rows: Rows

    def take(self, places: np.ndarray) -> Table:
        """The rows at these positions."""
        return Table(self.frame.iloc[places], self.rows.take(places))


@dataclass
class Proposal:
    """What a model proposes, before it is rounded and hardened.

    Args:
        numbers: (M, P) scaled to [0, 1].
        scores: for each category column (M, K), of which the highest is taken.
    """

    numbers: np.ndarray
    scores: list[np.ndarray]


class Search:
    """Finds up to `n` distinct counterfactuals for every row of a table."""

    def __init__(
        self,
        method: Explainer,
        table: Table,
        goal: Goal,
        limits: Limits,
        *,
        n: int,
        snap_back: float,
        generator: np.random.Generator,
    ) -> None:
        self._method, self._table, self._goal, self._limits = method, table, goal, limits
        self._threshold = snap_back * method.encoder_.spans
        self._generator = generator
        self.found = [table.rows.copy() for _ in range(n)]
        self.count = np.zeros(len(table.rows), dtype=np.int64)
        self.tried = np.zeros(len(table.rows), dtype=np.int64)
        self.best: np.ndarray = np.full(len(table.rows), np.nan)

    def run(self, rows: np.ndarray, attempts: range) -> None:
        """Search for the rows at these positions, attempt by attempt."""
        for attempt in attempts:
            rows = rows[self.count[rows] < len(self.found)]
            if not len(rows):
                return
            for part in chunks(rows):
                if not self._attempt(part, attempt):
                    return

    def _attempt(self, rows: np.ndarray, attempt: int) -> bool:
        table = self._table.take(rows)
        proposal = self._method._propose(table, rows, self._goal, attempt, self._generator)
        if proposal is None:
            return False
        full = self._limits.project(self._harden(proposal, table.rows, rows), table.rows, rows)
        candidate = self._limits.snap_back(full, table.rows, rows, self._threshold)
        outcome = self._method._outcome(candidate, table)
        reached = self._goal.reached(rows, outcome)
        undone = np.flatnonzero(~reached)
        if len(undone) and self._threshold.any():
            candidate.put(undone, full.take(undone))
            outcome[undone] = self._method._outcome(full.take(undone), table.take(undone))
            reached[undone] = self._goal.reached(rows[undone], outcome[undone])
        self._note(rows, outcome, reached)
        self._accept(rows[reached], candidate.take(reached))
        return True

    def _harden(self, proposal: Proposal, original: Rows, rows: np.ndarray) -> Rows:
        encoder = self._method.encoder_
        codes = original.codes.copy()
        for place, scores in enumerate(proposal.scores):
            allowed = self._limits.allowed[place]
            if allowed is not None:
                allowed = allowed if len(allowed) == 1 else allowed[rows]
                scores = np.where(allowed, scores, -np.inf)
            codes[:, place] = scores.argmax(1)
        return Rows(encoder.unscale(proposal.numbers), codes)

    def _note(self, rows: np.ndarray, outcome: np.ndarray, reached: np.ndarray) -> None:
        missed = ~reached
        self.tried[rows] += 1
        scores = self._goal.score(rows, outcome)
        if outcome.ndim == 2:
            self.best[rows[missed]] = np.fmax(self.best[rows[missed]], scores[missed])
        else:
            self.best[rows[missed]] = scores[missed]
        self._goal.correct(rows[missed], outcome[missed])

    def _accept(self, rows: np.ndarray, candidates: Rows) -> None:
        new = np.ones(len(rows), dtype=bool)
        for slot, found in enumerate(self.found[:-1]):
            earlier = self.count[rows] > slot
            numbers, codes = candidates.changed(found.take(rows))
            new &= ~earlier | numbers.any(1) | codes.any(1)
        for slot, found in enumerate(self.found):
            here = new & (self.count[rows] == slot)
            found.put(rows[here], candidates.take(here))
        self.count[rows[new]] += 1


def chunks(rows: np.ndarray) -> Iterator[np.ndarray]:
    """Parts of at most CHUNK positions, in order."""
    for start in range(0, len(rows), CHUNK):
        yield rows[start : start + CHUNK]
