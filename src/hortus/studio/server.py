"""The studio over HTTP: routes, files, event stream, and the process around them."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import parse_qs

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from hortus.config import from_mapping
from hortus.errors import DataError, DeviceError, HortusError
from hortus.prompts import Renderer
from hortus.prompts.rows import SUFFIXES
from hortus.studio.apps import PromptApp
from hortus.studio.calls import CALLS, Call
from hortus.studio.config import DataSource, PromptText, StudioConfig
from hortus.studio.guard import REPORT_POLICY, Guard, fault, fault_of
from hortus.studio.models import ModelEntry
from hortus.studio.projects import ConflictError, NotFoundError
from hortus.studio.studio import Studio

__all__ = ["create_app", "create_classifier", "run_server", "run_studio"]

_STATIC = Path(__file__).parent / "static"
_MOST_REPORTS = 500


def create_app(studio: Studio, token: str) -> Starlette:
    """The ASGI application of a studio."""
    config = studio.config
    routes = [Route(path, _call(studio, work, status), methods=[m]) for m, path, status, work in CALLS]
    own: list[tuple[str, str, Any]] = [
        ("POST", "/api/projects/{project}/upload", _upload),
        ("POST", "/api/projects/{project}/export", _export),
        ("GET", "/api/projects/{project}/events", _events),
        ("GET", "/api/apps/{name}", _download),
        ("GET", "/api/reports", _reports),
        ("GET", "/reports/{path:path}", _report),
        ("GET", "/", _page),
        ("GET", "/{path:path}", _asset),
    ]
    routes += [Route(path, work, methods=[method]) for method, path, work in own]

    def most(path: str) -> int:
        return config.max_upload_bytes if path.endswith("/upload") else config.max_body_bytes

    loopback = config.host in ("127.0.0.1", "localhost", "::1")
    guard = Middleware(Guard, token=token, most=most, open_hosts=not loopback)
    handlers: Any = {
        HortusError: _refused,
        HTTPException: _http,
        ClientDisconnect: lambda *_: fault(413, "the body ended early, or is too large"),
        Exception: _unforeseen,
    }
    app = Starlette(routes=routes, middleware=[guard], exception_handlers=handlers)
    app.state.studio = studio
    return app


def _call(studio: Studio, work: Callable[[Call], Any], status: int) -> Callable[[Request], Any]:
    """A route that runs in a thread: nothing here may hold up the event streams."""

    async def endpoint(request: Request) -> Response:
        body = await _json(request) if request.method not in ("GET", "DELETE") else None
        query = parse_qs(request.url.query, keep_blank_values=True)
        call = Call(studio, request.path_params, query, body)
        result = await run_in_threadpool(work, call)
        if status == 204:
            return Response(status_code=204)
        return await run_in_threadpool(_Json, result, status_code=status)

    return endpoint


class _Json(JSONResponse):
    """JSON of what rows may hold: dates as text, numbers that JSON does not know as null."""

    def render(self, content: Any) -> bytes:
        try:
            return json.dumps(content, default=str, allow_nan=False, separators=(",", ":")).encode()
        except ValueError:
            plain = json.loads(json.dumps(content, default=str), parse_constant=lambda _: None)
            return json.dumps(plain, separators=(",", ":")).encode()


async def _json(request: Request) -> Any:
    text = await request.body()
    try:
        return json.loads(text) if text else {}
    except (ValueError, RecursionError) as error:
        raise DataError(f"the body is not JSON: {error}") from error


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HortusError)
    if isinstance(error, ConflictError):
        studio: Studio = request.app.state.studio
        refusal = json.loads(bytes(fault_of(error, 409).body))
        project = await run_in_threadpool(studio.project, request.path_params["project"])
        return _Json({**refusal, "project": project}, status_code=409)
    return fault_of(error, 404 if isinstance(error, NotFoundError) else 400)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return fault(error.status_code, str(error.detail))


async def _unforeseen(request: Request, error: Exception) -> Response:
    return fault(500, f"{type(error).__name__}: {error}")


async def _upload(request: Request) -> Response:
    """The file is written as it comes, under a name made of its content's hash."""
    studio: Studio = request.app.state.studio
    query = request.query_params
    name = re.sub(r"[^\w.-]", "_", Path(query.get("name", "")).name)[-100:]
    if Path(name).suffix not in SUFFIXES:
        raise DataError(f"the file {name!r}", allowed=", ".join(SUFFIXES))
    folder = studio.config.folder / "uploads"
    folder.mkdir(parents=True, exist_ok=True)
    digest, part = hashlib.blake2b(digest_size=6), folder / f".{secrets.token_hex(8)}.part"
    try:
        with part.open("wb") as file:
            async for piece in request.stream():
                digest.update(piece)
                await run_in_threadpool(file.write, piece)
        home = folder / digest.hexdigest()
        home.mkdir(exist_ok=True)
        if not (home / name).exists():  # the same content is there: its projects keep it as it is
            part.replace(home / name)
    finally:
        part.unlink(missing_ok=True)
    names = query.get("names")
    options = {"encoding": query.get("encoding", "utf-8"), "names": names.split(",") if names else []}
    source = from_mapping(DataSource, {"source": str(home / name), **options})
    project = await run_in_threadpool(studio.open_data, request.path_params["project"], source)
    return _Json(project)


async def _export(request: Request) -> Response:
    studio: Studio = request.app.state.studio
    body = await _json(request)
    if not isinstance(body, dict) or not isinstance(body.get("prompts"), list):
        raise DataError("the body names no prompts", allowed="a JSON object with a list `prompts`")
    texts = [from_mapping(PromptText, prompt, where="prompts") for prompt in body["prompts"]]
    dataset = str(body.get("dataset") or "dataset")

    def written() -> str:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "templates.yaml"
            studio.export(request.path_params["project"], texts, dataset, path)
            return path.read_text(encoding="utf-8")

    headers = {"Content-Disposition": 'attachment; filename="templates.yaml"'}
    return Response(await run_in_threadpool(written), media_type="text/yaml", headers=headers)


