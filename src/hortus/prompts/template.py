"""One prompt template and what it makes of an example.

Rules of the PromptSource format (the six of its renderer): hyphens in column names become underscores; a
separator inside an example's text does not split the rendering; an example has no column `answer_choices`;
choices are rendered first and visible to the prompt; the rendering is cut at `|||` and stripped; printed
values are cut at 2,048 characters unless told otherwise. Parts are counted after rendering, because
separators may sit in branches.

    parts                       status       kept as
    [""]                        skipped      the prompt does not apply to this example
    [input, ""]                 unlabelled   input without target
    [input, target, ...]        ok           input and one or several valid targets
    [input]                     malformed    no separator was rendered
    ["", ...]                   malformed    an empty prompt
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from hortus.errors import DataError
from hortus.prompts.config import TRUNCATE_CHARACTERS
from hortus.prompts.renderer import Failure, Renderer, RenderJob, default_renderer

__all__ = ["Metadata", "Rendered", "Status", "Template", "TemplateError", "classify", "render_all"]

Status = Literal["ok", "skipped", "unlabelled", "malformed"]

# A broken value may be one example's fault and is counted; these are the template's fault and stop the run.
_FATAL = ("syntax", "refused", "time", "memory", "output", "size", "worker")


class TemplateError(DataError):
    """A template cannot be rendered: it does not parse, asks for what is refused, or breaks a limit.

    Attributes:
        template_id: the template's id.
        line: the line of its Jinja text, where it is known.
        kind: syntax, refused, time, memory, output, size or worker.
    """

    def __init__(self, template: Template, failure: Failure, index: int | None = None):
        self.template_id, self.line, self.kind = template.id, failure.line, failure.kind
        where = f"template {template.name!r} ({template.id})"
        where += f", line {failure.line}" if failure.line else ""
        where += f", example {index}" if index is not None and failure.kind != "syntax" else ""
        super().__init__(f"{where}: {failure.message}", do=_ADVICE.get(failure.kind))


_ADVICE = {
    "syntax": "mend the template's Jinja",
    "refused": "use only the filters, methods and tags that docs/prompts.md lists",
    "time": "the rendering was stopped; look for a loop that does not end",
    "memory": "the rendering was stopped; look for a value that grows",
    "output": "the rendering was stopped; print less",
    "size": "the rendering was stopped; use a smaller range or less nesting",
}


@dataclass(frozen=True)
class Metadata:
    """What the author said of a template."""

    original_task: bool | None = None
    choices_in_prompt: bool | None = None
    metrics: tuple[str, ...] | None = None
    languages: tuple[str, ...] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Fields of other versions of the format, kept when the file is written."""
    absent: frozenset[str] = frozenset()
    """Fields that the file did not have; they stay out of it while they are None."""


@dataclass(frozen=True)
class Rendered:
    """What a template made of one example. Never None: what could not be used says why.

    Attributes:
        input: the prompt, stripped; empty when skipped.
        targets: the valid answers, of which a label-less example has none.
        choices: the answer choices of this example, or None for an open-ended template.
        status: ok, skipped, unlabelled or malformed.
        reason: why it is not ok, or what is doubtful about it.
        parts: the rendering as cut at the separators.
        draws: the positions that `choice` and `random` drew, in order.
    """

    input: str
    targets: list[str]
    choices: list[str] | None
    status: Status
    reason: str = ""
    parts: list[str] = field(default_factory=list)
    draws: list[int] = field(default_factory=list)

    @property
    def target_outside_choices(self) -> bool:
        """Whether it has a target that is none of its choices, so that ranking could never be right."""
        return self.choices is not None and any(target not in self.choices for target in self.targets)


