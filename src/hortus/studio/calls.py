"""What each request does, apart from HTTP: functions of the studio, the path, the query and the body.

Bodies are read by `hortus.config.from_mapping`, which refuses unknown keys and wrong types by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import hortus
from hortus.config import from_mapping
from hortus.errors import ConfigError, DataError
from hortus.studio import config as limits
from hortus.studio.apps import PromptApp
from hortus.studio.config import (
    DataSource,
    LargeRequest,
    PromptText,
    RunRequest,
    Task,
    Variations,
    WorkingRequest,
)
from hortus.studio.data import shortened
from hortus.studio.models import open_entry, open_remote
from hortus.studio.results import METHOD, pairwise_tests
from hortus.studio.studio import Studio
from hortus.studio.variations import suggest

__all__ = ["CALLS", "Call"]

_MOST_PAGE = 500


@dataclass(frozen=True)
class Call:
    """One request. `query` has the values of every name, in order."""

    studio: Studio
    path: Mapping[str, str]
    query: Mapping[str, list[str]]
    body: Any

    @property
    def project(self) -> str:
        return self.path["project"]

    def text(self, name: str, default: str = "") -> str:
        """A query value, the last given."""
        return self.query.get(name, [default])[-1]

    def number(self, name: str, default: int, most: int = 2**31) -> int:
        """A query value that is a number of 0 or more."""
        text = self.text(name, str(default))
        if not text.isascii() or not text.isdigit() or int(text) > most:
            raise ConfigError(f"{name}={text!r}", allowed=f"0 to {most}")
        return int(text)

    def fields(self, cls: Any, **more: Any) -> Any:
        """The body as a dataclass."""
        if not isinstance(self.body, dict):
            raise ConfigError(f"the body is {type(self.body).__name__}", allowed="a JSON object")
        return from_mapping(cls, {**self.body, **more})


@dataclass(frozen=True, kw_only=True)
class _Name:
    name: str


@dataclass(frozen=True, kw_only=True)
class _ModelRequest:
    source: str | None = None
    url: str | None = None
    name: str | None = None
    token: str | None = None
    chat: bool = False
    method: str = "logprobs"


@dataclass(frozen=True, kw_only=True)
class _Preview:
    variations: Variations
    task: Task | None = None
    rows: tuple[int, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class _Render:
    prompts: tuple[PromptText, ...]
    rows: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class _Suggest:
    model: str
    wordings: tuple[str, ...] = ()
    count: int = 6
    context: str = ""


@dataclass(frozen=True, kw_only=True)
class _Deploy:
    run: str
    prompt: str
    name: str
    threshold: float | None = None


@dataclass(frozen=True, kw_only=True)
class _Rows:
    rows: tuple[dict[str, Any], ...] = field(default_factory=tuple)


def _session(call: Call) -> dict[str, Any]:
    studio = call.studio
    return {
        "version": hortus.__version__,
        "limits": {
            "working": limits.MOST_WORKING,
            "cards": limits.MOST_CARDS,
            "variables": limits.MOST_VARIABLES,
            "wordings": limits.MOST_WORDINGS,
            "upload_bytes": studio.config.max_upload_bytes,
            "large_rows": limits.MOST_LARGE_ROWS,
        },
        "models": studio.models.listed(),
        "metrics": list(limits.METRICS),
        "initial_project": studio.initial_project,
        **_projects(call),
    }


def _projects(call: Call) -> dict[str, Any]:
    return {"projects": [call.studio.head(one) for one in call.studio.store.heads()]}


def _add_model(call: Call) -> dict[str, Any]:
    asked: _ModelRequest = call.fields(_ModelRequest)
    if (asked.source is None) == (asked.url is None):
        raise ConfigError("a model needs a source or a url", allowed="one of the two")
    if asked.url is not None:
        entry = open_remote(asked.url, asked.name, asked.token, asked.chat, asked.method)
    else:
        entry = open_entry(str(asked.source), asked.name or "")
    return call.studio.models.add(entry).to_mapping()


def _delete_project(call: Call) -> None:
    for record in call.studio.store.runs(call.project):
        call.studio.runner.cancel(call.project, run=record["id"])
    call.studio.store.delete(call.project)


def _change(call: Call) -> dict[str, Any]:
    known = ("revision", "name", "task", "variations", "cart", "refine", "view")
    if not isinstance(call.body, dict) or any(name not in known for name in call.body):
        raise ConfigError("a change of unknown sections", allowed=", ".join(known))
    if type(call.body.get("revision")) is not int:
        raise ConfigError("the change names no revision", do="send the last one that you know")
    return {"revision": call.studio.change(call.project, call.body)}


def _find_rows(call: Call) -> dict[str, Any]:
    table = call.studio.table(call.project)
    offset, limit = call.number("offset", 0), call.number("limit", 100, _MOST_PAGE)
    found = table.find(
        call.text("search"),
        call.text("field"),
        call.query.get("filter", []),
        call.text("sort"),
        call.text("order", "asc") == "desc",
    )
    page = [int(row) for row in found[offset : offset + limit]]
    return {"total": len(found), "offset": offset, "rows": [_shown(row, table.row(row)) for row in page]}


def _shown(row: int, values: dict[str, Any]) -> dict[str, Any]:
    short, cut = shortened(values)
    return {"row": row, "values": short, **({"cut": True} if cut else {})}


def _row(call: Call) -> dict[str, Any]:
    row = _integer(call.path["row"])
    return {"row": row, "values": call.studio.table(call.project).row(row)}


def _integer(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise DataError(f"row {text!r}", allowed="a number")
    return int(text)


def _balance(call: Call) -> dict[str, Any]:
    table = call.studio.table(call.project)
    return table.balance(call.text("field"), call.text("search"), call.query.get("filter", []))


def _templates(call: Call) -> dict[str, Any]:
    table, published = call.studio.table(call.project), call.studio.published
    source = call.studio.store.section(call.project, "data")["source"]
    found = published.find(list(table.columns), source, call.text("search"), call.studio.renderer)
    return {"templates": found, "folder": published.folder and str(published.folder)}


def _preview(call: Call) -> dict[str, Any]:
    asked: _Preview = call.fields(_Preview)
    return call.studio.preview(call.project, asked.variations, asked.task, asked.rows)


def _render(call: Call) -> dict[str, Any]:
    asked: _Render = call.fields(_Render)
    if len(asked.prompts) * len(asked.rows) > 5120:
        raise ConfigError(f"{len(asked.prompts)} prompts on {len(asked.rows)} rows", allowed="5120 pairs")
    return {"rendered": call.studio.rendered(call.project, asked.prompts, asked.rows)}


def _suggest(call: Call) -> dict[str, Any]:
    asked: _Suggest = call.fields(_Suggest)
    model = call.studio.models[asked.model].model
    return {"wordings": suggest(model, asked.wordings, min(max(asked.count, 1), 12), asked.context)}


def _runs(call: Call) -> dict[str, Any]:
    studio = call.studio
    return {"runs": [studio.run_head(record) for record in studio.store.runs(call.project)]}


def _delete_run(call: Call) -> None:
    call.studio.store.run(call.path["run"], call.project)
    call.studio.runner.cancel(call.project, run=call.path["run"])
    call.studio.store.delete_run(call.path["run"])


def _cancel(call: Call) -> dict[str, Any]:
    call.studio.runner.cancel(call.project, run=call.path["run"])
    return call.studio.run_head(call.studio.store.run(call.path["run"], call.project))


def _run_tiles(call: Call) -> dict[str, Any]:
    call.studio.store.run(call.path["run"], call.project)
    return {"tiles": call.studio.prompt_of(call.path["run"], call.text("prompt"))[2]}


def _run_rows(call: Call) -> dict[str, Any]:
    call.studio.store.run(call.path["run"], call.project)
    _, _, tiles = call.studio.prompt_of(call.path["run"], call.text("prompt"))
    for place, name in ((1, "state"), (2, "predicted"), (3, "gold")):
        if name in call.query:
            tiles = [tile for tile in tiles if tile[place] == call.text(name)]
    offset, limit = call.number("offset", 0), call.number("limit", 100, _MOST_PAGE)
    table = call.studio.table_of(call.studio.store.spec(call.path["run"])["data"])
    page = [{"tile": tile, **_shown(tile[0], table.row(tile[0]))} for tile in tiles[offset : offset + limit]]
    return {"total": len(tiles), "offset": offset, "rows": page}


def _detail(call: Call) -> dict[str, Any]:
    row = _integer(call.text("row"))
    return call.studio.detail(call.project, call.path["run"], call.text("prompt"), row)


def _tests(call: Call) -> dict[str, Any]:
    return {"tests": pairwise_tests(call.studio.tiles(call.project, call.path["run"])), "method": METHOD}


def _deploy(call: Call) -> dict[str, Any]:
    asked: _Deploy = call.fields(_Deploy)
    return call.studio.deploy(call.project, asked.run, asked.prompt, asked.name, asked.threshold)


def _apps(call: Call) -> dict[str, Any]:
    folder = call.studio.config.folder / "apps"
    return {"apps": [call.studio.app(path) for path in sorted(folder.glob("*.json"))]}


def _classify(call: Call) -> dict[str, Any]:
    app = PromptApp.load(call.studio.app_path(call.path["name"]))
    wanted = app.content["model"]["hash"]
    model = call.studio.models["m" + str(wanted)[:10]].model
    asked: _Rows = call.fields(_Rows)
    if len(asked.rows) > 1000:
        raise ConfigError(f"{len(asked.rows)} rows", allowed="up to 1000 in one request")
    return {"answers": app.classify(asked.rows, model, call.studio.renderer)}


_P = "/api/projects/{project}"
# (method, path, status of success, what it does)
CALLS: list[tuple[str, str, int, Callable[[Call], Any]]] = [
    ("GET", "/api/session", 200, _session),
    ("GET", "/api/models", 200, lambda call: {"models": call.studio.models.listed()}),
    ("POST", "/api/models", 201, _add_model),
    ("DELETE", "/api/models/{model}", 204, lambda call: call.studio.models.remove(call.path["model"])),
    ("GET", "/api/projects", 200, _projects),
    ("POST", "/api/projects", 201, lambda call: call.studio.create(call.fields(_Name).name)),
    ("GET", _P, 200, lambda call: call.studio.project(call.project)),
    ("PATCH", _P, 200, _change),
    ("DELETE", _P, 204, _delete_project),
    ("POST", f"{_P}/data", 200, lambda call: call.studio.open_data(call.project, call.fields(DataSource))),
    ("GET", f"{_P}/rows", 200, _find_rows),
    ("GET", f"{_P}/rows/{{row}}", 200, _row),
    ("GET", f"{_P}/balance", 200, _balance),
    (
        "POST",
        f"{_P}/working",
        200,
        lambda call: call.studio.draw_working(call.project, call.fields(WorkingRequest)),
    ),
    ("GET", f"{_P}/templates", 200, _templates),
    ("POST", f"{_P}/prompts", 200, _preview),
    ("POST", f"{_P}/render", 200, _render),
    ("POST", f"{_P}/suggest", 200, _suggest),
    ("GET", f"{_P}/runs", 200, _runs),
    ("POST", f"{_P}/runs", 202, lambda call: call.studio.start(call.project, call.fields(RunRequest))),
    (
        "POST",
        f"{_P}/large",
        202,
        lambda call: call.studio.start_large(call.project, call.fields(LargeRequest)),
    ),
    ("GET", f"{_P}/runs/{{run}}", 200, lambda call: call.studio.run(call.project, call.path["run"])),
    ("DELETE", f"{_P}/runs/{{run}}", 204, _delete_run),
    ("POST", f"{_P}/runs/{{run}}/cancel", 200, _cancel),
    (
        "POST",
        f"{_P}/runs/{{run}}/resume",
        202,
        lambda call: call.studio.resume(call.project, call.path["run"]),
    ),
    ("GET", f"{_P}/runs/{{run}}/rows", 200, _run_rows),
    ("GET", f"{_P}/runs/{{run}}/tiles", 200, _run_tiles),
    ("GET", f"{_P}/runs/{{run}}/detail", 200, _detail),
    ("GET", f"{_P}/runs/{{run}}/tests", 200, _tests),
    (
        "GET",
        f"{_P}/compare",
        200,
        lambda call: call.studio.compare(call.project, call.text("first"), call.text("second")),
    ),
    ("POST", f"{_P}/deploy", 201, _deploy),
    ("GET", "/api/apps", 200, _apps),
    ("POST", "/api/apps/{name}/classify", 200, _classify),
]
