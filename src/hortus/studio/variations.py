"""From a template with variables to prompts, and what is wrong with them before any model is asked.

A variable `[[name]]` is replaced as text before the template is Jinja, so a wording may hold fields. The
prompt gets a target made from the task, which turns it into a template of the PromptSource format; a text
that has its own `|||` keeps its own target.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hortus.config import to_mapping
from hortus.prompts import (
    Rendered,
    Renderer,
    Template,
    TemplateError,
    TemplateSet,
    check_templates,
    load_collection,
    load_dataset,
)
from hortus.prompts.config import SEPARATOR
from hortus.studio.config import MOST_CARDS, PromptText, Task, Variations

__all__ = ["Prompt", "PublishedTemplates", "build_prompt", "expand", "lint", "numbered", "render", "suggest"]

_VARIABLE = re.compile(r"\[\[\s*(\w+)\s*\]\]")
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_MOST_LISTED = 100


@dataclass(frozen=True)
class Prompt:
    """A prompt that can be scored: what the browser knows of it and its full template."""

    text: PromptText
    template: Template
    task: Task

    @property
    def id(self) -> str:
        return self.template.id

    def to_mapping(self) -> dict[str, Any]:
        return {**to_mapping(self.text), "id": self.id}


def build_prompt(text: PromptText, task: Task) -> Prompt:
    """A prompt's full template: its text, and the task's choices and target.

    >>> from hortus.config import from_mapping
    >>> task = from_mapping(Task, {"label": "label", "classes": [{"value": "1", "wording": "Yes"},
    ...                                                          {"value": "0", "wording": "No"}]})
    >>> prompt = build_prompt(PromptText(template="{{ text }} Good?"), task)
    >>> rendered = prompt.template.apply({"text": "Splendid.", "label": 1})
    >>> rendered.input, rendered.targets, rendered.choices
    ('Splendid. Good?', ['Yes'], ['Yes', 'No'])
    """
    choices, target = _answer(task)
    own = SEPARATOR in text.template
    jinja = text.template if own else f"{text.template}{SEPARATOR}{target}"
    choices = text.answer_choices if text.answer_choices is not None else choices
    parts = json.dumps([jinja, choices, task.metric if choices is None else task.scoring])
    identity = hashlib.blake2b(parts.encode(), digest_size=8).hexdigest()
    name = text.name or " ".join(text.template.split())[:60]
    template = Template(name=name, jinja=jinja, answer_choices=choices, id=identity)
    return Prompt(text, template, task)


def _answer(task: Task) -> tuple[str | None, str]:
    """A task's answer choices and target, as Jinja."""
    label = task.label
    if task.kind == "choices":
        wordings = list(dict.fromkeys(one.wording for one in task.classes))
        choices = f" {SEPARATOR} ".join(_literal(wording) for wording in wordings) or None
        table = {one.value: one.wording for one in task.classes}
        return choices, f"{{{{ {json.dumps(table)}[{label}|string] }}}}" if label else ""
    if task.kind == "fields":
        fields = task.choice_fields
        if len(fields) == 1:
            choices = f"{{{{ {fields[0]}|join('{SEPARATOR}') }}}}"
        else:
            choices = f" {SEPARATOR} ".join(f"{{{{ {field} }}}}" for field in fields) or None
        number = {
            "text": f"{label}",
            "number": f"answer_choices[{label}|int]",
            "number_from_1": f"answer_choices[{label}|int - 1]",
            "letter": f"answer_choices['{_LETTERS}'.index({label}|string|upper|trim)]",
        }[task.gold]
        return choices, f"{{{{ {number} }}}}" if label else ""
    return None, f"{{{{ {label} }}}}" if label else ""


def _literal(text: str) -> str:
    """A wording as Jinja that prints it."""
    return f"{{{{ {json.dumps(text)} }}}}" if "{" in text else text


def expand(variations: Variations, task: Task) -> tuple[list[Prompt], list[dict[str, Any]]]:
    """All prompts of a template with variables, at most 256, and findings about the variables.

    >>> from hortus.config import from_mapping
    >>> variations = from_mapping(Variations, {"template": "{{ text }} [[ask]]",
    ...     "variables": [{"name": "ask", "wordings": ["Topic:", "Subject:"]}]})
    >>> [prompt.text.template for prompt in expand(variations, Task(kind="generate"))[0]]
    ['{{ text }} Topic:', '{{ text }} Subject:']
    """
    used = list(dict.fromkeys(_VARIABLE.findall(variations.template)))
    known = {variable.name: variable.wordings for variable in variations.variables}
    findings = [
        _finding("error", "undefined-wording", f"[[{name}]] is no variable, or has no wording")
        for name in used
        if not known.get(name)
    ]
    findings += [
        _finding("warning", "unused-variable", f"[[{name}]] does not occur in the template")
        for name in known
        if name not in used
    ]
    names = [name for name in used if known.get(name)]
    counts = [len(known[name]) for name in names]
    if variations.mode == "aligned" and counts:
        if len(set(counts)) > 1:
            findings.append(
                _finding("error", "uneven", "aligned variables have different numbers of wordings")
            )
        combinations: Any = ((row,) * len(names) for row in range(min(counts)))
        total = min(counts)
    else:
        combinations = itertools.product(*map(range, counts))
        total = 1
        for count in counts:
            total *= count
    if total > MOST_CARDS:
        findings.append(_finding("error", "too-many", f"{total} prompts; the first {MOST_CARDS} are shown"))
    prompts = []
    for combination in itertools.islice(combinations, MOST_CARDS):
        chosen = dict(zip(names, combination, strict=True))
        filled = _filled(variations.template, {name: known[name][number] for name, number in chosen.items()})
        name = ", ".join(f"{name} {number + 1}" for name, number in chosen.items())
        text = PromptText(
            template=filled, answer_choices=variations.answer_choices, wordings=chosen, name=name
        )
        prompts.append(build_prompt(text, task))
    return prompts, findings