async def _events(request: Request) -> Response:
    studio: Studio = request.app.state.studio
    project = request.path_params["project"]
    await run_in_threadpool(studio.store.head, project)
    last = request.headers.get("last-event-id", "")
    stream = studio.broker.stream(project, int(last) if last.isdigit() else None)
    return StreamingResponse(stream, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


async def _download(request: Request) -> Response:
    path = request.app.state.studio.app_path(request.path_params["name"])
    return FileResponse(path, media_type="application/json", filename=path.name)


async def _reports(request: Request) -> Response:
    runs: Path = request.app.state.studio.config.runs

    def listed() -> list[dict[str, Any]]:
        found = []
        for path in list(runs.glob("**/report.html"))[:_MOST_REPORTS] if runs.is_dir() else ():
            about, stat = path.relative_to(runs), path.stat()
            title = str(about.parent) if about.parent.name else runs.resolve().name
            size = {"bytes": stat.st_size, "changed": stat.st_mtime}
            found.append({"path": about.as_posix(), "title": title, **size})
        return sorted(found, key=lambda one: -one["changed"])

    return _Json({"reports": await run_in_threadpool(listed)})


async def _report(request: Request) -> Response:
    """A run's report, in a sandbox of its own: it is a file that others may have written."""
    runs = request.app.state.studio.config.runs.resolve()
    path = (runs / request.path_params["path"]).resolve()
    if not path.is_relative_to(runs) or path.name != "report.html" or not path.is_file():
        raise NotFoundError("there is no such report")
    return FileResponse(path, media_type="text/html", headers={"Content-Security-Policy": REPORT_POLICY})


async def _page(request: Request) -> Response:
    if not (_STATIC / "index.html").is_file():
        raise DeviceError("the studio's page is not built", do="run: npm ci && npm run build, in web/")
    return FileResponse(_STATIC / "index.html", media_type="text/html")


async def _asset(request: Request) -> Response:
    path = (_STATIC / request.path_params["path"]).resolve()
    if not path.is_relative_to(_STATIC.resolve()) or not path.is_file():
        raise NotFoundError("there is no such page")
    # Built files carry a hash in their names.
    caching = "private, max-age=31536000, immutable" if "assets" in path.parts else "no-store"
    return FileResponse(path, headers={"Cache-Control": caching})


def create_classifier(
    app: PromptApp, entry: ModelEntry, token: str | None, open_hosts: bool = False
) -> Starlette:
    """The ASGI application of one deployed prompt: POST /classify {"rows": [{field: value}]}."""
    renderer, lock = Renderer(), threading.Lock()
    about = {name: app.content[name] for name in ("name", "fields", "threshold", "measured", "data")}

    async def classify(request: Request) -> Response:
        body = await _json(request)
        rows = body.get("rows") if isinstance(body, dict) else None
        if not isinstance(rows, list) or not 1 <= len(rows) <= 1000:
            raise DataError("the body has no list `rows`", allowed="a JSON object with 1 to 1000 rows")

        def work() -> list[dict[str, Any]]:
            with lock:  # one request at a time uses all cores best
                return app.classify(rows, entry.model, renderer)

        return _Json({"answers": await run_in_threadpool(work)})

    async def health(request: Request) -> Response:
        return _Json({"status": "ok", **about})

    guard = Middleware(Guard, token=token, most=lambda _: 2**22, open_hosts=open_hosts, cookie=False)
    handlers: Any = {HortusError: _refused, HTTPException: _http, Exception: _unforeseen}
    routes = [Route("/classify", classify, methods=["POST"]), Route("/health", health)]
    return Starlette(routes=routes, middleware=[guard], exception_handlers=handlers)


class _Server(uvicorn.Server):
    """Tells its address once it listens, and ends event streams before it waits for connections."""

    def __init__(self, app: Any, host: str, port: int, announce: Callable[[str], None], ending: Any):
        super().__init__(
            uvicorn.Config(
                app, host=host, port=port, log_level="warning", access_log=False, timeout_graceful_shutdown=5
            )
        )
        self._announce, self._ending = announce, ending

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            self._announce(f"http://{f'[{host}]' if ':' in host else host}:{port}")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal stops gracefully, a second one at once; neither ends the process by itself."""
        self.force_exit = self.should_exit
        self.should_exit = True

    async def shutdown(self, sockets: Any = None) -> None:
        self._ending()
        await super().shutdown(sockets)


def run_server(
    app: Starlette,
    host: str,
    port: int,
    announce: Callable[[str], None],
    ending: Callable[[], None] = lambda: None,
) -> None:
    """Serve until the process is told to stop.

    Args:
        announce: called with the address once it listens.
        ending: called before connections are waited for.
    """
    _Server(app, host, port, announce, ending).run()


def run_studio(
    config: StudioConfig,
    models: Sequence[ModelEntry] = (),
    data: DataSource | None = None,
    announce: Callable[[str], None] = print,
) -> None:
    """Run a studio until the process is told to stop.

    Args:
        models: opened already.
        data: opened as a new project.
        announce: called with the link, once it answers.
    """
    token = config.token or secrets.token_urlsafe(24)
    studio = Studio(config)
    try:
        for entry in models:
            studio.models.add(entry)
        if data is not None:
            studio.initial_project = studio.open_initial(data)
        studio.warm_up()
        app = create_app(studio, token)
        link = f"/?token={token}"
        run_server(app, config.host, config.port, lambda url: announce(url + link), studio.broker.end)
    finally:
        studio.close()
