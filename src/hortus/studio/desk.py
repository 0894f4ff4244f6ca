"""Projects with their data and prompts, and what all of the studio works with."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from hortus.config import from_mapping, to_mapping
from hortus.errors import DataError, DeviceError, HortusError
from hortus.prompts import Renderer
from hortus.prompts.hub import find_files
from hortus.studio.config import DataSource, PromptText, StudioConfig, Task, Variations, WorkingRequest
from hortus.studio.data import OpenData, Table
from hortus.studio.events import Broker
from hortus.studio.models import Models
from hortus.studio.projects import CLIENT_SECTIONS, Store
from hortus.studio.runs import Runner
from hortus.studio.variations import PublishedTemplates, build_prompt, expand, lint, render

__all__ = ["Desk", "source_of"]


class Desk:
    """The part of `hortus.studio.Studio` before any model is asked.

    Raises:
        DeviceError: another studio has the folder open.
    """

    def __init__(self, config: StudioConfig):
        self.config = config
        config.folder.mkdir(parents=True, exist_ok=True)
        self._folder_lock = _lock_folder(config.folder)
        self.store = Store(config.folder / "studio.sqlite")
        self.store.recover()
        self.data, self.models = OpenData(), Models()
        self.renderer = Renderer(workers=2)
        self.published = PublishedTemplates(config.templates)
        self.broker = Broker(closed=lambda project: self.runner.cancel(project))
        self.runner = Runner(self.store, self.broker, self.renderer)
        self.initial_project: str | None = None

    def close(self) -> None:
        """Stop after the units at work; what is unfinished can be resumed."""
        self.broker.end()
        self.runner.stop()
        self.store.close()
        self.renderer.close()
        os.close(self._folder_lock)

    def warm_up(self) -> None:
        """Start the rendering worker, so that the first tile does not wait for it."""
        self.renderer.inspect(("{{ text }}", None, None))

    def open_initial(self, source: DataSource) -> str:
        """The project of data that were named at the start: a new one, unless the last had the same."""
        source = self._local(source)
        for head in self.store.heads():
            if (self.store.section(head["id"], "data") or {}).get("source") == source.source:
                return str(head["id"])
        project: str = self.create(Path(source.source).stem)["id"]
        self.open_data(project, source)
        return project

    def create(self, name: str) -> dict[str, Any]:
        """A new, empty project."""
        empty = {"task": to_mapping(Task()), "variations": to_mapping(Variations()), "cart": []}
        working = {"rows": [], "how": "random", "seed": 0}
        more: dict[str, Any] = {"refine": None, "view": None, "data": None, "working": working, "seen": []}
        return self.project(self.store.create(name.strip()[:200] or "Untitled", {**empty, **more}))

    def project(self, project: str) -> dict[str, Any]:
        """A project as the browser sees it."""
        shown = self.store.project(project)
        shown.pop("seen", None)
        data = shown.get("data")
        if data:
            try:
                self.data.check(source_of(data))
            except HortusError as error:
                data["missing"] = str(error)
        return shown

    def head(self, project: Mapping[str, Any]) -> dict[str, Any]:
        """A project in brief."""
        data = self.store.section(project["id"], "data") or {}
        return {**project, "data": data.get("name"), "rows": data.get("rows")}

    def change(self, project: str, body: Mapping[str, Any]) -> int:
        """Write the sections that a tab sends."""
        sections = {name: body[name] for name in CLIENT_SECTIONS if name in body}
        for name, kind in (("task", Task), ("variations", Variations)):
            if name in sections:
                sections[name] = to_mapping(from_mapping(kind, sections[name], where=name))
        for item in sections.get("cart") or ():
            from_mapping(PromptText, item.get("prompt"), where="cart.prompt")
        renamed = str(body["name"])[:200] if body.get("name") else None
        return self._change(project, sections, body["revision"], renamed)

    def _change(
        self,
        project: str,
        sections: Mapping[str, Any],
        revision: int | None = None,
        name: str | None = None,
    ) -> int:
        new = self.store.change(project, revision, sections, name)
        told = {"revision": new, "sections": [one for one in sections if one != "seen"]}
        self.broker.publish(project, "project", told)
        return new

    def open_data(self, project: str, source: DataSource) -> dict[str, Any]:
        """Open data for a project; its task is guessed, its working set drawn."""
        self.store.head(project)
        source = self._local(source)
        table = self.data.open(source)
        task = from_mapping(Task, table.guess_task())
        how: Literal["stratified", "random"] = "stratified" if task.label else "random"
        request = WorkingRequest(how=how, field=task.label, count=min(20, len(table)))
        rows = table.draw(request)
        sections = {
            "data": table.describe(source),
            "task": to_mapping(task),
            "working": {"rows": rows, "how": how, "seed": 0},
            "seen": rows,
        }
        self._change(project, sections)
        return self.project(project)

    def _local(self, source: DataSource) -> DataSource:
        """Files of the hub as a folder of links to them: reopening a project asks no hub."""
        if Path(source.source).expanduser().exists():
            return replace(source, source=str(Path(source.source).expanduser().resolve()))
        files = find_files(source.source, source.subset, source.split)
        key = "--".join([*source.source.split("/"), source.subset or "default"])
        folder = self.config.folder.resolve() / "uploads" / key
        (folder / source.split).mkdir(parents=True, exist_ok=True)
        for number, file in enumerate(files):
            link = folder / source.split / f"{number:04d}{file.suffix}"
            link.unlink(missing_ok=True)
            link.symlink_to(file.resolve())
        return replace(source, source=str(folder), subset=None)

    def table(self, project: str) -> Table:
        """The project's data.

        Raises:
            DataError: none are open, or the file is gone.
        """
        data = self.store.section(project, "data")
        if not data:
            raise DataError("the project has no data", do="open a file")
        return self.data.open(source_of(data))

    def draw_working(self, project: str, request: WorkingRequest) -> dict[str, Any]:
        """A new working set; its rows count as seen from now on."""
        rows = self.table(project).draw(request)
        working = {"rows": rows, "how": request.how, "seed": request.seed}
        seen = sorted({*(self.store.section(project, "seen") or ()), *rows})
        self._change(project, {"working": working, "seen": seen})
        return self.project(project)

    def task(self, project: str, given: Task | None = None) -> Task:
        return given or from_mapping(Task, self.store.section(project, "task") or {})

    def rows(self, project: str, given: Sequence[int] | None = None) -> dict[int, dict[str, Any]]:
        """Row number -> values, of the given rows or of the working set."""
        numbers = given if given is not None else (self.store.section(project, "working") or {})["rows"]
        table = self.table(project)
        return {number: table.row(number) for number in dict.fromkeys(numbers)}

    def preview(
        self, project: str, variations: Variations, task: Task | None, rows: Sequence[int] | None
    ) -> dict[str, Any]:
        """The prompts of a template with variables, and what is wrong with them."""
        prompts, findings = expand(variations, self.task(project, task))
        if self.store.section(project, "data"):
            findings += lint(prompts, self.rows(project, rows), self.renderer)
        shown = [prompt.to_mapping() for prompt in prompts]
        return {"count": len(prompts), "prompts": shown, "findings": findings}

    def rendered(self, project: str, texts: Sequence[PromptText], rows: Sequence[int]) -> list[Any]:
        """Prompts filled with rows."""
        task, chosen = self.task(project), self.rows(project, rows)
        prompts = [build_prompt(text, task) for text in texts]
        return [
            [
                {
                    "row": row,
                    "status": one.status,
                    "reason": one.reason,
                    "input": one.input,
                    "choices": one.choices,
                    "targets": one.targets,
                }
                for row, one in zip(chosen, mine, strict=True)
            ]
            for mine in render(prompts, chosen, self.renderer)
        ]


def source_of(data: Mapping[str, Any]) -> DataSource:
    """What a project's data section was opened from."""
    names = ("source", "subset", "split", "columns", "classes", "names", "encoding")
    return from_mapping(DataSource, {name: data[name] for name in names if name in data})


def _lock_folder(folder: Path) -> int:
    """An open, locked file; the system unlocks it when the process ends, however it ends."""
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise DeviceError(
            f"{folder} is open in another studio", do="close that one, or name another --folder"
        ) from error
    return descriptor
