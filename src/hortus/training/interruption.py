"""Ending a run from outside: SIGTERM, Ctrl-C, or a file named `stop` in the run's folder.

A request ends the run after the step in progress, with a checkpoint. The file is BLOOM's kill switch: it
reaches a run whose process one cannot signal. It is removed when it is obeyed, so that a run can be resumed.
"""

from __future__ import annotations

import fcntl
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from hortus.errors import ConfigError

__all__ = ["INTERRUPTIONS", "StopRequest", "exclusive"]

INTERRUPTIONS = ("SIGTERM", "SIGINT", "stop file")
"""Reasons that StopRequest gives."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Listens for requests to stop, as a context manager; the earlier handlers come back at its end.

    Signals are heard only when it is entered in the main thread, where Python allows handlers.
    A second Ctrl-C ends the process at once, with KeyboardInterrupt.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / "stop"
        self._signal: str | None = None
        self._earlier: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._earlier = {number: signal.signal(number, self._hear) for number in _SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._earlier.items():
            signal.signal(number, handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self._signal == "SIGINT" and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._signal = signal.Signals(number).name

    def reason(self) -> str | None:
        """Why to stop now ("SIGTERM", "SIGINT", "stop file"), or None."""
        if self._signal is None and self._file.exists():
            self._file.unlink(missing_ok=True)
            self._signal = "stop file"
        return self._signal


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold the folder for this run; the lock ends with the process, however that ends.

    Raises:
        ConfigError: another run holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / "training.lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            raise ConfigError(
                f"another run (process {holder}) trains in {folder}",
                allowed="one run a folder",
                do="wait for it, stop it, or choose another folder",
            ) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        yield
    finally:
        os.close(descriptor)