@dataclass(frozen=True)
class Template:
    """A prompt template in the PromptSource format.

    >>> template = Template.new("sentiment", "{{ text }} Good? ||| {{ answer_choices[label] }}", "No ||| Yes")
    >>> rendered = template.apply({"text": "Splendid.", "label": 1})
    >>> rendered.input, rendered.targets, rendered.choices, rendered.status
    ('Splendid. Good?', ['Yes'], ['No', 'Yes'], 'ok')
    """

    name: str
    jinja: str
    answer_choices: str | None = None
    reference: str = ""
    metadata: Metadata = field(default_factory=Metadata)
    id: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)
    absent: frozenset[str] = frozenset()

    @classmethod
    def new(cls, name: str, jinja: str, answer_choices: str | None = None, **fields: Any) -> Template:
        """A template with an id of its own."""
        return cls(name=name, jinja=jinja, answer_choices=answer_choices, id=str(uuid.uuid4()), **fields)

    def with_changes(self, **fields: Any) -> Template:
        """A copy with other fields; the id stays unless it is given."""
        return replace(self, **fields)

    def apply(
        self,
        example: Mapping[str, Any],
        index: int = 0,
        *,
        seed: int = 0,
        truncate: int | None = TRUNCATE_CHARACTERS,
        renderer: Renderer | None = None,
    ) -> Rendered:
        """Render one example.

        Args:
            example: field name -> value.
            index: the example's number in its dataset; with the id and `seed` it fixes random draws.
            seed: the run's seed.
            truncate: characters kept of each printed value; None keeps all.
            renderer: where to render; the process's own renderer when None.

        Raises:
            TemplateError: it does not parse, asks for what is refused, or breaks a limit.
            DataError: the example has a column `answer_choices`.
        """
        return self.apply_all([(index, example)], seed=seed, truncate=truncate, renderer=renderer)[0]

    def apply_all(
        self,
        examples: Iterable[tuple[int, Mapping[str, Any]]],
        *,
        seed: int = 0,
        truncate: int | None = TRUNCATE_CHARACTERS,
        renderer: Renderer | None = None,
    ) -> list[Rendered]:
        """Render many (index, example) pairs at once, which is much faster than one by one. See `apply`."""
        pairs = [(self, index, example) for index, example in examples]
        return render_all(pairs, seed=seed, truncate=truncate, renderer=renderer)

    def job(self, example: Mapping[str, Any], index: int, seed: int, truncate: int | None) -> RenderJob:
        if "answer_choices" in example:
            raise DataError(
                f"example {index} has a column 'answer_choices', a name that templates keep for the choices",
                do="map the column to another field name",
            )
        return RenderJob((self.jinja, self.answer_choices, truncate), example, f"{seed}:{self.id}:{index}")

    def inspect(self, renderer: Renderer | None = None) -> dict[str, Any]:
        """Columns it needs (with lines) and uses, and choices that are the same for every example.

        Raises:
            TemplateError: it does not parse or asks for what is refused.
        """
        found = (renderer or default_renderer()).inspect((self.jinja, self.answer_choices, None))
        if isinstance(found, Failure):
            raise TemplateError(self, found)
        return found

    @property
    def fixed_choices(self) -> list[str] | None:
        """The class names when they are the same for every example, else None."""
        choices: list[str] | None = self.inspect()["fixed_choices"]
        return choices


def render_all(
    triples: Iterable[tuple[Template, int, Mapping[str, Any]]],
    *,
    seed: int = 0,
    truncate: int | None = TRUNCATE_CHARACTERS,
    renderer: Renderer | None = None,
) -> list[Rendered]:
    """Render (template, index, example) triples, in order. See `Template.apply`."""
    triples = list(triples)
    jobs = [template.job(example, index, seed, truncate) for template, index, example in triples]
    outcomes = (renderer or default_renderer()).render(jobs)
    return [_rendered(*triple, outcome) for triple, outcome in zip(triples, outcomes, strict=True)]


def _rendered(
    template: Template, index: int, example: Mapping[str, Any], outcome: list[Any] | Failure
) -> Rendered:
    if isinstance(outcome, Failure):
        if outcome.kind in _FATAL:
            raise TemplateError(template, outcome, index)
        where = f"line {outcome.line}: " if outcome.line else ""
        return Rendered("", [], None, "malformed", where + outcome.message)
    parts, choices, draws, missing, subscripts = outcome
    status, reason = classify(parts)
    if missing:
        status, reason = "malformed", f"the example lacks {', '.join(map(repr, missing))}"
    elif status != "skipped" and subscripts:
        status, reason = _judge_subscripts(status, reason, subscripts, choices or [], example)
    targets = [part for part in parts[1:] if part] if status == "ok" or missing else []
    return Rendered("" if status == "skipped" else parts[0], targets, choices, status, reason, parts, draws)


def classify(parts: list[str]) -> tuple[Status, str]:
    """Status and reason of a rendering's parts.

    >>> classify(["What?", "This", "That"]), classify([""])
    (('ok', ''), ('skipped', 'the prompt does not apply to this example'))
    """
    if len(parts) == 1:
        if parts[0]:
            return "malformed", "it rendered no separator '|||'"
        return "skipped", "the prompt does not apply to this example"
    if not parts[0]:
        return "malformed", "the prompt rendered empty"
    if not any(parts[1:]):
        return "unlabelled", "the target rendered empty"
    return "ok", ""


def _judge_subscripts(
    status: Status, reason: str, subscripts: list[int], choices: list[str], example: Mapping[str, Any]
) -> tuple[Status, str]:
    """Answer numbers that are none: beyond the choices, or a label of -1 that would pick the last one."""
    beyond = [number for number in subscripts if not -len(choices) <= number < len(choices)]
    if beyond:
        return "malformed", f"answer number {beyond[0]} is outside the {len(choices)} choices"
    # A template may count from the end on purpose; a label column that holds this very number is no label.
    unlabelled = any(type(value) is int and value in subscripts for value in example.values())
    return ("unlabelled", f"label {subscripts[0]} is no class") if unlabelled else (status, reason)
