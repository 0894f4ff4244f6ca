"""The linter of templates: what is wrong before rendering, and what rendering some rows shows.

code                 severity  meaning
syntax, refused, ... error     the template cannot be rendered (see `TemplateError.kind`)
missing-separator    error     the text has no `|||`, so no target
unknown-variable     error     a variable that is no column of the dataset
duplicate-body       error     the same text and choices as another template
answer-outside       error     the rendered target is none of the rendered choices
empty-prompt         error     the input renders empty
malformed            error     it renders otherwise than as input and target
never-applies        warning   it skipped every row that was tried
unused-column        warning   no template reads this column
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from hortus.errors import nearest
from hortus.prompts.config import SEPARATOR
from hortus.prompts.counting import RenderReport
from hortus.prompts.datasets import Dataset
from hortus.prompts.renderer import Renderer
from hortus.prompts.template import Rendered, Template, TemplateError
from hortus.prompts.templatefile import TemplateSet

__all__ = ["Finding", "LintReport", "check_templates"]

ROWS_TRIED = 100


@dataclass(frozen=True)
class Finding:
    """One thing that the linter found; `template` is empty for the file as a whole."""

    severity: str
    code: str
    template: str
    message: str
    line: int | None = None


@dataclass(frozen=True)
class LintReport:
    """Findings, and how the templates rendered where a dataset was given."""

    findings: list[Finding]
    renderings: RenderReport

    @property
    def ok(self) -> bool:
        """Whether there is no error; warnings may remain."""
        return not any(finding.severity == "error" for finding in self.findings)

    def to_mapping(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "findings": [asdict(finding) for finding in self.findings],
            "renderings": self.renderings.to_mapping(),
        }


def check_templates(
    templates: TemplateSet,
    dataset: Dataset | None = None,
    *,
    rows: int = ROWS_TRIED,
    seed: int = 0,
    renderer: Renderer | None = None,
) -> LintReport:
    """Check a dataset's templates; with the dataset itself, its columns and first rows too.

    >>> from hortus.prompts.datasets import load_dataset
    >>> templates = TemplateSet("t", templates=[Template.new("a", "{{ txt }} ||| {{ label }}")])
    >>> dataset = load_dataset([{"text": "x", "label": "y"}])
    >>> [finding.code for finding in check_templates(templates, dataset).findings]
    ['unknown-variable', 'unused-column']
    """
    report = LintReport([], RenderReport())
    examples = [] if dataset is None else list(islice(enumerate(dataset), rows))
    used: set[str] = set()
    for template in templates.values():
        if SEPARATOR not in template.jinja:
            report.findings.append(
                Finding("error", "missing-separator", template.name, f"its text has no {SEPARATOR!r}")
            )
        try:
            seen = template.inspect(renderer)
            used |= set(seen["used"])
            unknown = list(_unknown(template, seen["needed"], dataset))
            report.findings.extend(unknown)
            if examples and not unknown:
                rendered = template.apply_all(examples, seed=seed, renderer=renderer)
                report.renderings.add_all(template.name, rendered)
                report.findings.extend(_judge(template, rendered))
        except TemplateError as error:
            report.findings.append(Finding("error", error.kind, template.name, str(error), error.line))
    report.findings.extend(_duplicates(templates))
    for column in dataset.columns if dataset is not None else ():
        if column not in used:
            report.findings.append(
                Finding("warning", "unused-column", "", f"no template reads the column {column!r}")
            )
    return report


def _unknown(template: Template, needed: dict[str, int], dataset: Dataset | None) -> Iterator[Finding]:
    for name, line in needed.items():
        if dataset is not None and name not in dataset.columns:
            message = f"{name!r} is no column; {nearest(name, dataset.columns)}"
            yield Finding("error", "unknown-variable", template.name, message, line)


def _judge(template: Template, rendered: list[Rendered]) -> Iterator[Finding]:
    """Findings from the renderings of one template."""

    def finding(severity: str, code: str, hits: list[int], message: str) -> Iterator[Finding]:
        if hits:
            counted = f"{len(hits)} of {len(rendered)} rows, first row {hits[0]}: {message}"
            yield Finding(severity, code, template.name, counted)

    numbered = list(enumerate(rendered))
    empty = [index for index, one in numbered if one.status == "malformed" and one.parts[:1] == [""]]
    broken = [index for index, one in numbered if one.status == "malformed" and index not in empty]
    outside = [index for index, one in numbered if one.target_outside_choices]
    skipped = [index for index, one in numbered if one.status == "skipped"]
    yield from finding("error", "empty-prompt", empty, "the prompt rendered empty")
    if broken:
        yield from finding("error", "malformed", broken, rendered[broken[0]].reason)
    if outside:
        first = rendered[outside[0]]
        message = f"target {first.targets[0]!r} is none of {first.choices}"
        yield from finding("error", "answer-outside", outside, message)
    if len(skipped) == len(rendered):
        yield from finding("warning", "never-applies", skipped, "the template skipped every row")


def _duplicates(templates: TemplateSet) -> Iterator[Finding]:
    """Templates with the same text, white space aside, and the same choices as an earlier one."""
    first: dict[tuple[str, str], str] = {}
    for template in templates.values():
        body = (" ".join(template.jinja.split()), " ".join((template.answer_choices or "").split()))
        if body in first:
            message = f"it has the text and choices of {first[body]!r}"
            yield Finding("error", "duplicate-body", template.name, message)
        first.setdefault(body, template.name)
