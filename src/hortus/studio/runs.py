"""Runs: prompts by rows, asked in small units that can be stopped, overtaken and taken up again.

One thread for each model takes the most urgent job, lets it do one unit and looks again: an edit is answered
before the rest of a grid, a grid before a large run. A unit grows until it lasts a sixth of a second, so the
first tile comes alone and the rest in good batches. Rows go before prompts: the wordings of one row are asked
together, which share most of their text. Each unit's results are written before they are shown.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hortus.config import from_mapping, to_mapping
from hortus.errors import HortusError
from hortus.evaluation import ResponseCache
from hortus.evaluation.asking import Asker
from hortus.prompts import Rendered, Renderer, TemplateError, render_all
from hortus.studio.config import PromptText, Task
from hortus.studio.data import Table
from hortus.studio.events import Broker
from hortus.studio.models import ModelEntry
from hortus.studio.projects import Store
from hortus.studio.results import Tile, summarize
from hortus.studio.scoring import answer
from hortus.studio.variations import Prompt, build_prompt, numbered

__all__ = ["ACTIVE", "Job", "Runner", "new_record", "new_spec", "run_labels"]

UNIT_SECONDS = 0.16
_MOST_PAIRS = 512
_SUMMARY_SECONDS = 0.4
_PROGRESS_SECONDS = 0.3
_URGENCY = {"refine": 0, "large": 2}
ACTIVE = ("waiting", "running")


def run_labels(task: Task) -> list[str]:
    """The answers of a task whose answers are the same for every row."""
    return list(dict.fromkeys(one.wording for one in task.classes)) if task.kind == "choices" else []


class Job:
    """One run while it is worked on.

    Args:
        record: the run's state as it is stored and shown.
        spec: what it was asked for: prompts, rows, task.
        tiles: results that are known from an earlier time: prompt -> row -> tile.
    """

    def __init__(
        self,
        record: dict[str, Any],
        spec: Mapping[str, Any],
        table: Table,
        tiles: dict[str, dict[int, Any]],
    ):
        self.record, self.spec, self.table, self.tiles = record, spec, table, tiles
        self.task = from_mapping(Task, spec["task"])
        self.rows: list[int] = spec["rows"]
        texts = [from_mapping(PromptText, prompt) for prompt in spec["prompts"]]
        self.prompts: list[Prompt] = [build_prompt(text, self.task) for text in texts]
        self.urgency = _URGENCY.get(record["slot"].partition(":")[0], 1)
        record["done"] = sum(map(len, tiles.values()))
        self.cancelled = threading.Event()
        self.broken: dict[str, str] = record.setdefault("broken", {})
        self.steps: Iterator[None] | None = None
        self._size, self._told, self._next_summary = 1, 0.0, 0.0

    def prepare(self, asker: Asker, store: Store, broker: Broker, renderer: Renderer) -> None:
        """Give the job what it works with; called in the thread that works."""
        self._asker, self._store, self._broker, self._renderer = asker, store, broker, renderer
        self.steps = self.work()

    def work(self) -> Iterator[None]:
        """Do everything, pausing after each unit."""
        yield from self.ask([(prompt, row) for row in self.rows for prompt in self.prompts])
        self.tell_summaries(final=True)

    def ask(self, pairs: Sequence[tuple[Prompt, int]]) -> Iterator[None]:
        """Ask for all tiles that are not known yet, in units."""
        pairs = [(prompt, row) for prompt, row in pairs if row not in self.tiles.get(prompt.id, {})]
        place = 0
        while place < len(pairs):
            began = time.perf_counter()
            unit = pairs[place : place + self._size]
            place += len(unit)
            self._unit(unit)
            seconds = time.perf_counter() - began
            growth = min(8.0, UNIT_SECONDS / max(seconds, 1e-4))
            self._size = max(1, min(_MOST_PAIRS, int(len(unit) * growth)))
            yield

    def _unit(self, unit: Sequence[tuple[Prompt, int]]) -> None:
        asked = self._asker.num_asked
        rendered = self._render(unit)
        answers = answer(self._asker, self.task, rendered)
        results = [
            (prompt.id, row, answered.tile(row))
            for (prompt, row), answered in zip(unit, answers, strict=True)
        ]
        for prompt, row, tile in results:
            self.tiles.setdefault(prompt, {})[row] = tile
        self.record["done"] += len(unit)
        if self._asker.num_asked == asked:
            self.record["cached"] += len(unit)
        self._store.save_run(self.record, results)
        self.tell(results)

    def _render(self, unit: Sequence[tuple[Prompt, int]]) -> list[Rendered]:
        rows = {row: numbered(self.task, self.table.row(row)) for _, row in unit}
        while True:
            sound = [(p.template, row, rows[row]) for p, row in unit if p.id not in self.broken]
            try:
                done = iter(render_all(sound, renderer=self._renderer))
            except TemplateError as error:  # it is the template's fault, not the row's
                self.broken[error.template_id] = str(error)
                continue
            return [
                Rendered("", [], None, "malformed", self.broken[p.id]) if p.id in self.broken else next(done)
                for p, _ in unit
            ]

    def tell(self, results: Sequence[tuple[str, int, Tile]]) -> None:
        """Show new tiles, and now and then how far it is."""
        self.tell_tiles(results)
        self.tell_progress()
        self.tell_summaries()

    def tell_tiles(self, results: Sequence[tuple[str, int, Tile]]) -> None:
        cards: dict[str, list[Tile]] = {}
        for prompt, _, tile in results:
            cards.setdefault(prompt, []).append(tile)
        if cards:
            self.publish("tiles", {"run": self.record["id"], "cards": cards})

    def tell_progress(self) -> bool:
        """How far it is, a few times a second; whether it was told now."""
        now = time.monotonic()
        due = now - self._told > _PROGRESS_SECONDS
        if due:
            self._told = now
            self.publish("run", self.record)
        return due

    def tell_summaries(self, final: bool = False) -> None:
        """Accuracies so far; of many cards less often, so that they take a tenth of the time at most."""
        began = time.monotonic()
        if not final and began < self._next_summary:
            return
        labels = run_labels(self.task)
        summaries = {prompt: summarize(list(mine.values()), labels) for prompt, mine in self.tiles.items()}
        self.publish("summaries", {"run": self.record["id"], "summaries": summaries})
        seconds = time.monotonic() - began
        self._next_summary = began + max(_SUMMARY_SECONDS, 10 * seconds)

    def publish(self, event: str, data: Any) -> None:
        self._broker.publish(self.record["project"], event, data)


class Runner:
    """Takes jobs and works on them, one thread for each model."""

    def __init__(self, store: Store, broker: Broker, renderer: Renderer):
        self._store, self._broker, self._renderer = store, broker, renderer
        self._jobs: dict[str, list[Job]] = {}
        self._changed = threading.Condition()
        self._threads: dict[str, threading.Thread] = {}
        self._stopping = False

    def submit(self, job: Job, entry: ModelEntry) -> None:
        """Queue a job for its model."""
        job.record["state"] = "waiting"
        self._store.save_run(job.record)
        self._broker.publish(job.record["project"], "run", job.record)
        with self._changed:
            self._jobs.setdefault(entry.id, []).append(job)
            if entry.id not in self._threads:
                thread = threading.Thread(target=self._work, args=(entry,), daemon=True, name=entry.id)
                self._threads[entry.id] = thread
                thread.start()
            self._changed.notify_all()

    def cancel(self, project: str, *, run: str | None = None, slot: str | None = None) -> None:
        """Stop a project's jobs: one run, a slot's, or (with neither) those that stop with the last tab."""
        with self._changed:
            for job in [job for jobs in self._jobs.values() for job in jobs]:
                record = job.record
                meant = (
                    record["id"] == run
                    if run is not None
                    else record["slot"] == slot
                    if slot is not None
                    else job.spec["when_closed"] == "stop"
                )
                if record["project"] == project and meant:
                    job.cancelled.set()
            self._changed.notify_all()

    def active(self, run: str) -> bool:
        """Whether a run is queued or worked on."""
        with self._changed:
            return any(job.record["id"] == run for jobs in self._jobs.values() for job in jobs)

    def stop(self) -> None:
        """End all threads after the units that they are at; unfinished runs stay resumable."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        for thread in self._threads.values():
            thread.join()

    def _work(self, entry: ModelEntry) -> None:
        with ResponseCache(self._store.path, entry.hash) as cache:
            while True:
                with self._changed:
                    while not self._stopping and not self._jobs[entry.id]:
                        self._changed.wait()
                    if self._stopping:
                        return
                    # Python's min takes the first of equals: the oldest.
                    job = min(self._jobs[entry.id], key=lambda job: job.urgency)
                if self._step(job, entry, cache):
                    with self._changed:
                        self._jobs[entry.id].remove(job)

    def _step(self, job: Job, entry: ModelEntry, cache: ResponseCache) -> bool:
        """One unit of a job; whether the job has ended."""
        began, record = time.perf_counter(), job.record
        state, error = "running", None
        if job.cancelled.is_set():
            state = "cancelled"
        else:
            try:
                if job.steps is None:
                    record["state"] = state
                    job.prepare(Asker(entry.model, cache), self._store, self._broker, self._renderer)
                assert job.steps is not None
                next(job.steps)
            except StopIteration:
                state = "done"
            except HortusError as mistake:
                state, error = "failed", str(mistake)
            except Exception as fault:  # a model can die in any way, and the studio must not
                traceback.print_exc()
                state, error = "failed", f"{type(fault).__name__}: {fault}"
        record["seconds"] += time.perf_counter() - began
        if state == "running":
            return False
        record["state"], record["error"] = state, error
        self._store.save_run(record)
        self._broker.publish(record["project"], "run", record)
        return True


def new_record(project: str, slot: str, entry: ModelEntry, num_rows: int, total: int) -> dict[str, Any]:
    """The state of a run that has not begun."""
    return {
        "project": project,
        "kind": "large" if slot == "large" else "interactive",
        "slot": slot,
        "model": entry.id,
        "model_name": entry.name,
        "state": "waiting",
        "error": None,
        "created": time.time(),
        "seconds": 0.0,
        "done": 0,
        "total": total,
        "cached": 0,
        "num_rows": num_rows,
        "warnings": [],
        "rule": None,
        "stopped": {},
        "broken": {},
    }


def new_spec(
    prompts: Sequence[Prompt], task: Task, rows: Sequence[int], when_closed: str, **more: Any
) -> dict[str, Any]:
    """What a run is asked for."""
    return {
        "prompts": [to_mapping(prompt.text) for prompt in prompts],
        "task": to_mapping(task),
        "rows": list(rows),
        "when_closed": when_closed,
        **more,
    }
