"""The server process: uvicorn around the app, stopped gracefully."""

from __future__ import annotations

import socket
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn

from hortus.language import LanguageModel
from hortus.serving.answerer import Answerer
from hortus.serving.app import Service, create_app
from hortus.serving.config import ServingConfig
from hortus.serving.engine import Engine

__all__ = ["Server", "serve"]

_LAST_SECONDS = 5.0  # for connections to take their answers once all texts have ended


class Server(uvicorn.Server):
    """Stops in three steps: no new requests, running texts go on for a while, then they end as they are."""

    def __init__(self, service: Service, app: Any = None):
        self._engine, config = service.engine, service.config
        settings = uvicorn.Config(
            app or create_app(service),
            host=config.host,
            port=config.port,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=int(config.grace_seconds + _LAST_SECONDS) + 1,
        )
        super().__init__(settings)

    @property
    def address(self) -> str:
        """http://host:port, once the server has started."""
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        return f"http://{host}:{port}"

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal stops gracefully, a second one at once; neither ends the process by itself."""
        self.force_exit = self.should_exit
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let running texts finish within the grace, then end the connections."""
        self._engine.drain(self._engine.config.grace_seconds)
        await super().shutdown(sockets)


def serve(
    model: LanguageModel,
    config: ServingConfig,
    *,
    folder: Path | None = None,
    answerer: Answerer | None = None,
    announce: Any = None,
) -> None:
    """Serve a model until the process is told to stop (SIGINT, SIGTERM).

    Args:
        folder: where the model came from; it is watched for changes.
        answerer: what prepares the questions of chats.
        announce: called with the server's address once it listens.
    """
    name = config.name or (folder.name if folder is not None else model.card.name)
    with Engine(model, config) as engine:
        server = Server(Service(engine, name, folder, answerer))
        if announce is not None:
            started = server.startup

            async def startup(sockets: list[socket.socket] | None = None) -> None:
                await started(sockets)
                if server.started:
                    announce(server.address)

            server.startup = startup  # type: ignore[method-assign]
        server.run()
