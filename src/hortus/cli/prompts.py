"""`hortus prompts`: list templates, render them on rows, check them, write new ones."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import cyclopts
from cyclopts import Parameter

from hortus.errors import ConfigError, DataError
from hortus.prompts.config import TRUNCATE_CHARACTERS, DatasetConfig

if TYPE_CHECKING:
    from hortus.prompts import Dataset, LintReport, Rendered, TemplateSet

__all__ = ["DataOptions", "app", "check", "list_templates", "new", "render"]

app = cyclopts.App(name="prompts", help="List, render, check and write prompt templates.")
app.command("hortus.cli.studio:predict", name="predict", help="Classify rows by a deployed prompt.")
Json = Annotated[bool, Parameter(name="--json", negative=())]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """The rows to render."""

    data: str | None = None
    """A jsonl, csv, tsv or parquet file, a folder of them, or a hub id."""
    subset: str | None = None
    """Configuration on the hub, or sub-folder."""
    split: str = "train"
    """Split in a folder or on the hub."""
    column: tuple[str, ...] = ()
    """FIELD=COLUMN, where a template's field is another column; may be repeated."""
    classes: tuple[str, ...] = ()
    """FIELD=NAME,NAME,...: class names in label order; may be repeated."""
    names: str | None = None
    """Column names of a csv or tsv file without header, with commas."""
    encoding: str = "utf-8"
    """Text encoding of the file."""

    def open(self) -> Dataset:
        """The dataset.

        Raises:
            ConfigError: no data were named, or an option is malformed.
        """
        from hortus.prompts.datasets import load_dataset

        if self.data is None:
            raise ConfigError("no data to render", do="give --data a file, a folder or a hub id")
        classes = dict(_pair(text, "--classes") for text in self.classes)
        config = DatasetConfig(
            source=self.data,
            subset=self.subset,
            split=self.split,
            columns=dict(_pair(text, "--column") for text in self.column),
            classes={field: tuple(names.split(",")) for field, names in classes.items()},
            names=tuple(self.names.split(",")) if self.names else (),
            encoding=self.encoding,
        )
        return load_dataset(config)


NO_DATA = DataOptions()


def _pair(text: str, option: str) -> tuple[str, str]:
    field, equals, value = text.partition("=")
    if not equals or not field or not value:
        raise ConfigError(f"{option} {text!r} is no pair", allowed="FIELD=VALUE")
    return field, value


@app.command(name="list")
def list_templates(folder: Path, *, json: Json = False) -> None:
    """List the templates of a file, or of every templates.yaml below a folder.

    Parameters
    ----------
    folder
        A templates.yaml, or a folder.
    json
        Print one JSON object.
    """
    sets = _sets(folder)
    if json:
        _print({key: [_described(template) for template in sets[key].values()] for key in sets})
        return
    for key, templates in sets.items():
        print(f"{key}: {len(templates)} templates")
        for template in templates.values():
            marks = "original task" if template.metadata.original_task else ""
            print(f"  {template.name}  {marks}".rstrip())


@app.command
def render(
    folder: Path,
    *,
    template: str | None = None,
    rows: int = 3,
    seed: int = 0,
    truncate: int = TRUNCATE_CHARACTERS,
    data: DataOptions = NO_DATA,
    json: Json = False,
) -> None:
    """Render templates on the first rows of a dataset.

    Parameters
    ----------
    folder
        A templates.yaml, or the folder that holds one.
    template
        A template's name; all when not given.
    rows
        How many rows.
    seed
        Seed of templates that draw at random.
    truncate
        Characters kept of each printed value; 0 for all.
    json
        Print one JSON object.
    """
    from itertools import islice

    from hortus.prompts import RenderReport, load_templates

    templates = load_templates(folder)
    dataset = data.open()
    examples = list(islice(enumerate(dataset), rows))
    report = RenderReport()
    shown: list[dict[str, Any]] = []
    for chosen in templates.select([template] if template else []):
        rendered = chosen.apply_all(examples, seed=seed, truncate=truncate or None)
        report.add_all(chosen.name, rendered)
        for (index, _), one in zip(examples, rendered, strict=True):
            shown.append({"template": chosen.name, "id": chosen.id, "index": index} | asdict(one))
            if not json:
                _show(chosen.name, index, one)
    if json:
        _print({"renderings": shown, "counts": report.to_mapping()})


