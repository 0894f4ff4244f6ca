"""One worker process as its owner sees it: pipes, heartbeat, and the kill when a job does not stop.

The worker notes in shared memory which job it began when; the owner looks there while it waits. A process
that is overdue is asked for a traceback, which comes even out of a stuck operation, and then killed.
"""

from __future__ import annotations

import json
import mmap
import os
import re
import select
import signal
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from typing import Any

from hortus.errors import DeviceError
from hortus.prompts.config import RenderLimits

__all__ = ["Failure", "WorkerGoneError", "WorkerProcess"]

START_SECONDS = 60.0
# The share of the time limit after which a worker that did not stop its job by itself is killed.
HARD_SHARE = 0.9
# How long a killed job's traceback is waited for; with it a job ends within the default limit of 2 s.
DUMP_SECONDS = 0.15
_LENGTH = struct.Struct("<I")
_HEARTBEAT = struct.Struct("<qd")


@dataclass(frozen=True)
class Failure:
    """Why there are no parts; `kind` is syntax, refused, time, memory, output, size, value or worker."""

    kind: str
    message: str
    line: int | None = None


class WorkerGoneError(Exception):
    """The worker died or was killed; `culprit` is the job that it was at, if any."""

    def __init__(self, culprit: int | None, failure: Failure):
        super().__init__(failure.message)
        self.culprit, self.failure = culprit, failure


class WorkerProcess:
    """One worker process, its pipes and its heartbeat."""

    def __init__(self, limits: RenderLimits):
        self.limits = limits
        with tempfile.TemporaryFile() as file:
            file.truncate(mmap.PAGESIZE)
            self.heartbeat = mmap.mmap(file.fileno(), mmap.PAGESIZE)
            self._mark(-1, 0.0)
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "hortus.prompts.worker",
                    json.dumps(asdict(limits)),
                    str(file.fileno()),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=[file.fileno()],
                # Nothing of the caller's environment, where keys and tokens live, reaches a template.
                env={
                    "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
                    "PYTHONIOENCODING": "utf-8",
                },
                start_new_session=True,
            )
        assert self.process.stdin and self.process.stdout and self.process.stderr
        self.incoming, self.outgoing, self.errors = (
            self.process.stdout,
            self.process.stdin,
            self.process.stderr,
        )
        self.poll = select.poll()
        self.poll.register(self.incoming.fileno(), select.POLLIN | select.POLLHUP)
        try:
            self._receive(1, time.monotonic() + START_SECONDS)
        except WorkerGoneError as error:
            raise DeviceError(f"the rendering worker did not start: {error}") from error

    def _mark(self, index: int, moment: float) -> None:
        self.heartbeat[: _HEARTBEAT.size] = _HEARTBEAT.pack(index, moment)

    def ask(self, request: bytes, count: int, results: list[Any]) -> None:
        """Send one request and add its `count` results to `results` as they come.

        Raises:
            WorkerGoneError: the worker died or had to be killed; `results` holds what came before.
        """
        try:
            self.outgoing.write(_LENGTH.pack(len(request)) + request)
            self.outgoing.flush()
        except (BrokenPipeError, OSError) as error:
            raise self._gone("the worker process ended") from error
        self._receive(count, time.monotonic() + START_SECONDS, results)

    def _receive(self, count: int, read_deadline: float, results: list[Any] | None = None) -> None:
        results, buffer = [] if results is None else results, b""
        goal, hard_seconds = len(results) + count, self.limits.seconds * HARD_SHARE
        while len(results) < goal:
            if self.poll.poll(max(self.limits.seconds * 10, 2.0)):
                data = os.read(self.incoming.fileno(), 1 << 18)
                if not data:
                    raise self._gone("the worker process ended, for want of memory or stack")
                buffer = _take_frames(buffer + data, results)
                continue
            index, began = _HEARTBEAT.unpack(self.heartbeat[: _HEARTBEAT.size])
            overdue = (
                time.monotonic() - began > hard_seconds if index >= 0 else time.monotonic() > read_deadline
            )
            if overdue:
                raise self._kill(index)

    def _kill(self, index: int) -> WorkerGoneError:
        os.kill(self.process.pid, signal.SIGUSR1)
        line = self._dumped_line(time.monotonic() + DUMP_SECONDS)
        culprit = index if index >= 0 else None
        error = self._gone("it ran past its time limit inside one operation", culprit, "time")
        if line is not None:
            error.failure = Failure("time", error.failure.message, -line)
        return error

    def _dumped_line(self, deadline: float) -> int | None:
        """The template's innermost compiled line in the traceback that the worker writes piece by piece."""
        errors, dump = self.errors.fileno(), b""
        while (left := deadline - time.monotonic()) > 0 and select.select([errors], [], [], left)[0]:
            piece = os.read(errors, 1 << 16)
            dump += piece
            if found := re.search(rb'File "<template>", line (\d+) in', dump):
                return int(found[1])
            if not piece:
                break
        return None

    def _gone(self, message: str, culprit: int | None = None, kind: str = "worker") -> WorkerGoneError:
        index, _ = _HEARTBEAT.unpack(self.heartbeat[: _HEARTBEAT.size])
        self.close()
        culprit = index if culprit is None and index >= 0 else culprit
        return WorkerGoneError(culprit, Failure(kind, message))

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.outgoing, self.incoming, self.errors):
            try:
                stream.close()
            except OSError:
                # A half-written request is still in the buffer of a pipe that nobody reads any more.
                continue


def _take_frames(buffer: bytes, results: list[Any]) -> bytes:
    """Move the whole frames of `buffer` into `results`; JSON, so that nothing a worker writes is run."""
    while len(buffer) >= _LENGTH.size:
        (size,) = _LENGTH.unpack_from(buffer)
        if len(buffer) < _LENGTH.size + size:
            break
        results.extend(json.loads(buffer[_LENGTH.size : _LENGTH.size + size]))
        buffer = buffer[_LENGTH.size + size :]
    return buffer
