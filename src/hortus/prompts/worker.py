"""The rendering worker: a small process that compiles and renders templates under hard limits.

Run as `python -m hortus.prompts.worker LIMITS_JSON HEARTBEAT_FD` by `hortus.prompts.renderer`. Frames of
JSON, each after its length in four bytes, come in on stdin and go out on stdout; the protocol holds no state,
so that a replacement can carry on anywhere:

    request   {"templates": [[jinja, answer_choices, truncate], ...],
               "jobs": [[number of the template, example, seed], ...]}
    reply     results in the order of the jobs, in one or several frames. A result is
              [parts, choices, draws, missing, subscripts] or {"error": kind, "line": n, "message": text}
    inspect   {"inspect": [jinja, answer_choices, truncate]} -> what the linter asks of a template
    locate    {"locate": [text, line]} -> the template's line for a line of its compiled code

Three guards, from soft to hard: a timer signal interrupts Python code and names the line; the parent, which
sees in the heartbeat which job began when, kills the process when one operation does not return; address
space, files and child processes are limited by the operating system, so that even an escaped template could
open nothing. The process starts with an empty environment and holds no secret.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import json
import mmap
import os
import signal
import struct
import sys
import time
from types import FrameType
from typing import Any, BinaryIO

from jinja2 import TemplateAssertionError, TemplateSyntaxError, UndefinedError, nodes
from jinja2.parser import Parser
from jinja2.sandbox import SecurityError

from hortus.prompts.compiling import Compiler
from hortus.prompts.sandbox import OutputTooLongError, RefusedError

__all__ = ["main"]

HEARTBEAT = struct.Struct("<qd")
LENGTH = struct.Struct("<I")
FLUSH_SECONDS = 0.02
FLUSH_CHARACTERS = 1_000_000
# The share of the time limit after which the timer interrupts; the rest is the parent's to kill in.
SOFT_SHARE = 0.8


class _TimeUp(BaseException):
    """Raised by the timer; not an Exception, so that nothing in Jinja swallows it."""


class Guard:
    """Runs one job under the timer and turns whatever it raises into a result."""

    def __init__(self, seconds: float, memory_bytes: int):
        self.soft_seconds = seconds * SOFT_SHARE
        self.memory_bytes = memory_bytes
        self.armed = False
        signal.signal(signal.SIGALRM, self._ring)

    def _ring(self, signum: int, frame: FrameType | None) -> None:
        if self.armed:
            raise _TimeUp

    def run(self, work: Any, *arguments: Any) -> Any:
        try:
            try:
                self.armed = True
                # Repeats, since an exception raised inside a destructor is lost.
                signal.setitimer(signal.ITIMER_REAL, self.soft_seconds, 0.05)
                return work(*arguments)
            finally:
                self.armed = False
                signal.setitimer(signal.ITIMER_REAL, 0)
        except _TimeUp as error:
            return failure("time", "it ran past its time limit", error)
        except MemoryError as error:
            return failure("memory", "it asked for more memory than its limit", error)
        except (OutputTooLongError, RecursionError, OverflowError) as error:
            kind = "output" if isinstance(error, OutputTooLongError) else "size"
            return failure(kind, str(error), error)
        except SecurityError as error:
            return failure("refused", str(error), error)
        except TemplateAssertionError as error:
            # An unknown filter or test: those that prompts may use are listed.
            return failure("refused", error.message or "not allowed", error)
        except TemplateSyntaxError as error:
            return failure("syntax", error.message or "syntax error", error)
        except UndefinedError as error:
            return failure("value", error.message or "undefined value", error)
        except Exception as error:
            return failure("value", f"{type(error).__name__}: {error}", error)

    def exhausted(self) -> bool:
        """Whether memory of a stopped job is still held, so that this process should be replaced."""
        gc.collect()
        try:
            bytearray(self.memory_bytes // 3)
        except MemoryError:
            return True
        return False


def failure(kind: str, message: str, error: BaseException) -> dict[str, Any]:
    return {"error": kind, "line": line_of(error), "message": message[:500]}


def line_of(error: BaseException) -> int | None:
    """The template's line that an error came from."""
    if isinstance(error, TemplateSyntaxError):
        return error.lineno
    if isinstance(error, RefusedError) and error.line is not None:
        return error.line
    if isinstance(error, OutputTooLongError) and error.frame is not None:
        return _frame_line(error.frame, error.frame.f_lineno)
    line, step = None, error.__traceback__
    while step is not None:
        line = _frame_line(step.tb_frame, step.tb_lineno) or line
        step = step.tb_next
    return line


def _frame_line(frame: FrameType, compiled_line: int) -> int | None:
    """The template's line of one frame: of compiled code, of constant folding, or of the parser."""
    if frame.f_code.co_filename == "<template>":
        return _corresponding(frame.f_globals.get("debug_info", ""), compiled_line)
    owner = frame.f_locals.get("self")
    if isinstance(owner, nodes.Node):
        return owner.lineno
    return owner.stream.current.lineno if isinstance(owner, Parser) else None