@app.command
def check(folder: Path, *, rows: int = 100, data: DataOptions = NO_DATA, json: Json = False) -> int:
    """Check templates, with a dataset also their columns, answers and renderings. Exit 1 on an error.

    Parameters
    ----------
    folder
        A templates.yaml or a folder; one dataset's templates when --data is given.
    rows
        Rows to render with each template.
    json
        Print one JSON object.
    """
    from hortus.prompts import check_templates

    sets = _sets(folder)
    if data.data is not None and len(sets) > 1:
        raise ConfigError(f"{folder} holds templates of {len(sets)} datasets", do="name the folder of one")
    dataset = None if data.data is None else data.open()
    reports = {key: check_templates(templates, dataset, rows=rows) for key, templates in sets.items()}
    if json:
        _print({key: report.to_mapping() for key, report in reports.items()})
    else:
        for key, report in reports.items():
            _show_report(key, report, len(sets[key]))
    return 0 if all(report.ok for report in reports.values()) else 1


@app.command
def new(
    file: Path,
    name: str,
    *,
    jinja: str,
    answer_choices: str | None = None,
    dataset: str | None = None,
    subset: str | None = None,
    reference: str = "",
    original_task: bool = False,
    choices_in_prompt: bool = False,
    metric: tuple[str, ...] = (),
    language: tuple[str, ...] = ("en",),
    json: Json = False,
) -> None:
    r"""Add a template to a templates.yaml, which is made when there is none.

    Parameters
    ----------
    file
        The templates.yaml.
    name
        The template's name, unique in the file.
    jinja
        Prompt, the separator |||, and target, in Jinja; \n stands for a line break.
    answer_choices
        The answers, separated by |||; may be Jinja too.
    dataset
        The dataset's name, for a new file.
    subset
        The dataset's subset, for a new file.
    reference
        Who wrote it, or where it is from.
    original_task
        The prompt asks for what the dataset was made for.
    choices_in_prompt
        The prompt shows the answers.
    metric
        A metric's name, such as Accuracy; may be repeated.
    language
        Language of the prompt; may be repeated.
    json
        Print one JSON object.
    """
    from hortus.prompts import Metadata, Template, TemplateSet, check_templates, load_templates

    if file.exists():
        templates = load_templates(file)
    elif dataset is None:
        raise ConfigError(f"{file} is new and needs its dataset's name", do="give --dataset")
    else:
        templates = TemplateSet(dataset, subset)
    metadata = Metadata(original_task, choices_in_prompt, tuple(metric), tuple(language))
    text = jinja.replace("\\n", "\n")
    template = Template.new(name, text, answer_choices, reference=reference, metadata=metadata)
    templates.add(template)
    wrong = [found for found in check_templates(templates).findings if found.template == name]
    if wrong:
        raise DataError(f"template {name!r} is not written: {wrong[0].message}", do="mend --jinja")
    templates.save(file)
    if json:
        _print({"file": str(file), "id": template.id, "name": name, "templates": len(templates)})
    else:
        print(f"{file}: added {name!r} ({template.id}), {len(templates)} templates")


def _sets(folder: Path) -> dict[str, TemplateSet]:
    from hortus.prompts import load_collection, load_templates

    if folder.is_dir():
        return load_collection(folder)
    templates = load_templates(folder)
    return {templates.key: templates}


def _described(template: Any) -> dict[str, Any]:
    return {
        "name": template.name,
        "id": template.id,
        "jinja": template.jinja,
        "answer_choices": template.answer_choices,
        "original_task": template.metadata.original_task,
        "choices_in_prompt": template.metadata.choices_in_prompt,
        "metrics": list(template.metadata.metrics or ()),
    }


def _show(name: str, index: int, rendered: Rendered) -> None:
    reason = f" ({rendered.reason})" if rendered.reason else ""
    print(f"--- {name}, row {index}: {rendered.status}{reason}")
    if rendered.status == "skipped":
        return
    print(rendered.input)
    print("".join(f"=> {target}\n" for target in rendered.targets), end="")
    if rendered.choices is not None:
        print(f"   choices: {' | '.join(rendered.choices)}")


def _show_report(key: str, report: LintReport, num_templates: int) -> None:
    errors = sum(finding.severity == "error" for finding in report.findings)
    print(f"{key}: {num_templates} templates, {errors} errors, {len(report.findings) - errors} warnings")
    for finding in report.findings:
        where = f" {finding.template!r}" if finding.template else ""
        line = f", line {finding.line}" if finding.line else ""
        print(f"  {finding.severity} {finding.code}{where}{line}: {finding.message}")
    for row in report.renderings.rows():
        print(
            "  "
            + ", ".join(f"{name} {value}" for name, value in zip(report.renderings.columns, row, strict=True))
        )


def _print(value: dict[str, Any]) -> None:
    json.dump(value, sys.stdout, ensure_ascii=False, indent=2)
    print()
