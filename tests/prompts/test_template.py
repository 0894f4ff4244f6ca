"""The rendering rules, one by one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hortus.errors import DataError
from hortus.prompts import Template, TemplateError, render_all
from hortus.prompts.template import classify

CLASSES = "No ||| Yes ||| Maybe"


def template(jinja: str, choices: str | None = None) -> Template:
    return Template.new("t", jinja, choices)


def test_hyphens_in_columns_become_underscores() -> None:
    assert template("{{ a_b }} ||| t").apply({"a-b": "x"}).input == "x"


def test_a_separator_inside_a_text_does_not_split() -> None:
    rendered = template("{{ text }} ||| {{ target }}").apply({"text": "a ||| b", "target": "c|||d"})
    assert rendered.parts == ["a ||| b", "c|||d"]


@settings(max_examples=30, deadline=None)
@given(
    st.text(st.characters(codec="utf-8") | st.sampled_from("|| {}%\n"), max_size=40),
    st.text(st.characters(codec="utf-8") | st.sampled_from("||"), min_size=1, max_size=40),
)
def test_any_text_comes_through_stripped(text: str, target: str) -> None:
    rendered = template("Q {{ text }} ||| {{ target }}", "{{ target }} ||| other").apply(
        {"text": text, "target": target}
    )
    assert rendered.parts == [f"Q {text}".strip(), target.strip()]
    assert rendered.choices == [target.strip(), "other"]


def test_an_example_may_not_have_answer_choices() -> None:
    with pytest.raises(DataError, match="answer_choices"):
        template("a ||| b").apply({"answer_choices": 1})


def test_choices_come_first_and_are_stripped() -> None:
    rendered = template(
        "{{ answer_choices|join('/') }} ||| {{ answer_choices[label] }}", " {{ a }}|||  b "
    ).apply({"a": "x", "label": 1})
    assert rendered.choices == ["x", "b"]
    assert (rendered.input, rendered.targets) == ("x/b", ["b"])


def test_fixed_choices_are_found_without_an_example() -> None:
    assert template("a ||| b", CLASSES).fixed_choices == ["No", "Yes", "Maybe"]
    assert template("a ||| b", "{{ x }} ||| y").fixed_choices is None
    assert template("a ||| b", "{{ ['x', 'y']|choice }} ||| z").fixed_choices is None
    assert template("a ||| b").fixed_choices is None


def test_printed_values_are_cut_as_jinja_cuts() -> None:
    text = "word " * 1000
    rendered = template("{{ text }} ||| {{ text if text else '' }}").apply({"text": text})
    assert rendered.input == rendered.targets[0] == text[:2045].rsplit(" ", 1)[0] + "..."
    assert template("{{ text }} ||| b").apply({"text": text}, truncate=None).input == text.strip()
    assert template("{{ text }} ||| b").apply({"text": "a" * 2053}).input == "a" * 2053
    assert template("{{ text }} ||| b").apply({"text": "a" * 2054}).input == "a" * 2045 + "..."


@pytest.mark.parametrize(
    ("jinja", "status", "input", "targets"),
    [
        ("{% if false %}a ||| b{% endif %}", "skipped", "", []),
        ("a ||| {% if false %}b{% endif %}", "unlabelled", "a", []),
        ("{% if false %}a{% endif %} ||| b", "malformed", "", []),
        (" ||| ", "malformed", "", []),
        ("a b", "malformed", "a b", []),
        ("a ||| b", "ok", "a", ["b"]),
        ("a ||| b ||| c", "ok", "a", ["b", "c"]),
        ("{% if true %}a ||| b{% else %}c ||| d{% endif %}", "ok", "a", ["b"]),
    ],
)
def test_parts_are_counted_after_rendering(jinja: str, status: str, input: str, targets: list[str]) -> None:
    rendered = template(jinja).apply({})
    assert (rendered.status, rendered.input, rendered.targets) == (status, input, targets)


def test_every_status_but_ok_has_a_reason() -> None:
    for parts in (["a"], [""], ["", "b"], ["a", ""]):
        assert classify(parts)[1]


def test_a_missing_column_is_named() -> None:
    rendered = template("{{ text }} ||| {{ answer_choices[label] }}", CLASSES).apply({"text": "a"})
    assert rendered.status == "malformed" and "'label'" in rendered.reason


@pytest.mark.parametrize(
    "guard", ["{% if label is defined %}{{ label }}{% endif %}", "{{ label|default('x') }}"]
)
def test_a_column_that_is_asked_for_may_be_missing(guard: str) -> None:
    assert "lacks" not in template(f"a {guard} ||| b").apply({}).reason


def test_a_column_of_a_branch_not_taken_may_be_missing() -> None:
    assert template("{% if x == 1 %}{{ y }}{% endif %} a ||| b").apply({"x": 0}).status == "ok"


def test_a_name_set_in_one_branch_is_no_column() -> None:
    jinja = "{% if x %}{% set y = 1 %}{% endif %}{{ y }} a ||| b"
    assert template(jinja).apply({"x": 0}).status == "ok"


@pytest.mark.parametrize("label", [3, 17])
def test_a_label_outside_the_choices_is_malformed(label: int) -> None:
    rendered = template("a ||| {{ answer_choices[label] }}", CLASSES).apply({"label": label})
    assert rendered.status == "malformed" and f"{label} is outside the 3 choices" in rendered.reason


def test_a_label_of_minus_one_is_no_class() -> None:
    rendered = template("a ||| {{ answer_choices[label] }}", CLASSES).apply({"label": -1})
    assert (rendered.status, rendered.targets, rendered.parts) == ("unlabelled", [], ["a", "Maybe"])
    counted_from_the_end = template("a ||| {{ answer_choices[-1] }}", CLASSES).apply({"label": 1})
    assert counted_from_the_end.targets == ["Maybe"]


def test_a_target_outside_the_choices_is_noticed() -> None:
    assert template("a ||| {{ t }}", CLASSES).apply({"t": "Never"}).target_outside_choices
    assert not template("a ||| {{ t }}", CLASSES).apply({"t": "Yes"}).target_outside_choices


def test_a_broken_value_is_counted_not_raised() -> None:
    rendered = template("a\n{{ x|length }} ||| b").apply({"x": 3})
    assert rendered.status == "malformed" and rendered.reason.startswith("line 2: TypeError")


def test_draws_are_seeded_and_recorded() -> None:
    chosen = template("{{ items|choice }} {{ items|random }} ||| b")
    rows = [(chosen, index, {"items": list("abcdefgh")}) for index in range(20)]
    first, second = render_all(rows), render_all(rows)
    assert [one.input for one in first] == [one.input for one in second]
    assert [one.input for one in first] == [
        f"{'abcdefgh'[a]} {'abcdefgh'[b]}" for a, b in (x.draws for x in first)
    ]
    assert len({one.input for one in first}) > 5
    assert [one.draws for one in render_all(rows, seed=1)] != [one.draws for one in first]
    other = chosen.with_changes(id="another")
    assert [one.draws for one in other.apply_all(enumerate([rows[0][2]] * 20))] != [
        one.draws for one in first
    ]


@pytest.mark.parametrize(
    ("jinja", "line", "kind"),
    [
        ("a\n{{ x ||| b", 2, "syntax"),
        ("a\n\n{% if %} ||| b", 3, "syntax"),
        ("a ||| b\n{{ x|attr('y') }}", 2, "refused"),
        ("a ||| b\n{{ x.__class__ }}", 2, "refused"),
        ("a ||| b\n{{ range(10 ** 7) }}", 2, "size"),
    ],
)
def test_errors_name_template_and_line(jinja: str, line: int, kind: str) -> None:
    broken = template(jinja)
    with pytest.raises(TemplateError, match=broken.id) as error:
        broken.apply({"x": 1}, 7)
    assert (error.value.line, error.value.kind) == (line, kind)
    assert f"line {line}" in str(error.value)


def test_inspect_tells_columns_with_lines() -> None:
    found = template("{{ a }}\n{{ b }} ||| {{ c|default('') }}", "{{ d }} ||| e").inspect()
    assert found["needed"] == {"a": 1, "b": 2, "d": 1}
    assert found["used"] == ["a", "b", "c", "d"]


def test_draws_of_constants_differ_between_examples() -> None:
    constant = template("{{ ['a', 'b', 'c', 'd']|choice }} ||| t", "{{ ['x', 'y']|choice }} ||| z")
    rendered = constant.apply_all((index, {}) for index in range(30))
    assert len({one.input for one in rendered}) == 4
    assert {tuple(one.choices or ()) for one in rendered} == {("x", "z"), ("y", "z")}
