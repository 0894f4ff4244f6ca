"""What is asked: tasks, their prompts, and documents. Prompted datasets become tasks here.

    Task        a dataset: `super_glue/rte`
    Variant     the dataset under one prompt; its documents are all answered in one way
    Document    one input with its choices, or with the answers that a generated text is compared with

Renderings that are not usable are counted in `Variant.counts`, never dropped in silence. A rendering whose
target is none of its choices stays: nothing that a model says is right there, as in lm-evaluation-harness.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Literal

import numpy as np

from hortus.errors import ConfigError, DataError
from hortus.prompts import Rendered, RenderReport, TaskConfig, Template, load_dataset, open_task, render_all
from hortus.prompts.config import TRUNCATE_CHARACTERS
from hortus.prompts.sampling import keyed

__all__ = ["Document", "Kind", "Task", "Variant", "prompted_task"]

Kind = Literal["choice", "generate", "perplexity"]
EXAMPLE_SEPARATOR, TARGET_SEPARATOR = "\n\n", " "

# The metrics that the published templates name, and what they mean for generated text.
_PUBLISHED_METRICS = {
    "bleu": ("bleu",),
    "rouge": ("rouge1", "rouge2", "rougeL"),
    "squad": ("exact_match", "f1"),
    "trivia qa": ("exact_match", "f1"),
    "coqa f1": ("f1",),
}


@dataclass(frozen=True)
class Document:
    """One thing to answer.

    Args:
        index: the row's number in its dataset.
        input: the text before the answer; of `perplexity`, the text itself.
        choices: what is ranked.
        gold: numbers of the right choices; none where the data's answer is none of them.
        targets: right answers of a generated text.
    """

    index: int
    input: str
    choices: tuple[str, ...] = ()
    gold: tuple[int, ...] = ()
    targets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Variant:
    """A dataset under one prompt.

    Args:
        prompt: the prompt's source text, from which its hash is made.
        metrics: of `generate`: exact_match, f1, bleu, chrf, rouge1, rouge2, rougeL.
        settings: of `generate`: settings of the generation, such as stop.
        pattern: of `generate`: the answer is the first group of this regular expression, where it matches.
        counts: what became of the rows that were rendered.
    """

    name: str
    kind: Kind
    documents: tuple[Document, ...]
    prompt: str = ""
    metrics: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    pattern: str = ""
    counts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def prompt_hash(self) -> str:
        return hashlib.blake2b(self.prompt.encode(), digest_size=8).hexdigest()


@dataclass(frozen=True)
class Task:
    """A dataset under one or several prompts.

    Raises:
        DataError: there is nothing to answer in any of them.
    """

    name: str
    variants: tuple[Variant, ...]
    cluster: str = ""
    num_fewshot: int = 0

    def __post_init__(self) -> None:
        if not any(variant.documents for variant in self.variants):
            counts = {variant.name: dict(variant.counts) for variant in self.variants[:3]}
            raise DataError(
                f"task {self.name} has no usable row under any of its {len(self.variants)} prompts: {counts}",
                do="check its columns, classes and templates with `hortus prompts check`",
            )


def prompted_task(
    config: TaskConfig,
    *,
    limit: int | None = None,
    num_fewshot: int = 0,
    fewshot_split: str | None = None,
    truncate: int | None = TRUNCATE_CHARACTERS,
    seed: int = 1234,
) -> Task:
    """Render a dataset with its templates.

    Args:
        limit: the first rows only.
        num_fewshot: answered examples before each prompt, drawn by (seed, template, row).
        fewshot_split: the split that examples come from; None takes other rows of the same one.
        truncate: characters kept of each printed value.

    Raises:
        DataError: no usable row, a column that a template needs is missing, or too few examples.
        TemplateError: a template does not parse or breaks a limit.
    """
    opened = open_task(config)
    rows = list(enumerate(islice(opened[0].dataset, limit)))
    examples = rows
    if num_fewshot and fewshot_split is not None:
        split = load_dataset(replace(config.data, split=fewshot_split))
        # Negative numbers: an example of another split is never the row itself.
        examples = [(-1 - index, row) for index, row in enumerate(split)]
    variants = []
    for task in opened:
        rendered = _render(task.template, rows, truncate, seed)
        report = RenderReport()
        report.add_all(task.template.name, rendered.values())
        usable = {index: one for index, one in rendered.items() if one.status == "ok"}
        if num_fewshot:
            pool = usable if examples is rows else _render(task.template, examples, truncate, seed)
            usable = _with_examples(usable, pool, num_fewshot, seed, task.template)
        counts = report.to_mapping()[task.template.name]
        variants.append(_variant(task.template, usable, counts))
    return Task(config.name, tuple(variants), config.cluster, num_fewshot)


def _render(
    template: Template, rows: Sequence[tuple[int, Mapping[str, Any]]], truncate: int | None, seed: int
) -> dict[int, Rendered]:
    rendered = render_all(((template, index, row) for index, row in rows), seed=seed, truncate=truncate)
    return {index: one for (index, _), one in zip(rows, rendered, strict=True)}


def _with_examples(
    usable: Mapping[int, Rendered], pool: Mapping[int, Rendered], count: int, seed: int, template: Template
) -> dict[int, Rendered]:
    answered = {index: one for index, one in pool.items() if one.status == "ok"}
    if len(answered) <= count:
        raise DataError(
            f"template {template.name!r}: {len(answered)} answered rows to draw examples from",
            allowed=f"more than num_fewshot={count}",
        )
    indices = list(answered)
    prompted = {}
    for index, one in usable.items():
        draw = np.random.default_rng(keyed(seed, template.id, index))
        # One more than needed, so that the row itself can be left out.
        drawn = [indices[place] for place in draw.choice(len(indices), count + 1, replace=False)]
        shown = [answered[number] for number in drawn if number != index][:count]
        texts = [example.input + TARGET_SEPARATOR + example.targets[0] for example in shown]
        prompted[index] = replace(one, input=EXAMPLE_SEPARATOR.join([*texts, one.input]))
    return prompted


def _variant(template: Template, usable: Mapping[int, Rendered], counts: Mapping[str, Any]) -> Variant:
    kinds = {one.choices is not None for one in usable.values()}
    if len(kinds) > 1:
        raise ConfigError(f"template {template.name!r} has choices for some rows only")
    ranked = kinds == {True}
    documents = tuple(
        Document(
            index,
            one.input,
            tuple(one.choices or ()),
            tuple(number for number, choice in enumerate(one.choices or ()) if choice in one.targets),
            tuple(one.targets),
        )
        for index, one in usable.items()
    )
    return Variant(
        template.name,
        "choice" if ranked else "generate",
        documents,
        prompt="\0".join((template.jinja, template.answer_choices or "")),
        metrics=() if ranked else _generation_metrics(template.metadata.metrics or ()),
        counts=counts,
    )


def _generation_metrics(published: Sequence[str]) -> tuple[str, ...]:
    """Our names of the metrics that a template's author chose; exact match where none of them applies.

    >>> _generation_metrics(["BLEU", "ROUGE"])
    ('bleu', 'rouge1', 'rouge2', 'rougeL')
    """
    names = [name for metric in published for name in _PUBLISHED_METRICS.get(metric.lower(), ())]
    return tuple(dict.fromkeys(names)) or ("exact_match",)