def _filled(template: str, words: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda match: words.get(match[1], match[0]), template)


def _finding(severity: str, code: str, message: str) -> dict[str, Any]:
    return {"severity": severity, "code": code, "message": message, "line": None, "prompt": None}


def lint(
    prompts: Sequence[Prompt], rows: Mapping[int, Mapping[str, Any]], renderer: Renderer
) -> list[dict[str, Any]]:
    """What the prompts room's linter says of the prompts on these rows, in its codes."""
    unique = {prompt.id: prompt for prompt in prompts}
    findings = []
    if len(unique) < len(prompts):
        findings.append(_finding("warning", "duplicate-body", "two combinations give the same prompt"))
    if not prompts:
        return findings
    # Named by id: names of prompts may repeat.
    templates = TemplateSet(
        "the data", templates=[one.template.with_changes(name=id_) for id_, one in unique.items()]
    )
    task = prompts[0].task
    dataset = load_dataset([numbered(task, row) for row in rows.values()]) if rows else None
    for found in check_templates(templates, dataset, rows=len(rows) or 1, renderer=renderer).findings:
        if found.code in ("duplicate-body", "unused-column"):
            continue
        message = re.sub(r"^template '[0-9a-f]{16}' \([0-9a-f]{16}\),? ?", "", found.message)
        about = {"line": found.line, "prompt": found.template or None}
        findings.append(_finding(found.severity, found.code, message) | about)
    return findings


def numbered(task: Task, row: Mapping[str, Any]) -> Mapping[str, Any]:
    """The row as published templates expect it: with `kind="template"` a label is the number of its class.

    >>> from hortus.config import from_mapping
    >>> classes = [{"value": "World", "wording": "World"}, {"value": "Sports", "wording": "Sports"}]
    >>> task = from_mapping(Task, {"kind": "template", "label": "label", "classes": classes})
    >>> numbered(task, {"label": "Sports"})
    {'label': 1}
    """
    if task.kind != "template" or task.label is None:
        return row
    numbers = {one.value: number for number, one in enumerate(task.classes)}
    value = row.get(task.label)
    return {**row, task.label: numbers[str(value)]} if str(value) in numbers else row


def render(
    prompts: Sequence[Prompt], rows: Mapping[int, Mapping[str, Any]], renderer: Renderer
) -> list[list[Rendered]]:
    """Every prompt on every row; a prompt that cannot be rendered is malformed everywhere."""
    rendered = []
    for prompt in prompts:
        examples = [(number, numbered(prompt.task, row)) for number, row in rows.items()]
        try:
            rendered.append(prompt.template.apply_all(examples, renderer=renderer))
        except TemplateError as error:
            rendered.append([Rendered("", [], None, "malformed", str(error)) for _ in rows])
    return rendered


def suggest(model: Any, wordings: Sequence[str], count: int, context: str) -> list[str]:
    """New wordings beside given ones, written by the model itself."""
    listed = "".join(f"- {' '.join(wording.split())}\n" for wording in wordings)
    about = f"A prompt: {' '.join(_VARIABLE.sub('___', context).split())[:300]}\n" if context.strip() else ""
    prompt = f"{about}Different ways to say the same:\n{listed}-"
    found: dict[str, None] = {}
    for seed in range(2):
        texts = [prompt] * count
        written = model.generate(
            texts, temperature=0.9, top_p=0.95, max_new_tokens=24, stop=("\n",), seed=seed, truncate=True
        )
        for text in written:
            wording = " ".join(text.split())[:200]
            if wording and wording not in wordings and any(map(str.isalnum, wording)):
                found[wording] = None
    return list(found)[:count]


class PublishedTemplates:
    """A folder of PromptSource templates, read when it is first asked for."""

    def __init__(self, folder: Path | None):
        self.folder = folder
        self._sets: dict[str, TemplateSet] | None = None
        self._needed: dict[str, dict[str, int] | None] = {}

    def find(self, fields: Sequence[str], name: str, search: str, renderer: Renderer) -> list[dict[str, Any]]:
        """Templates by dataset or template name, those whose columns the data have first.

        Args:
            fields: of the data.
            name: of the data, or its path; templates of a dataset with that name come before others. Without
                a search only templates of that dataset, or that fit the fields, are meant.
        """
        if self.folder is None:
            return []
        if self._sets is None:
            self._sets = load_collection(self.folder)
        wanted = _plain(search)
        found = [
            self._described(key, template, fields, renderer)
            for key, templates in self._sets.items()
            for template in templates.values()
            if wanted in _plain(key + template.name)
        ]
        if not wanted:
            found = [one for one in found if not one["missing"] or _plain(one["set"]) in _plain(name)]
        found.sort(key=lambda one: (len(one["missing"]), _plain(one["set"]) not in _plain(name)))
        return found[:_MOST_LISTED]

    def _described(
        self, key: str, template: Template, fields: Sequence[str], renderer: Renderer
    ) -> dict[str, Any]:
        if template.id not in self._needed:
            try:
                self._needed[template.id] = template.inspect(renderer)["needed"]
            except TemplateError:
                self._needed[template.id] = None
        needed = self._needed[template.id]
        missing = ["?"] if needed is None else [field for field in needed if field not in fields]
        return {
            "set": key,
            "name": template.name,
            "jinja": template.jinja,
            "answer_choices": template.answer_choices,
            "missing": missing,
            "original_task": bool(template.metadata.original_task),
        }


def _plain(text: str) -> str:
    return re.sub(r"[\W_]", "", text.lower())
