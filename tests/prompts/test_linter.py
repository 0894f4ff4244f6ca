"""What the linter finds, one code at a time."""

from __future__ import annotations

from typing import Any

import pytest

from hortus.prompts import Template, TemplateSet, check_templates, load_dataset

ROWS = [{"text": "a", "label": 0}, {"text": "b", "label": 1}, {"text": "c", "label": -1}]
GOOD = "{{ text }} ||| {% if label != -1 %}{{ answer_choices[label] }}{% endif %}"


def lint(*jinjas: str, choices: str | None = "no ||| yes", rows: list[dict[str, Any]] = ROWS) -> Any:
    templates = [Template.new(f"t{number}", jinja, choices) for number, jinja in enumerate(jinjas)]
    return check_templates(TemplateSet("d", templates=templates), load_dataset(rows))


def test_a_good_template_passes() -> None:
    report = lint(GOOD)
    assert report.ok and report.findings == []
    assert report.renderings.rows() == [("t0", 2, 0, 1, 0, 0)]


@pytest.mark.parametrize(
    ("jinja", "code", "words", "line"),
    [
        ("{{ text }} {{ label }}", "missing-separator", "no '|||'", None),
        ("a\n{{ texxt }} {{ label }} {{ text }} ||| b", "unknown-variable", "did you mean 'text'", 2),
        ("{{ text ||| {{ label }}", "syntax", "line 1", 1),
        ("{{ text.__class__ }} ||| {{ label }}", "refused", "__class__", 1),
        ("{{ text }} ||| {{ label }}", "answer-outside", "'0' is none of ['no', 'yes']", None),
        ("{% if not text %}x{% endif %} ||| {{ label }}", "empty-prompt", "3 of 3 rows", None),
        ("{{ text }} ||| {{ label|length }}", "malformed", "TypeError", None),
    ],
)
def test_errors(jinja: str, code: str, words: str, line: int | None) -> None:
    report = lint(jinja)
    found = [finding for finding in report.findings if finding.code == code]
    assert not report.ok and found, report.findings
    assert words in found[0].message and found[0].line == line and found[0].template == "t0"


def test_the_same_text_twice_is_an_error() -> None:
    report = lint(GOOD, GOOD.replace("{{ text }} ", "{{ text }}\n"))
    assert [(finding.code, finding.template) for finding in report.findings] == [("duplicate-body", "t1")]


def test_warnings_do_not_fail() -> None:
    report = lint(
        GOOD, "{% if text == 'z' %}{{ text }} ||| b{% endif %}", rows=[{**row, "idx": 1} for row in ROWS]
    )
    assert report.ok
    assert [finding.code for finding in report.findings] == ["never-applies", "unused-column"]


def test_without_a_dataset_only_the_texts_are_checked() -> None:
    report = check_templates(TemplateSet("d", templates=[Template.new("t", "{{ anything }} ||| b")]))
    assert report.ok and report.renderings.rows() == [] and report.to_mapping()["ok"]
