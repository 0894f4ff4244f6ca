"""`explain`, for every method alike: VCNet, the post-hoc VCNet and the baselines.

A method brings an encoding, outcomes of rows, and proposals; here they become a table with one line for every
input row (index level "candidate" for n > 1) in the columns, order and dtype of the input, and after them

    hortus_valid        the goal is reached, predicted anew on the very row returned, within all limits
    hortus_probability  of the target class (classes), or hortus_prediction, the predicted value (regression)
    hortus_distance     sum of the scaled changes; a number's whole training range is 1, another category is 2
    hortus_changed      how many columns changed
    hortus_reason       why there is no counterfactual; empty where there is one

A row without a counterfactual is returned as it was. Nothing fails silently.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal

import numpy as np
import pandas as pd
from sklearn.utils import check_random_state

from hortus.counterfactual.constraints import Bounds, Directions, Limits, build_limits
from hortus.counterfactual.encoding import Rows, TableEncoder
from hortus.counterfactual.goals import Goal, class_goal, range_goal
from hortus.counterfactual.search import Proposal, Search, Table, chunks
from hortus.counterfactual.tables import match_frame
from hortus.errors import ConfigError

__all__ = ["Explainer"]


class Explainer:
    """Base of everything that explains. A subclass sets, when fitted, `encoder_`, `immutable_`, and either
    `classes_` or `target_range_`; and has `attempts`, `snap_back`, `unseen` and `random_state`.
    """

    encoder_: TableEncoder
    immutable_: tuple[str, ...]
    classes_: np.ndarray
    target_range_: tuple[float, float]
    attempts: int
    snap_back: float
    unseen: str
    random_state: Any
    _head: Literal["classes", "number"] = "classes"

    # What a method brings

    def _outcome(self, candidate: Rows, table: Table) -> np.ndarray:
        """Probabilities (M, K) or values (M,) of candidates for the rows of a table."""
        raise NotImplementedError

    def _propose(
        self, table: Table, rows: np.ndarray, goal: Goal, attempt: int, generator: np.random.Generator
    ) -> Proposal | None:
        """Proposals for the rows of a table, or None when the method has no more."""
        raise NotImplementedError

    def predict(self, X: Any) -> np.ndarray:
        """What is explained: the predicted classes or values (N,)."""
        raise NotImplementedError

    def _check_ready(self) -> None:
        """Raise when the method is not fitted."""
        raise NotImplementedError

    # For the user

    def explain(
        self,
        X: Any,
        target: Any = None,
        immutable: Collection[str] | None = None,
        bounds: Bounds | None = None,
        direction: Directions | None = None,
        n: int = 1,
        sample: bool = False,
    ) -> pd.DataFrame:
        """The nearest realistic way to another outcome, for every row.

        Args:
            X: (N, columns) frame or array.
            target: a class, or one a row (default: the most probable other class); for regression a value, a
                range (low, high), or one of either a row.
            immutable: columns that keep their value, besides those fixed in training.
            bounds: {number column: (low, high)} or {category column: allowed values}.
            direction: {column: "increase" or "decrease"}.
            n: counterfactuals for each row, all different.
            sample: draw the latent code instead of taking its mean, for variety.

        Returns:
            N lines, or N * n with an index level "candidate"; see the module's head for the columns.

        Raises:
            DataError: a column is missing, unknown or of the wrong type.
            ConfigError: a wrong argument: unknown column or class, contradictory bounds, nothing may change.
        """
        self._check_ready()
        if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
            raise ConfigError(f"n={n!r}", allowed="whole numbers from 1")
        frame = match_frame(X, self.encoder_.names, type(self).__name__)
        table = Table(frame, self.encoder_.read(frame, unseen="ignore"))
        before = self._outcomes(table.rows, table)
        goal = self._goal(target, before)
        fixed = {*self.immutable_, *(immutable if immutable is not None else ())}
        if isinstance(immutable, str):
            raise ConfigError(f"immutable={immutable!r} is a text", allowed="a list of column names")
        limits = build_limits(self.encoder_, table.rows, immutable=fixed, bounds=bounds, direction=direction)
        reasons = dict(limits.reasons)
        if self.unseen == "error":
            reasons |= self.encoder_.problems(frame, table.rows)
        search = self._search(table, goal, limits, before, reasons, n=int(n), sample=sample)
        return self._lay_out(table, goal, limits, search, reasons)

    def _search(
        self,
        table: Table,
        goal: Goal,
        limits: Limits,
        before: np.ndarray,
        reasons: dict[int, str],
        *,
        n: int,
        sample: bool,
    ) -> Search:
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        search = Search(
            self, table, goal, limits, n=n, snap_back=self.snap_back, generator=np.random.default_rng(seed)
        )
        everyone = np.arange(len(table.rows))
        blocked = np.zeros(len(everyone), dtype=bool)
        blocked[list(reasons)] = True
        already = goal.reached(everyone, before) & ~limits.broken(table.rows, table.rows, everyone) & ~blocked
        search.count[already] = n
        for row in np.flatnonzero(already):
            reasons[int(row)] = f"{goal.describe(int(row))} is already there"
        first = goal.mean_attempts if sample else 0
        search.run(everyone[~already & ~blocked], range(first, first + self.attempts + 3 * (n - 1)))
        return search

    def _outcomes(self, rows: Rows, table: Table) -> np.ndarray:
        """Outcomes of any number of rows, a chunk at a time."""
        parts = [self._outcome(rows.take(part), table.take(part)) for part in chunks(np.arange(len(rows)))]
        return np.concatenate(parts) if parts else self._outcome(rows, table)

    def _goal(self, target: Any, before: np.ndarray) -> Goal:
        if before.ndim == 2:
            return class_goal(target, before, self.classes_)
        return range_goal(target, before, *self.target_range_)

    def _lay_out(
        self, table: Table, goal: Goal, limits: Limits, search: Search, reasons: dict[int, str]
    ) -> pd.DataFrame:
        num_rows, n = len(table.rows), len(search.found)
        row_of = np.repeat(np.arange(num_rows), n)
        slot_of = np.tile(np.arange(n), num_rows)
        original = Table(table.frame.iloc[row_of], table.rows.take(row_of)) if n > 1 else table
        chosen = original.rows.copy()
        for slot, found in enumerate(search.found):
            here = np.flatnonzero(slot_of == slot)
            chosen.put(here, found)
        has_one = slot_of < search.count[row_of]
        written, final, outcome = self._write(chosen, original)
        kept = goal.reached(row_of, outcome) & ~limits.broken(final, original.rows, row_of)
        lost = has_one & ~kept
        if lost.any():
            chosen.put(lost, original.rows.take(lost))
            written, final, outcome = self._write(chosen, original)
        valid = has_one & ~lost
        texts = np.full(len(row_of), "", dtype=object)
        for place in np.flatnonzero(~valid | np.isin(row_of, list(reasons))):
            row = int(row_of[place])
            texts[place] = reasons.get(row) or self._failure(row, goal, search, bool(lost[place]))
        numbers, codes = final.changed(original.rows)
        result = written.copy()
        result["hortus_valid"] = valid
        score_name = "hortus_probability" if outcome.ndim == 2 else "hortus_prediction"
        result[score_name] = goal.score(row_of, outcome)
        result["hortus_distance"] = self._distances(final, original.rows)
        result["hortus_changed"] = numbers.sum(1) + codes.sum(1)
        result["hortus_reason"] = texts
        if n > 1:
            levels = [result.index.get_level_values(level) for level in range(result.index.nlevels)]
            result.index = pd.MultiIndex.from_arrays(
                [*levels, slot_of], names=[*result.index.names, "candidate"]
            )
        return result

    def _write(self, chosen: Rows, original: Table) -> tuple[pd.DataFrame, Rows, np.ndarray]:
        """The frame that is returned, and its rows and outcomes as anyone would read them from it."""
        written = self.encoder_.write(chosen, original.frame, original.rows)
        final = self.encoder_.read(written, unseen="ignore")
        return written, final, self._outcomes(final, Table(written, final))

    def _failure(self, row: int, goal: Goal, search: Search, lost: bool) -> str:
        if lost:
            return "the counterfactual does not survive the precision of the columns' dtype"
        if search.count[row]:
            return f"only {search.count[row]} different counterfactuals found in {search.tried[row]} attempts"
        best = "" if np.isnan(search.best[row]) else f"; best {search.best[row]:.3g}"
        return f"no candidate of {search.tried[row]} reached {goal.describe(row)}{best}"

    def _distances(self, rows: Rows, original: Rows) -> np.ndarray:
        distances = np.empty(len(rows))
        for part in chunks(np.arange(len(rows))):
            moved = self.encoder_.matrix(rows.take(part)) - self.encoder_.matrix(original.take(part))
            distances[part] = np.abs(moved).sum(1)
        return distances
