"""Large runs: rows that nobody looked at while wording prompts, curves, and an early end for clear losers.

Successive halving (Jamieson and Talwalkar 2016) with a safeguard: after 50, 100, 200, ... rows, of the
prompts still in the run the worse half is looked at, and of these each is stopped whose paired difference
from the best lies below zero with its whole 95 % interval. What is as good as the best is never stopped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from hortus.errors import DataError
from hortus.studio.results import Tile, compare, curve, scores_of
from hortus.studio.runs import Job
from hortus.studio.variations import Prompt

__all__ = ["LargeJob", "held_out_rows", "measured_at", "selection_warning"]

_FIRST_RUNG = 50
_POINTS = 40
RULE = (
    "Successive halving: after 50, 100, 200, ... rows, of the worse half of the prompts left those are "
    "stopped whose difference from the best is below zero with its whole 95 % interval (paired bootstrap)."
)


def held_out_rows(
    total: int, seen: Sequence[int], wanted: int, seed: int, include_seen: bool
) -> tuple[list[int], list[str]]:
    """Rows for a large run in random order, and warnings.

    Args:
        seen: rows that were ever in the working set.

    Raises:
        DataError: no row is left.

    >>> rows, warnings = held_out_rows(10, seen=[0, 1, 2], wanted=100, seed=0, include_seen=False)
    >>> sorted(rows), len(warnings)
    ([3, 4, 5, 6, 7, 8, 9], 2)
    """
    order = np.random.default_rng(seed).permutation(total)
    looked_at = np.isin(order, np.asarray(list(seen), dtype=np.int64))
    warnings = []
    if include_seen:
        rows = order[:wanted]
        if used := int(looked_at[:wanted].sum()):
            warnings.append(
                f"{used} of the rows were in the working set: wordings were chosen on them, so that "
                "accuracies are better than on new rows."
            )
    else:
        rows = order[~looked_at][:wanted]
        if looked_at.any():
            warnings.append(f"{int(looked_at.sum())} rows that were in the working set are left out.")
    if not len(rows):
        raise DataError("all rows have been in the working set", do="open more data, or include seen rows")
    if len(rows) < wanted:
        warnings.append(f"{wanted} rows were asked for; there are {len(rows)}.")
    return rows.tolist(), warnings


def selection_warning(num_prompts: int) -> str:
    """What choosing among prompts on the same rows does to the winner's accuracy."""
    return (
        f"The best of {num_prompts} prompts on the same rows looks better than it is; a run of the winner "
        "alone with another seed measures it afresh."
    )


def measured_at(num_rows: int) -> list[int]:
    """Numbers of rows after which a point of the curve is drawn and rungs are judged.

    >>> measured_at(30), [n for n in measured_at(1000) if n in (50, 100, 200, 400, 800)]
    ([10, 20, 30], [50, 100, 200, 400, 800])
    """
    step = max(10, num_rows // _POINTS)
    return sorted({*range(step, num_rows, step), *_rungs(num_rows), num_rows})


def _rungs(num_rows: int) -> list[int]:
    return [_FIRST_RUNG * 2**n for n in range(16) if _FIRST_RUNG * 2**n < num_rows]


class LargeJob(Job):
    """A run over many rows; resumed, it judges from its stored tiles what it judged before."""

    _untold: list[tuple[str, int, Tile]]

    def work(self) -> Iterator[None]:
        self._untold = []
        live, done, rungs = list(self.prompts), 0, set(_rungs(len(self.rows)))
        for number in measured_at(len(self.rows)):
            block = self.rows[done:number]
            yield from self.ask([(prompt, row) for row in block for prompt in live])
            done = number
            self._tell_points(live, number)
            self.tell_tiles(self._untold)
            self._untold = []
            if self.spec["halving"] and number in rungs:
                live = self._halve(live, number)
        self.record["done"] = self.record["total"]

    def tell(self, results: Sequence[tuple[str, int, Tile]]) -> None:
        """New tiles a few times a second; accuracies are told as points of curves."""
        self._untold += results
        if self.tell_progress():
            self.tell_tiles(self._untold)
            self._untold = []

    def _tiles(self, prompt: Prompt, number: int) -> list[Tile]:
        mine = self.tiles.get(prompt.id, {})
        return [mine[row] for row in self.rows[:number] if row in mine]

    def _tell_points(self, live: Sequence[Prompt], number: int) -> None:
        found = {prompt.id: curve(self._tiles(prompt, number), [number]) for prompt in live}
        points = {prompt: one[0] for prompt, one in found.items() if one}
        self.publish("curve", {"run": self.record["id"], "points": points})

    def _halve(self, live: list[Prompt], number: int) -> list[Prompt]:
        means: dict[str, Any] = {}
        for prompt in live:
            scores = list(scores_of(self._tiles(prompt, number)).values())
            means[prompt.id] = float(np.mean(scores)) if scores else 0.0
        ranked = sorted(live, key=lambda prompt: -means[prompt.id])
        best, kept = ranked[0], set(map(id, ranked[: (len(ranked) + 1) // 2]))
        for prompt in ranked:
            if id(prompt) in kept:
                continue
            found = compare(self._tiles(best, number), self._tiles(prompt, number))
            if found is None or found[1].high >= 0:
                kept.add(id(prompt))
                continue
            reason = f"{means[prompt.id]:.3f} against {means[best.id]:.3f} after {number} rows"
            if prompt.id not in self.record["stopped"]:
                self.record["stopped"][prompt.id] = number
                self.record["total"] -= len(self.rows) - number
            stopped = {"run": self.record["id"], "prompt": prompt.id, "at": number, "reason": reason}
            self.publish("stopped", stopped)
        return [prompt for prompt in live if id(prompt) in kept]
