"""Runs of a project's prompts: started, read, opened tile by tile, compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hortus.config import from_mapping
from hortus.errors import ConfigError, DataError
from hortus.evaluation import ResponseCache
from hortus.evaluation.asking import Asker
from hortus.studio.config import LargeRequest, PromptText, RunRequest, Task
from hortus.studio.data import Table
from hortus.studio.desk import Desk, source_of
from hortus.studio.large import RULE, LargeJob, held_out_rows, measured_at, selection_warning
from hortus.studio.projects import NotFoundError
from hortus.studio.results import Tile, compare, curve, interval, marginal_means, numbers_of, summarize
from hortus.studio.runs import ACTIVE, Job, new_record, new_spec, run_labels
from hortus.studio.scoring import answer
from hortus.studio.variations import Prompt, build_prompt, render

__all__ = ["Measuring"]


class Measuring(Desk):
    """The part of `hortus.studio.Studio` that scores prompts."""

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
        self.table_of(data)
        spec = new_spec(
            prompts, task, rows, request.when_closed, texts=texts, data=data, hash=entry.hash, **more
        )
        record["id"] = self.store.add_run(project, slot, record, spec, instead)
        self._submit(record, spec)
        return self.run_head(record, spec)

    def _submit(self, record: dict[str, Any], spec: Mapping[str, Any]) -> None:
        table = self.table_of(spec["data"])
        kind = LargeJob if record["kind"] == "large" else Job
        job = kind(record, spec, table, self.store.results(record["id"]))
        self.runner.submit(job, self.models[record["model"]])

    def table_of(self, data: Mapping[str, Any]) -> Table:
        """The rows of a data section, if the file is still what it was.

        Raises:
            DataError: it has changed, or is gone.
        """
        table = self.data.open(source_of(data))
        if table.fingerprint != data["fingerprint"]:
            raise DataError(f"{table.name} has changed since it was opened", do="open it again")
        return table

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
        table = self.table_of(spec["data"])
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
