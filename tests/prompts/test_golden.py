"""Against the published collection: its files, its renderings, and its procedure stated in plain Jinja."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

from hortus.prompts import TemplateSet, load_collection, load_templates, render_all

# One example of every dataset in the collection, in the hub's own columns.
QUESTION = {"question": "Why is it so?", "answer": "Because."}
EXAMPLES: dict[str, list[dict[str, Any]]] = {
    "acronym_identification": [
        {"tokens": ["Health", "Care", "(", "HC", ")", "is"], "labels": [0, 2, 4, 1, 4, 4], "id": "1"}
    ],
    "ag_news": [{"text": "Stocks ||| fell " * 300, "label": 2}, {"text": "Rain.", "label": 0}],
    "ai2_arc/ARC-Easy": [
        {
            "question": "Which is a gas?",
            "choices": {"text": ["iron", "air", "oak", "ice"], "label": ["A", "B", "C", "D"]},
            "answerKey": "B",
        }
    ],
    "glue/mrpc": [{"sentence1": "A sat.", "sentence2": "A was sitting.", "label": 1}],
    "glue/qqp": [{"question1": "How old?", "question2": "What age?", "label": 0}],
    "glue/sst2": [{"sentence": "a fine film ", "label": 1}],
    "paws/labeled_final": [{"sentence1": "A met B.", "sentence2": "B met A.", "label": 1}],
    "piqa": [{"goal": "Open a jar.", "sol1": "Twist it.", "sol2": "Eat it.", "label": 0}],
    "snli": [{"premise": "A dog runs.", "hypothesis": "An animal moves.", "label": 0}],
    "super_glue/boolq": [{"passage": "Ice is cold.", "question": "is ice cold", "label": 1}],
    "super_glue/cb": [{"premise": "He left.", "hypothesis": "He is gone.", "label": 2}],
    "super_glue/copa": [
        {"premise": "It rained.", "choice1": "Wet.", "choice2": "Dry.", "question": "effect", "label": 0},
        {"premise": "It rained.", "choice1": "Clouds.", "choice2": "Sun.", "question": "cause", "label": -1},
    ],
    "super_glue/rte": [{"premise": "A is B.", "hypothesis": "B.", "label": 1}],
    "super_glue/wic": [{"word": "bank", "sentence1": "A bank.", "sentence2": "The bank.", "label": 1}],
    "super_glue/wsc.fixed": [
        {
            "text": "Ann told Eve she won.",
            "span1_text": "Ann",
            "span2_text": "she",
            "span1_index": 0,
            "span2_index": 3,
            "label": 0,
        }
    ],
    "trec": [
        {
            "text": "Who ?",
            "coarse_label": label,
            "fine_label": fine,
            "label_coarse": label,
            "label_fine": fine,
        }
        for label, fine in enumerate([0, 5, 25, 28, 33, 40])
    ],
    "winogrande/winogrande_xl": [
        {
            "sentence": "The cup is in the bag as _ is small.",
            "option1": "cup",
            "option2": "bag",
            "answer": "1",
        }
    ],
    "xsum": [{"document": "A long story. " * 400, "summary": "Short.", "id": "1"}],
}


def published_rendering(jinja: str, answer_choices: str | None, example: dict[str, Any]) -> list[str]:
    """The published procedure on ordinary Jinja: protect separators, cut printed values, render, split."""
    environment = jinja2.Environment()
    environment.globals["zip"] = zip
    token = "3ed2dface8203c4c9dfb1a5dc58e41e0"

    def parts(source: str, variables: dict[str, Any]) -> list[str]:
        text = environment.from_string(source).render(**variables)
        return [part.replace(token, "|||").strip() for part in text.split("|||")]

    safe = {k: v.replace("|||", token) if isinstance(v, str) else v for k, v in example.items()}
    choices = None if answer_choices is None else parts(answer_choices, safe)
    cut = jinja.replace("}}", " | string | truncate(2048) }}")
    return parts(cut, {**safe, "answer_choices": choices})


def plain_yaml(path: Path) -> Any:
    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        pass

    for tag in ("!Template", "!TemplateMetadata"):
        Loader.add_constructor(tag, lambda loader, node: loader.construct_mapping(node, deep=True))
    return yaml.load(path.read_text(encoding="utf-8"), Loader=Loader)


def collection_files(real_data: Path) -> list[Path]:
    files = sorted((real_data / "promptsource_templates").rglob("templates.yaml"))
    assert len(files) >= 28
    return files


def test_every_file_writes_back_identically(real_data: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    for path in collection_files(real_data):
        load_templates(path).save(first)
        load_templates(first).save(second)
        assert plain_yaml(first) == plain_yaml(path), path
        assert first.read_bytes() == second.read_bytes(), path


def test_every_template_parses(real_data: Path) -> None:
    for templates in load_collection(real_data / "promptsource_templates").values():
        for template in templates.values():
            assert template.inspect()["used"] or "range" in template.jinja


def golden_lines(real_data: Path) -> list[tuple[TemplateSet, dict[str, Any]]]:
    collection = load_collection(real_data / "promptsource_templates")
    by_id = {template.id: templates for templates in collection.values() for template in templates.values()}
    files = sorted((real_data / "promptsource_golden").glob("*.jsonl"))
    lines = [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    assert len(lines) >= 781
    return [(by_id[line["id"]], line) for line in lines]


def test_renderings_equal_the_published_ones(real_data: Path) -> None:
    lines = golden_lines(real_data)
    jobs = [
        (templates[line["template"]], index, line["row"]) for index, (templates, line) in enumerate(lines)
    ]
    for (_, line), rendered in zip(lines, render_all(jobs), strict=True):
        assert rendered.parts == line["parts"], line
        assert rendered.choices == line["choices"], line


@pytest.mark.parametrize("key", sorted(EXAMPLES))
def test_templates_render_as_plain_jinja_does(real_data: Path, key: str) -> None:
    templates = load_collection(real_data / "promptsource_templates")[key]
    for template in templates.values():
        if "choice" in template.jinja.replace("answer_choices", "").replace("choices", ""):
            continue
        for index, example in enumerate(EXAMPLES[key]):
            rendered = template.apply(example, index)
            expected = published_rendering(template.jinja, template.answer_choices, example)
            assert rendered.parts == expected, template.name
            assert rendered.status != "malformed" or "" in expected, (template.name, rendered.reason)
