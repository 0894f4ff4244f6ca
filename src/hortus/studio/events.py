"""News for the browser's tabs: numbered events, kept for a while so that a stream can be taken up again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

__all__ = ["Broker"]

_KEPT_CHARACTERS = 8_000_000  # of a project's events
_MOST_WAITING = 5000
_HEARTBEAT_SECONDS = 15.0
_CLOSED_SECONDS = 5.0


class Broker:
    """Takes events from any thread and yields them as a stream of server-sent events for each tab.

    Args:
        closed: called with a project some seconds after the last stream of it has ended.
    """

    def __init__(self, closed: Callable[[str], None] | None = None):
        # Numbers start at the clock: those of a former process are all smaller, so what it told is a gap.
        self._number = int(time.time() * 1000)
        self._began = self._number
        self._dropped: dict[str, int] = {}
        self._sizes: dict[str, int] = {}
        self._kept: dict[str, deque[tuple[int, str]]] = {}
        self._streams: dict[str, set[asyncio.Queue[tuple[int, str] | None]]] = {}
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed, self._ending = closed, False

    def publish(self, project: str, event: str, data: Any) -> None:
        """Tell all tabs of a project."""
        body = json.dumps(data, separators=(",", ":"), allow_nan=False)
        with self._lock:
            self._number += 1
            text = f"id: {self._number}\nevent: {event}\ndata: {body}\n\n"
            kept = self._kept.setdefault(project, deque())
            kept.append((self._number, text))
            size = self._sizes.get(project, 0) + len(text)
            while size > _KEPT_CHARACTERS and len(kept) > 1:
                self._dropped[project], old = kept.popleft()
                size -= len(old)
            self._sizes[project] = size
            self._hand(self._streams.get(project, ()), (self._number, text))

    def _hand(
        self, queues: Iterable[asyncio.Queue[tuple[int, str] | None]], item: tuple[int, str] | None
    ) -> None:
        """To the loop's thread, in the order of the numbers; the caller holds the lock."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has closed: nobody listens
                for queue in queues:
                    self._loop.call_soon_threadsafe(queue.put_nowait, item)

    def num_streams(self, project: str) -> int:
        """How many tabs listen."""
        with self._lock:
            return len(self._streams.get(project, ()))

    def end(self) -> None:
        """End all streams: the server stops."""
        self._ending = True
        with self._lock:
            self._hand([queue for mine in self._streams.values() for queue in mine], None)

    async def stream(self, project: str, last: int | None) -> AsyncIterator[str]:
        """The events of a project after number `last`, or from now on, until the client leaves."""
        queue: asyncio.Queue[tuple[int, str] | None] = asyncio.Queue()
        with self._lock:
            self._loop = asyncio.get_running_loop()
            self._streams.setdefault(project, set()).add(queue)
            missed = self._missed(project, last)
        try:
            yield "retry: 1000\n\n"
            for text in missed:
                yield text
            while not self._ending:
                try:
                    item = await asyncio.wait_for(queue.get(), _HEARTBEAT_SECONDS)
                except TimeoutError:
                    yield ": still here\n\n"
                    continue
                if item is None:
                    return
                if queue.qsize() > _MOST_WAITING:  # a tab that does not read
                    while not queue.empty():
                        item = queue.get_nowait() or item
                    yield f"id: {item[0]}\nevent: reset\ndata: {{}}\n\n"
                else:
                    yield item[1]
        finally:
            with self._lock:
                self._streams[project].discard(queue)
            asyncio.get_running_loop().call_later(_CLOSED_SECONDS, self._check, project)

    def _check(self, project: str) -> None:
        if self._closed is not None and not self._ending and not self.num_streams(project):
            self._closed(project)

    def _missed(self, project: str, last: int | None) -> list[str]:
        if last is None:
            return []
        kept = self._kept.get(project, ())
        if last < self._dropped.get(project, self._began) or last > self._number:
            return [f"id: {self._number}\nevent: reset\ndata: {{}}\n\n"]
        return [text for number, text in kept if number > last]
