"""The caller's side of rendering: worker processes that are started once, watched, and replaced when killed.

`Renderer.render` takes many jobs at a time and may be called from any thread; each call holds one worker of a
small pool. A job that breaks its limits costs its own result and, at most, one replaced process: the results
that were lost with the process are rendered again, which is safe because rendering is deterministic.
"""

from __future__ import annotations

import atexit
import datetime
import decimal
import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from hortus.errors import DataError
from hortus.prompts.config import RenderLimits
from hortus.prompts.process import Failure, WorkerGoneError, WorkerProcess

__all__ = ["Failure", "RenderJob", "Renderer", "Source", "default_renderer"]

Source = tuple[str, str | None, int | None]
"""(jinja, answer_choices, characters kept of each printed value)."""

FRAME_JOBS = 512
FRAME_BYTES = 8 * 2**20


@dataclass(frozen=True)
class RenderJob:
    """One rendering: a template's source, an example and the seed of its random draws."""

    source: Source
    example: Mapping[str, Any]
    seed: str


class Renderer:
    """Renders templates in worker processes under `limits`; safe to share between threads.

    Args:
        limits: time, memory and output of one rendering.
        workers: processes kept at most; more threads than that wait for each other.

    >>> with Renderer() as renderer:
    ...     renderer.render([RenderJob(("Is {{ a }}? ||| yes", None, None), {"a": 1}, "seed")])
    [[['Is 1?', 'yes'], None, [], [], []]]
    """

    def __init__(self, limits: RenderLimits | None = None, workers: int = 1):
        self.limits = limits or RenderLimits()
        self.workers = workers
        self.num_started = 0
        self._reset()

    def _reset(self) -> None:
        self._process_id = os.getpid()
        self._idle: list[WorkerProcess] = []
        self._lock = threading.Lock()
        self._free = threading.Semaphore(self.workers)

    def __enter__(self) -> Renderer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the worker processes; the next rendering starts new ones."""
        if self._process_id != os.getpid():
            self._reset()
        with self._lock:
            idle, self._idle = self._idle, []
        for worker in idle:
            worker.close()

    @contextmanager
    def _worker(self) -> Iterator[WorkerProcess]:
        if self._process_id != os.getpid():
            # After a fork the pipes belong to the parent; two processes must not speak on them.
            self._reset()
        with self._free:
            with self._lock:
                worker = self._idle.pop() if self._idle else None
            if worker is not None and not worker.alive:
                worker.close()
                worker = None
            if worker is None:
                worker = WorkerProcess(self.limits)
                self.num_started += 1
            try:
                yield worker
            except BaseException:
                # An unread reply would be taken for the next request's.
                worker.close()
                raise
            with self._lock:
                self._idle.append(worker)

    def render(self, jobs: Sequence[RenderJob]) -> list[list[Any] | Failure]:
        """Render all jobs, in order.

        Returns:
            For each job [parts, choices, draws, missing columns, bad answer numbers], or a Failure.
        """
        results: list[list[Any] | Failure] = []
        while len(results) < len(jobs):
            chunk = jobs[len(results) : len(results) + FRAME_JOBS]
            results += self._render_chunk(chunk)
        return results

    def _render_chunk(self, jobs: Sequence[RenderJob]) -> list[list[Any] | Failure]:
        request = _encode(jobs)
        if len(request) > FRAME_BYTES:
            if len(jobs) == 1:
                return [Failure("memory", f"the example is larger than {FRAME_BYTES // 2**20} MiB")]
            middle = len(jobs) // 2
            return self._render_chunk(jobs[:middle]) + self._render_chunk(jobs[middle:])
        replies: list[Any] = []
        try:
            with self._worker() as worker:
                worker.ask(request, len(jobs), replies)
        except WorkerGoneError as error:
            return self._carry_on(jobs, [_result(reply) for reply in replies], error)
        return [_result(reply) for reply in replies]

    def _carry_on(
        self, jobs: Sequence[RenderJob], done: list[list[Any] | Failure], error: WorkerGoneError
    ) -> list[list[Any] | Failure]:
        """Render on after a worker was lost: what it had not sent, the culprit's failure, then the rest."""
        if error.culprit is None or error.culprit < len(done):
            # It left by itself after telling of the last job, or died while reading a request.
            if not done and error.culprit is None:
                return [error.failure] * len(jobs)
            return done + self.render(jobs[len(done) :])
        before, culprit = jobs[len(done) : error.culprit], jobs[error.culprit]
        failure = self._with_line(culprit, error.failure)
        return done + self.render(before) + [failure] + self.render(jobs[error.culprit + 1 :])

    def _with_line(self, job: RenderJob, failure: Failure) -> Failure:
        """Turn the line of the compiled code, kept as a negative number, into the template's."""
        if failure.line is None:
            return failure
        reply = self._single({"locate": [job.source[0], -failure.line]})
        return Failure(failure.kind, failure.message, reply if isinstance(reply, int) else None)

    def inspect(self, source: Source) -> dict[str, Any] | Failure:
        """What a template needs, without an example: {"needed": {column: line}, "used", "fixed_choices"}."""
        return self._single({"inspect": list(source)})

    def _single(self, request: dict[str, Any]) -> Any:
        replies: list[Any] = []
        try:
            with self._worker() as worker:
                worker.ask(json.dumps(request).encode(), 1, replies)
        except WorkerGoneError as error:
            return Failure(error.failure.kind, error.failure.message)
        return _result(replies[0])


def _encode(jobs: Sequence[RenderJob]) -> bytes:
    """One request of many jobs, in which each distinct template is sent once."""
    templates: dict[Source, int] = {}
    rows = [(templates.setdefault(job.source, len(templates)), job.example, job.seed) for job in jobs]
    try:
        return json.dumps({"templates": list(templates), "jobs": rows}, default=_plain).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(
            f"an example holds what a template cannot be given: {error}",
            allowed="texts, numbers, true/false, null, dates, and lists or mappings of them",
        ) from error


def _plain(value: Any) -> Any:
    """The JSON form of what tables hold; dates become the text that Jinja would print."""
    if isinstance(value, datetime.date | datetime.time | datetime.timedelta | decimal.Decimal):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"a value of type {type(value).__name__}")


def _result(reply: Any) -> Any:
    if isinstance(reply, dict) and "error" in reply:
        return Failure(str(reply["error"]), str(reply.get("message", "")), reply.get("line"))
    return reply


_default: Renderer | None = None
_default_lock = threading.Lock()


def default_renderer() -> Renderer:
    """The renderer that templates use when they are given none; its worker starts at the first rendering."""
    global _default
    with _default_lock:
        if _default is None:
            _default = Renderer()
            atexit.register(_default.close)
        return _default


def _forget_default() -> None:
    global _default_lock
    _default_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_default)
