"""The studio apart from HTTP: projects (`desk`), runs (`measuring`), and here what is deployed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hortus.prompts import Metadata, TemplateSet
from hortus.studio.apps import PromptApp
from hortus.studio.config import PromptText
from hortus.studio.measuring import Measuring
from hortus.studio.projects import NotFoundError
from hortus.studio.results import summarize
from hortus.studio.runs import run_labels
from hortus.studio.variations import build_prompt

__all__ = ["Studio"]


class Studio(Measuring):
    """Everything that the browser asks for; safe to call from several threads.

    Raises:
        DeviceError: another studio has the folder open.
    """

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
