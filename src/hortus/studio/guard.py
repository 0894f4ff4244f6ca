"""What stands in front of the studio: token, Host, Origin, size of the body, and the headers of every answer.

The page and its requests carry the token in a cookie that other sites' pages cannot send (SameSite=Strict);
scripts send it as a bearer token. A name that resolves to this machine (DNS rebinding) fails on `Host`, a
form or script of another site on `Origin`.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hortus.errors import HortusError

__all__ = ["Guard", "fault", "fault_of"]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
REPORT_POLICY = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'"
)
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_READING = ("GET", "HEAD")


def fault(
    status: int, what: str, allowed: str | None = None, do: str | None = None, field: str | None = None
) -> JSONResponse:
    """A refusal in the studio's shape.

    >>> fault(404, "no such run").status_code
    404
    """
    message = str(HortusError(what, allowed=allowed, do=do))
    error = {"message": message, "what": what, "allowed": allowed, "do": do, "field": field}
    return JSONResponse({"error": error}, status_code=status)


def fault_of(error: HortusError, status: int = 400) -> JSONResponse:
    """A mistake of the user's as a refusal; `field` is the setting that it names first."""
    name = error.what.partition("=")[0]
    field = name if "=" in error.what and name.replace(".", "").isidentifier() else None
    return fault(status, error.what, error.allowed, error.do, field)


class Guard:
    """Lets through what comes from the studio's own page, or carries the token.

    Args:
        open_hosts: take any Host: the server listens on an address that has names it cannot know.
        most: path -> largest body in bytes.
        cookie: also take the token from a cookie, and give one to who opens the printed link.
    """

    def __init__(
        self,
        app: ASGIApp,
        token: str | None,
        most: Callable[[str], int],
        open_hosts: bool = False,
        cookie: bool = True,
    ):
        self._app, self._token, self._most = app, token, most
        self._open_hosts, self._cookie = open_hosts, cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)
        app: Any = self._app if refusal is None else refusal
        await app(scope, self._bounded(scope, receive), _with_headers(send))

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        host = headers.get("host", "")
        if not self._open_hosts and host.rpartition(":")[0] not in _LOOPBACK and host not in _LOOPBACK:
            return fault(421, f"the host {host!r} is not this server", do="use the printed address")
        bearer = self._matches(headers.get("authorization", "").removeprefix("Bearer "))
        if not bearer and self._token is not None:
            if entrance := self._entrance(scope, host):
                return entrance
            if not (self._cookie and self._matches(self._cookie_of(headers, host))):
                return fault(401, "no token, or a wrong one", do="open the link that hortus studio printed")
        origin = headers.get("origin")
        own = f"{scope.get('scheme', 'http')}://{host}"
        # A client without pages sends no Origin: it is let in by the bearer token alone.
        if scope["method"] not in _READING and not (origin == own or (bearer and origin is None)):
            return fault(403, f"a request from {origin or 'an unknown page'}", allowed=own)
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > self._most(scope["path"]):
            return fault(413, f"a body of {length} bytes", allowed=f"up to {self._most(scope['path'])}")
        return None

    def _matches(self, given: str) -> bool:
        return self._token is None or hmac.compare_digest(given.encode(), self._token.encode())

    def _entrance(self, scope: Scope, host: str) -> Response | None:
        """The printed link: the token moves from the address, which is seen and kept, into a cookie."""
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if not self._cookie or scope["path"] != "/" or scope["method"] != "GET" or not self._matches(given):
            return None
        answer = RedirectResponse("/", status_code=303)
        answer.set_cookie(_cookie_name(host), self._token or "", httponly=True, samesite="strict", path="/")
        return answer

    @staticmethod
    def _cookie_of(headers: Headers, host: str) -> str:
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(_cookie_name(host))
        except CookieError:
            return ""
        return "" if found is None else found.value

    def _bounded(self, scope: Scope, receive: Receive) -> Receive:
        """The body, which ends the request when it is larger than it said."""
        most, size = self._most(scope["path"]), 0

        async def bounded() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            return {"type": "http.disconnect"} if size > most else message

        return bounded


def _cookie_name(host: str) -> str:
    # Cookies do not tell ports apart: two studios on one machine must.
    port = host.rpartition(":")[2]
    return f"hortus_studio_{port if port.isdigit() else 80}"


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.setdefault("Content-Security-Policy", POLICY)
            headers.setdefault("Cache-Control", "no-store")
            headers["X-Content-Type-Options"] = "nosniff"
            headers["Referrer-Policy"] = "no-referrer"
            headers["Cross-Origin-Opener-Policy"] = "same-origin"
            headers["Cross-Origin-Resource-Policy"] = "same-origin"
        await send(message)

    return sending
