"""The studio apart from HTTP: projects, their data, runs and deployed prompts."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from hortus.config import from_mapping, to_mapping
from hortus.errors import ConfigError, DataError, DeviceError, HortusError
from hortus.evaluation import ResponseCache
from hortus.evaluation.asking import Asker
from hortus.prompts import Metadata, Renderer, TemplateSet
from hortus.prompts.hub import find_files
from hortus.studio.apps import PromptApp
from hortus.studio.config import (
    DataSource,
    LargeRequest,
    PromptText,
    RunRequest,
    StudioConfig,
    Task,
    Variations,
    WorkingRequest,
)
from hortus.studio.data import OpenData, Table
from hortus.studio.events import Broker
from hortus.studio.large import RULE, LargeJob, held_out_rows, measured_at, selection_warning
from hortus.studio.models import Models
from hortus.studio.projects import CLIENT_SECTIONS, NotFoundError, Store
from hortus.studio.results import Tile, compare, curve, interval, marginal_means, numbers_of, summarize
from hortus.studio.runs import ACTIVE, Job, Runner, new_record, new_spec, run_labels
from hortus.studio.scoring import answer
from hortus.studio.variations import Prompt, PublishedTemplates, build_prompt, expand, lint, render

__all__ = ["Studio"]


class Studio:
    """Everything that the browser asks for; safe to call from several threads.

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

    # Projects and their data.

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
                self.data.check(_source(data))
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
        return self.data.open(_source(data))

    def draw_working(self, project: str, request: WorkingRequest) -> dict[str, Any]:
        """A new working set; its rows count as seen from now on."""
        rows = self.table(project).draw(request)
        working = {"rows": rows, "how": request.how, "seed": request.seed}
        seen = sorted({*(self.store.section(project, "seen") or ()), *rows})
        self._change(project, {"working": working, "seen": seen})
        return self.project(project)

    # Prompts.

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

    # Runs.

    def start(self, project: str, request: RunRequest) -> dict[str, Any]:
        """Score prompts on a few rows; the slot's earlier run ends."""
        task, rows = self.task(project, request.task), list(self.rows(project, request.rows))
        if not rows:
            raise DataError("the working set is empty", do="choose rows")
        if request.slot == "large":
            raise ConfigError("slot='large'", allowed="any other name")
        self.runner.cancel(project, slot=request.slot)
        return self._start(project, request, task, rows, instead=True)

    def start_large(self, project: str, request: LargeRequest) -> dict[str, Any]:
        """Score prompts on many held-out rows."""
        seen = self.store.section(project, "seen") or []
        total = len(self.table(project))
        rows, warnings = held_out_rows(total, seen, request.rows, request.seed, request.include_seen)
        if len(request.prompts) > 1:
            warnings.append(selection_warning(len(request.prompts)))
        more = {"halving": request.halving, "held_out": not request.include_seen}
        task = self.task(project, request.task)
        rule = RULE if request.halving and len(request.prompts) > 1 else None
        return self._start(project, request, task, rows, warnings=warnings, rule=rule, **more)

    def _start(
        self,
        project: str,
        request: RunRequest | LargeRequest,
        task: Task,
        rows: list[int],
        instead: bool = False,
        warnings: Sequence[str] = (),
        rule: str | None = None,
        **more: Any,
    ) -> dict[str, Any]:
        entry = self.models[request.model]
        # Two cards may have the same text; it is asked once.
        prompts = list({one.id: one for one in (build_prompt(t, task) for t in request.prompts)}.values())
        slot = request.slot if isinstance(request, RunRequest) else "large"
        record = new_record(project, slot, entry, len(rows), len(prompts) * len(rows))
        record |= {"warnings": list(warnings), "rule": rule}
        variables = (self.store.section(project, "variations") or {}).get("variables", [])
        texts = {one["name"]: one["wordings"] for one in variables}
        data = self.store.section(project, "data")
        spec = new_spec(
            prompts, task, rows, request.when_closed, texts=texts, data=data, hash=entry.hash, **more
        )
        record["id"] = self.store.add_run(project, slot, record, spec, instead)
        self._submit(record, spec)
        return self.run_head(record, spec)

    def _submit(self, record: dict[str, Any], spec: Mapping[str, Any]) -> None:
        table = self.data.open(_source(spec["data"]))
        if table.fingerprint != spec["data"]["fingerprint"]:
            raise DataError(f"{table.name} has changed since the run", do="start a new run")
        kind = LargeJob if record["kind"] == "large" else Job
        job = kind(record, spec, table, self.store.results(record["id"]))
        self.runner.submit(job, self.models[record["model"]])

    def resume(self, project: str, run: str) -> dict[str, Any]:
        """Go on with a run that ended early; what was answered is not asked again."""
        record = self.store.run(run, project)
        spec = self.store.spec(run)
        if not self.runner.active(run) and record["state"] != "done":
            record |= {"state": "waiting", "error": None}
            self._submit(record, spec)
        return self.run_head(record, spec)

    def run_head(self, record: Mapping[str, Any], spec: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """A run without its results."""
        spec = spec or self.store.spec(record["id"])
        task = from_mapping(Task, spec["task"])
        shown = {name: record[name] for name in record if name not in ("stopped", "broken", "project")}
        shown |= {"task": spec["task"], "classes": run_labels(task)}
        return shown if record["kind"] == "large" else shown | {"rows": spec["rows"]}

    def run(self, project: str, run: str) -> dict[str, Any]:
        """A run with its cards."""
        record, spec = self.store.run(run, project), self.store.spec(run)
        task, prompts, tiles = self._results(run, spec)
        points = measured_at(len(spec["rows"])) if record["kind"] == "large" else []
        cards = []
        for prompt in prompts:
            mine = tiles[prompt.id]
            stopped = record["stopped"].get(prompt.id)
            running = record["state"] in ACTIVE and stopped is None
            card = {
                "prompt": prompt.to_mapping(),
                "state": "running" if running else "stopped" if stopped is not None else "done",
                "stopped_at": stopped,
                "error": record["broken"].get(prompt.id),
                "summary": summarize(mine, run_labels(task)),
            }
            large = {"curve": curve(mine, [n for n in points if n <= len(mine)])}
            cards.append(card | (large if points else {"tiles": mine}))
        shown = [prompt.to_mapping() for prompt in prompts]
        marginals = marginal_means(shown, tiles, spec.get("texts"))
        return self.run_head(record, spec) | {"cards": cards, "marginals": marginals}

    def _results(
        self, run: str, spec: Mapping[str, Any] | None = None
    ) -> tuple[Task, list[Prompt], dict[str, list[Tile]]]:
        """Task, prompts, and each prompt's tiles in the order of the run's rows."""
        spec = spec or self.store.spec(run)
        task, found = from_mapping(Task, spec["task"]), self.store.results(run)
        texts = [from_mapping(PromptText, prompt) for prompt in spec["prompts"]]
        prompts = [build_prompt(text, task) for text in texts]
        tiles: dict[str, list[Tile]] = {
            one.id: [found[one.id][row] for row in spec["rows"] if row in found.get(one.id, {})]
            for one in prompts
        }
        return task, prompts, tiles

    def tiles(self, project: str, run: str) -> dict[str, list[Tile]]:
        """Prompt -> tiles."""
        self.store.run(run, project)
        return self._results(run)[2]

    def prompt_of(self, run: str, prompt: str) -> tuple[Task, Prompt, list[Tile]]:
        """A prompt of a run with its tiles.

        Raises:
            NotFoundError: the run has no such prompt.
        """
        task, prompts, tiles = self._results(run)
        for one in prompts:
            if one.id == prompt:
                return task, one, tiles[prompt]
        raise NotFoundError(f"the run has no prompt {prompt!r}")

    def detail(self, project: str, run: str, prompt: str, row: int) -> dict[str, Any]:
        """One tile opened: the filled prompt and what every choice scored, from the kept answers."""
        self.store.run(run, project)
        spec = self.store.spec(run)
        task, chosen, _ = self.prompt_of(run, prompt)
        table = self.data.open(_source(spec["data"]))
        ((rendered,),) = render([chosen], {row: table.row(row)}, self.renderer)
        with ResponseCache(self.store.path, spec["hash"]) as cache:
            try:
                (said,) = answer(Asker(_NoModel(), cache), task, [rendered])
            except _NotKeptError:
                said = None
        shown = {
            "row": row,
            "status": rendered.status,
            "reason": rendered.reason,
            "input": rendered.input,
            "choices": rendered.choices,
            "gold": rendered.targets[0] if rendered.targets else None,
        }
        return shown | {
            "log_probabilities": said and said.log_probabilities,
            "probabilities": said and said.probabilities,
            "predicted": said and said.predicted,
            "answer": said and said.written,
            "state": said.state if said else "none",
        }

    def compare(self, project: str, first: str, second: str) -> dict[str, Any]:
        """Two runs of the same prompts, on two models say."""
        records = [self.store.run(run, project) for run in (first, second)]
        _, prompts, ours = self._results(first)
        theirs = self._results(second)[2]
        rows = []
        for prompt in prompts:
            if prompt.id not in theirs:
                continue
            pair = ours[prompt.id], theirs[prompt.id]
            found = compare(*pair)
            said = [{tile[0]: tile[2] for tile in tiles} for tiles in pair]
            both = said[0].keys() & said[1].keys()
            agree = sum(said[0][row] == said[1][row] for row in both) / len(both) if both else None
            blank = dict.fromkeys(("difference", "low", "high", "probability"))
            rows.append(
                {
                    "prompt": prompt.to_mapping(),
                    "first": _accuracy(pair[0]),
                    "second": _accuracy(pair[1]),
                    "agree": agree,
                    **(numbers_of(found[1]) if found else blank),
                }
            )
        heads = [self.run_head(record) for record in records]
        return {"first": heads[0], "second": heads[1], "prompts": rows}

    # Deployment.

    def deploy(
        self, project: str, run: str, prompt: str, name: str, threshold: float | None
    ) -> dict[str, Any]:
        """Write an app of a prompt with what the run measured of it."""
        record, spec = self.store.run(run, project), self.store.spec(run)
        task, chosen, tiles = self.prompt_of(run, prompt)
        summary = summarize(tiles, run_labels(task))
        coverage = summary.pop("coverage") or []
        at = next((point for point in coverage if threshold is not None and point[0] >= threshold), None)
        measured = summary | {
            "held_out": bool(spec.get("held_out")),
            "warnings": record["warnings"],
            "at_threshold": at and {"share": at[1], "accuracy": at[2]},
        }
        data = {key: spec["data"][key] for key in ("name", "source", "rows", "fingerprint")}
        app = PromptApp.build(
            name=name,
            text=chosen.text,
            task=task,
            entry=self.models[record["model"]],
            data=data,
            measured=measured,
            threshold=threshold,
            renderer=self.renderer,
        )
        path, _ = app.save(self.config.folder / "apps")
        return self.app(path)

    def app(self, path: Path) -> dict[str, Any]:
        """A deployed app."""
        app = PromptApp.load(path)
        commands = [f"hortus prompts predict {path} rows.csv", f"hortus serve {path}"]
        return {
            "name": app.content["name"],
            "path": str(path),
            "card_path": str(path.with_suffix(".md")),
            "card": app.card(),
            "app": app.content,
            "commands": commands,
        }

    def app_path(self, name: str) -> Path:
        """The file of a deployed app.

        Raises:
            NotFoundError: there is none of that name.
        """
        known = {path.stem: path for path in (self.config.folder / "apps").glob("*.json")}
        if name not in known:
            raise NotFoundError(f"there is no app {name!r}")
        return known[name]

    def export(self, project: str, texts: Sequence[PromptText], dataset: str, path: Path) -> None:
        """Write prompts as a templates.yaml of the PromptSource format."""
        task = self.task(project)
        metric = "Accuracy" if task.kind != "generate" else "Other"
        templates = TemplateSet(dataset)
        for number, text in enumerate(texts, start=1):
            template = build_prompt(text, task).template
            name = template.name if template.name not in templates else f"{template.name} ({number})"
            metadata = Metadata(original_task=True, choices_in_prompt=None, metrics=(metric,))
            templates.add(template.with_changes(name=name, metadata=metadata))
        templates.save(path)


class _NotKeptError(Exception):
    """The answer is not among the kept ones."""


class _NoModel:
    """Stands where a model is when only kept answers are wanted."""

    def rank(self, *_: Any, **__: Any) -> Any:
        raise _NotKeptError

    generate = rank


def _accuracy(tiles: Sequence[Tile]) -> dict[str, float | None]:
    scores = [tile[5] for tile in tiles if tile[5] is not None]
    if not scores:
        return dict.fromkeys(("accuracy", "low", "high"))
    mean, low, high, _ = interval(scores)
    return {"accuracy": mean, "low": low, "high": high}


def _source(data: Mapping[str, Any]) -> DataSource:
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
