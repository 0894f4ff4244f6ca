"""Every refusal in the shape that OpenAI's clients read, and what stands in front of the app.

`Guard` checks the bearer token and the size of the body before anything is parsed.
"""

from __future__ import annotations

import hmac
import json
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hortus.errors import HortusError
from hortus.serving.engine import BusyError
from hortus.serving.metrics import Metrics

__all__ = ["Guard", "fault", "install", "stream_fault"]

_OPEN_PATHS = ("/health",)
_TYPES = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}


def _shape(status: int, message: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def fault(
    status: int,
    message: str,
    param: str | None = None,
    code: str | None = None,
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    """A refusal with its status.

    >>> fault(404, "no such model", code="model_not_found").status_code
    404
    """
    return JSONResponse(_shape(status, message, param, code), status_code=status, headers=headers)


def stream_fault(message: str) -> str:
    """A failure inside a stream that has begun."""
    return f"data: {json.dumps(_shape(500, message))}\n\n"


def install(app: FastAPI) -> None:
    """Turn every error into a refusal of this shape."""

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            return fault(400, f"the body is not JSON: {first.get('ctx', {}).get('error', '')}")
        param = ".".join(str(part) for part in first["loc"][1:]) or None
        return fault(400, f"{param or 'body'}: {first['msg']}", param)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        headers = dict(error.headers) if error.headers else None
        return fault(error.status_code, str(error.detail), headers=headers)

    @app.exception_handler(HortusError)
    async def _hortus(request: Request, error: HortusError) -> JSONResponse:
        if isinstance(error, BusyError):
            code = "stopping" if error.stopping else "queue_full"
            return fault(503 if error.stopping else 429, str(error), code=code, headers={"Retry-After": "1"})
        return fault(400, str(error))

    @app.exception_handler(Exception)
    async def _unforeseen(request: Request, error: Exception) -> JSONResponse:
        return fault(500, f"{type(error).__name__}: {error}")


class Guard:
    """Lets requests with the token and a body of allowed size through, and counts the answers."""

    def __init__(self, app: ASGIApp, token: str | None, max_body_bytes: int, metrics: Metrics):
        self._app, self._token, self._most, self._metrics = app, token, max_body_bytes, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = scope.get("route")
                path = getattr(route, "path", "other")  # never the client's own text: it names a series
                self._metrics.answered(path, message["status"])
            await send(message)

        headers = dict(scope["headers"])
        if not self._allowed(scope["path"], headers):
            challenge = {"WWW-Authenticate": "Bearer"}
            refusal = fault(401, "a valid bearer token is needed", code="invalid_api_key", headers=challenge)
            await refusal(scope, receive, counted)
            return
        body = await self._body(headers, receive) if scope["method"] not in ("GET", "HEAD") else b""
        if body is None:
            await fault(413, f"the body is larger than {self._most} bytes")(scope, receive, counted)
            return
        await self._app(scope, _replay(body, receive), counted)

    def _allowed(self, path: str, headers: dict[bytes, bytes]) -> bool:
        if self._token is None or path in _OPEN_PATHS:
            return True
        kind, _, given = headers.get(b"authorization", b"").partition(b" ")
        return kind.lower() == b"bearer" and hmac.compare_digest(given.strip(), self._token.encode())

    async def _body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes | None:
        """The whole body, or None if it is too large; a client that leaves half-way sent what it sent."""
        declared = headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self._most:
            return None
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > self._most:
                return None
        return body


def _replay(body: bytes, receive: Receive) -> Receive:
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
