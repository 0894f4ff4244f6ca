"""News from the engine's thread, awaited in the server's event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from hortus.serving.engine import Engine
from hortus.serving.sequence import Text, TextRequest, Update

__all__ = ["ClientGoneError", "Listener"]


class ClientGoneError(Exception):
    """The client has closed the connection; nobody reads the answer."""


class Listener:
    """Submits one API request's texts and yields their news, in order for each text."""

    def __init__(self, engine: Engine):
        self._engine, self._loop = engine, asyncio.get_running_loop()
        self._news: asyncio.Queue[tuple[Text, Update] | None] = asyncio.Queue()
        self._texts: list[Text] = []

    async def submit(self, prepare: Callable[[], Sequence[TextRequest]]) -> None:
        """Submit what `prepare` makes; tokenising long prompts would hold up the event loop."""
        self._texts = await run_in_threadpool(lambda: self._engine.submit(prepare(), self._tell))

    @property
    def texts(self) -> list[Text]:
        """The texts, in the order of their requests."""
        return self._texts

    def _tell(self, text: Text, update: Update) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has closed: nobody waits
            self._loop.call_soon_threadsafe(self._news.put_nowait, (text, update))

    async def updates(self, request: Request | None = None) -> AsyncGenerator[tuple[int, Update], None]:
        """(number of the text, news) until every text has ended; leaving early cancels what still runs.

        Args:
            request: watch this connection; a stream need not, for the server stops it itself.

        Raises:
            ClientGoneError: the client has left.
        """
        watch = None if request is None else asyncio.create_task(self._watch(request))
        numbers = {id(text): number for number, text in enumerate(self._texts)}
        left = set(numbers)
        try:
            while left:
                news = await self._news.get()
                if news is None:
                    raise ClientGoneError
                text, update = news
                if update.finish is not None:
                    left.discard(id(text))
                yield numbers[id(text)], update
        finally:
            if watch is not None:
                watch.cancel()
            self._engine.cancel([text for text in self._texts if id(text) in left])

    async def _watch(self, request: Request) -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        self._news.put_nowait(None)