def _corresponding(debug_info: str, compiled_line: int) -> int | None:
    line = None
    for pair in debug_info.split("&") if debug_info else ():
        template_line, code_line = map(int, pair.split("="))
        if code_line > compiled_line:
            break
        line = template_line
    return line


def confine(memory_bytes: int) -> None:
    """Limit address space, open files, file sizes, processes and core dumps of this process for good."""
    import resource

    limits = {
        "RLIMIT_AS": memory_bytes,
        "RLIMIT_FSIZE": 0,
        "RLIMIT_CORE": 0,
        "RLIMIT_NPROC": 0,
        "RLIMIT_NOFILE": 0,
    }
    for name, value in limits.items():
        # Systems differ in what they let a process lower; macOS has no working RLIMIT_AS.
        with contextlib.suppress(AttributeError, ValueError, OSError):
            resource.setrlimit(getattr(resource, name), (value, value))


def read_frame(stream: BinaryIO) -> Any:
    header = stream.read(LENGTH.size)
    if len(header) < LENGTH.size:
        return None
    (size,) = LENGTH.unpack(header)
    return json.loads(stream.read(size))


def write_frame(stream: BinaryIO, value: Any) -> None:
    body = json.dumps(value).encode()
    stream.write(LENGTH.pack(len(body)) + body)
    stream.flush()


class Server:
    """Answers frames until stdin closes."""

    def __init__(self, limits: dict[str, Any], heartbeat: mmap.mmap):
        self.guard = Guard(limits["seconds"], limits["memory_bytes"])
        self.compiler = Compiler(limits["output_characters"])
        self.heartbeat = heartbeat

    def beat(self, index: int) -> None:
        self.heartbeat[: HEARTBEAT.size] = HEARTBEAT.pack(index, time.monotonic())

    def serve(self, incoming: BinaryIO, outgoing: BinaryIO) -> None:
        while (request := read_frame(incoming)) is not None:
            if "jobs" in request:
                self.answer(request, outgoing)
                continue
            self.beat(0)
            ((name, arguments),) = request.items()
            result = self.guard.run(
                *(
                    (self.compiler.inspect, arguments)
                    if name == "inspect"
                    else (self.compiler.locate, *arguments)
                )
            )
            self.beat(-1)
            write_frame(outgoing, [result])

    def answer(self, request: dict[str, Any], outgoing: BinaryIO) -> None:
        results: list[Any] = []
        size, flushed = 0, time.monotonic()
        sources = request["templates"]
        for index, (template, example, seed) in enumerate(request["jobs"]):
            self.beat(index)
            result = self.guard.run(self.job, sources[template], example, seed)
            results.append(result)
            size += sum(map(len, result[0])) if type(result) is list else 0
            exhausted = type(result) is dict and result["error"] == "memory" and self.guard.exhausted()
            if exhausted or size > FLUSH_CHARACTERS or time.monotonic() - flushed > FLUSH_SECONDS:
                write_frame(outgoing, results)
                results, size, flushed = [], 0, time.monotonic()
            if exhausted:
                raise SystemExit(0)
        self.beat(-1)
        write_frame(outgoing, results)

    def job(self, source: list[Any], example: dict[str, Any], seed: str) -> list[Any]:
        return self.compiler.render(self.compiler.compile(source), example, seed)


def main() -> None:
    limits, heartbeat_file = json.loads(sys.argv[1]), int(sys.argv[2])
    heartbeat = mmap.mmap(heartbeat_file, mmap.PAGESIZE)
    # The parent asks for a traceback before it kills: written in C, it comes even out of a stuck operation.
    faulthandler.register(signal.SIGUSR1, file=sys.stderr, all_threads=False)
    server = Server(limits, heartbeat)
    incoming, outgoing = sys.stdin.buffer, sys.stdout.buffer
    with contextlib.suppress(Exception):
        # Warm up: whatever Jinja imports late must be imported before files are out of reach.
        server.job(
            ["{{ x }}{% for a in x %}{{ loop.index }}{% endfor %}{{ 1 + }}", None, None], {"x": "a"}, ""
        )
    server.job(
        ["{% macro m(a) %}{{ a|title }}{% endmacro %}{{ m('a') }}|||{{ [1]|choice }}", "a|||b", 8], {}, ""
    )
    os.chdir("/")
    confine(limits["memory_bytes"])
    server.beat(-1)
    write_frame(outgoing, ["ready"])
    try:
        server.serve(incoming, outgoing)
    except (BrokenPipeError, KeyboardInterrupt):
        os._exit(1)


if __name__ == "__main__":
    main()
