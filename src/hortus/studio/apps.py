"""A deployed classifier: one JSON file with prompt, answers, model, data and what was measured.

`hortus prompts predict app.json rows.csv` and `hortus serve app.json` run it. The file names the model by its
folder and by the hash of its weights and tokenizer: another model in that place is refused, for the measured
results are not its own.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import hortus
from hortus.artifact import read_json, replacing_file, write_json
from hortus.config import from_mapping, to_mapping
from hortus.errors import ArtifactError, ConfigError, DataError
from hortus.evaluation.asking import Asker
from hortus.prompts import Renderer, Template
from hortus.prompts.config import SEPARATOR
from hortus.studio.config import PromptText, Task
from hortus.studio.models import ModelEntry, open_entry, open_remote, same_model
from hortus.studio.scoring import answer
from hortus.studio.variations import build_prompt, render

__all__ = ["PromptApp"]

_FORMAT, _VERSION = "hortus-prompt-app", 1
_MOST_SHOWN = 12


@dataclass(frozen=True)
class PromptApp:
    """A prompt that classifies rows, and the file it is kept in.

    Attributes:
        content: the JSON object; `build` says what it holds.
    """

    content: Mapping[str, Any]

    @classmethod
    def build(
        cls,
        *,
        name: str,
        text: PromptText,
        task: Task,
        entry: ModelEntry,
        data: Mapping[str, Any],
        measured: Mapping[str, Any],
        threshold: float | None,
        renderer: Renderer,
    ) -> PromptApp:
        """An app from a prompt that was measured.

        Raises:
            ConfigError: a name that is no file name, or a threshold that is no probability.
        """
        if not re.fullmatch(r"[\w][\w.-]{0,63}", name):
            raise ConfigError(f"name={name!r}", allowed="letters, digits, . _ and -, at most 64")
        if threshold is not None and not 0 <= threshold <= 1:
            raise ConfigError(f"threshold={threshold}", allowed="0 to 1, or null")
        own = SEPARATOR in text.template
        # Without a label there is no target; an own one stays, since it may sit in the branches of the text.
        prompt = build_prompt(text, task if own else replace(task, label=None))
        needed = prompt.template.inspect(renderer)["needed"]
        return cls(
            {
                "format": _FORMAT,
                "version": _VERSION,
                "name": name,
                "created": time.strftime("%Y-%m-%d", time.gmtime()),
                "hortus": hortus.__version__,
                "template": prompt.template.jinja,
                "answer_choices": prompt.template.answer_choices,
                "fields": [field for field in needed if not (own and field == task.label)],
                "task": to_mapping(task),
                "threshold": threshold,
                "model": {
                    "source": entry.source,
                    "name": entry.name,
                    "kind": entry.kind,
                    "hash": entry.hash,
                },
                "data": dict(data),
                "measured": dict(measured),
            }
        )

    @classmethod
    def load(cls, path: str | Path) -> PromptApp:
        """Read an app's file.

        Raises:
            ArtifactError: it is missing, or no app.
        """
        content = read_json(path)
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            raise ArtifactError(f"{path} is no deployed prompt", do="deploy one in hortus studio")
        if content.get("version") != _VERSION:
            raise ArtifactError(f"{path} has version {content.get('version')!r}", allowed=str(_VERSION))
        kinds = {"template": str, "fields": list, "task": dict, "model": dict, "name": str}
        wrong = [key for key, kind in kinds.items() if not isinstance(content.get(key), kind)]
        if wrong:
            raise ArtifactError(f"{path} lacks {', '.join(wrong)}", do="deploy it again")
        return cls(content)

    def save(self, folder: Path) -> tuple[Path, Path]:
        """Write NAME.json and its card NAME.md."""
        path = folder / f"{self.content['name']}.json"
        write_json(path, dict(self.content))
        card = path.with_suffix(".md")
        with replacing_file(card) as temporary:
            temporary.write_text(self.card(), encoding="utf-8")
        return path, card

    def open_model(self, source: str | None = None, **options: Any) -> ModelEntry:
        """The model that it was measured with.

        Args:
            source: where that model is now, if not where it was.
            options: of loading, such as device.

        Raises:
            ArtifactError: another model is there.
        """
        model = self.content["model"]
        source = source or str(model.get("source", ""))
        if source.startswith(("http://", "https://")):
            entry = open_remote(source, model.get("name"))
        else:
            entry = open_entry(source, **options)
        same_model(entry, str(model.get("hash")))
        return entry

    def classify(
        self, rows: Sequence[Mapping[str, Any]], model: Any, renderer: Renderer
    ) -> list[dict[str, Any]]:
        """Answers to rows: what the model says, how sure it is, and None where it is not sure enough.

        Raises:
            DataError: a row lacks a field that the prompt needs.
        """
        task = from_mapping(Task, self.content["task"])
        for number, row in enumerate(rows):
            if not isinstance(row, Mapping):
                raise DataError(f"row {number} is a {type(row).__name__}", allowed="a mapping of fields")
            if lacking := [field for field in self.content["fields"] if field not in row]:
                raise DataError(
                    f"row {number} has no {', '.join(lacking)}", allowed=", ".join(self.content["fields"])
                )
        template = Template(
            self.content["name"],
            self.content["template"],
            self.content.get("answer_choices"),
            id=self.content["name"],
        )
        blank = {} if task.label is None else {task.label: None}
        numbered = {number: blank | dict(row) for number, row in enumerate(rows)}
        text = PromptText(template=template.jinja)
        (rendered,) = render([replace(build_prompt(text, task), template=template)], numbered, renderer)
        values = {one.wording: one.value for one in task.classes}
        return [
            self._shown(one, said, values)
            for one, said in zip(rendered, answer(Asker(model), task, rendered), strict=True)
        ]

    def _shown(self, rendered: Any, said: Any, values: Mapping[str, str]) -> dict[str, Any]:
        threshold = self.content.get("threshold")
        unsure = threshold is not None and said.confidence is not None and said.confidence < threshold
        sure = said.predicted is not None and not unsure
        choices = rendered.choices or []
        return {
            "answer": said.predicted if sure else None,
            "value": values.get(said.predicted or "") if sure else None,
            "sure": sure,
            "confidence": said.confidence,
            "probabilities": dict(zip(choices, said.probabilities or [], strict=False)),
            "status": "ok" if said.predicted is not None else rendered.status,
            "reason": "" if said.predicted is not None else rendered.reason,
        }

    def card(self) -> str:
        """What a user of the classifier must know, in Markdown."""
        content, measured = self.content, self.content.get("measured", {})
        answers = [one["wording"] for one in content["task"]["classes"]]
        listed = ", ".join(answers[:_MOST_SHOWN]) + (" ..." if len(answers) > _MOST_SHOWN else "")
        held_out = "held-out rows" if measured.get("held_out") else "rows that the wording was chosen on"
        parts = [
            f"# {content['name']}",
            f"A prompt of {content['model']['name']} ({content['model']['kind']}) that answers with: "
            f"{listed or content['task']['kind']}. It reads the fields {', '.join(content['fields'])}.",
            f"## Prompt\n\n{_fenced(content['template'])}",
            f"## Data\n\n{content['data'].get('name')}: {content['data'].get('rows')} rows.",
        ]
        if measured.get("accuracy") is not None:
            parts.append(
                f"## Measured\n\nAccuracy {measured['accuracy']:.3f} (95 % interval {measured['low']:.3f} to "
                f"{measured['high']:.3f}) on {measured['count']} {held_out}, with scoring "
                f"`{content['task']['scoring']}`. {' '.join(measured.get('warnings', []))}".rstrip()
            )
        if content.get("threshold") is not None:
            at = measured.get("at_threshold") or {}
            share = f": {at['share']:.0%} of the rows, accuracy {at['accuracy']:.3f}" if at else ""
            parts.append(
                f"## Not sure\n\nBelow a confidence of {content['threshold']:.3f} it gives no answer; at or "
                f"above it{share}."
            )
        parts.append(f"## Use\n\n{_fenced(_COMMANDS.format(name=content['name']))}")
        return "\n\n".join(parts) + "\n"


_COMMANDS = "hortus prompts predict {name}.json rows.csv\nhortus serve {name}.json"


def _fenced(text: str) -> str:
    """A code block whose fence is longer than any inside."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text}\n{fence}"
