"""Reading and writing template files."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hortus.errors import DataError
from hortus.prompts import Metadata, Template, TemplateSet, load_collection, load_templates

ANCHORED = """\
dataset: squad_v2
templates:
  11111111-1111-1111-1111-111111111111: !Template
    answer_choices: null
    id: 11111111-1111-1111-1111-111111111111
    jinja: "{{ a }} ||| b"
    metadata: &shared !TemplateMetadata
      choices_in_prompt: null
      metrics: []
      original_task: true
    name: first
    reference: ''
    task_template: true
  22222222-2222-2222-2222-222222222222: !Template
    id: 22222222-2222-2222-2222-222222222222
    jinja: 'it''s {{ a }}

      ||| c'
    metadata: *shared
    name: "second \\u2026"
    reference: x
"""


@pytest.fixture
def anchored(tmp_path: Path) -> Path:
    path = tmp_path / "squad_v2" / "templates.yaml"
    path.parent.mkdir()
    path.write_text(ANCHORED, encoding="utf-8")
    return path


def test_anchors_legacy_fields_and_absent_fields(anchored: Path, tmp_path: Path) -> None:
    templates = load_templates(anchored)
    first, second = templates["first"], templates["second …"]
    assert templates.key == "squad_v2" and templates.subset is None
    assert first.metadata.metrics == () and first.metadata.languages is None
    assert first.extra == {"task_template": True}
    assert second.jinja == "it's {{ a }}\n||| c"
    copy = tmp_path / "copy.yaml"
    templates.save(copy)
    written = copy.read_text(encoding="utf-8")
    assert "task_template: true" in written and "&" not in written and "languages" not in written
    assert written.count("answer_choices") == 1 and "subset" not in written
    assert load_templates(copy) == templates


def test_editing_one_template_leaves_the_other(anchored: Path) -> None:
    templates = load_templates(anchored)
    changed = templates["first"].with_changes(metadata=Metadata(original_task=False))
    templates["first"] = changed
    assert templates["second …"].metadata.original_task is True


def test_a_folder_is_searched(anchored: Path) -> None:
    assert set(load_templates(anchored.parent)) == set(load_templates(anchored.parent.parent))
    assert set(load_collection(anchored.parent.parent)) == {"squad_v2"}


def test_a_folder_of_many_asks_which(anchored: Path) -> None:
    other = anchored.parent.parent / "other"
    TemplateSet("other", templates=[Template.new("a", "a ||| b")]).save(other / "templates.yaml")
    with pytest.raises(DataError, match="2 templates.yaml.*other"):
        load_templates(anchored.parent.parent)


def test_unknown_names_are_answered_with_near_ones(anchored: Path) -> None:
    with pytest.raises(DataError, match="did you mean 'first'"):
        load_templates(anchored)["frist"]
    assert "frist" not in load_templates(anchored)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("name: first", 'name: "second \\u2026"'), "two templates named"),
        (("id: 111", "id: 333"), "has the id"),
        (
            ("  22222222-2222-2222-2222-222222222222: !T", "  11111111-1111-1111-1111-111111111111: !T"),
            "twice",
        ),
        (("!Template\n    answer", "!!python/object:os.system\n    answer"), "not readable"),
        (('jinja: "{{ a }} ||| b"', "jinja: [1]"), "'name' and 'jinja'"),
        (("answer_choices: null", "answer_choices: [a, b]"), "a text or null"),
        (("templates:", "prompts:"), "no mapping 'templates'"),
        (("dataset: squad_v2", "dataset: {"), "line"),
    ],
)
def test_broken_files_say_what_is_wrong(anchored: Path, change: tuple[str, str], message: str) -> None:
    text = ANCHORED.replace(*change)
    assert text != ANCHORED
    anchored.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        load_templates(anchored)


@pytest.mark.parametrize("load", [load_templates, load_collection])
def test_nothing_there(tmp_path: Path, load: object) -> None:
    with pytest.raises(DataError, match="templates.yaml"):
        load(tmp_path)  # type: ignore[operator]


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]) | st.sampled_from("\n{}|'\": "))


@settings(max_examples=40, deadline=None)
@given(TEXT, TEXT, st.none() | TEXT, st.none() | st.lists(TEXT, max_size=2))
def test_any_template_comes_back(
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    jinja: str,
    choices: str | None,
    metrics: list[str] | None,
) -> None:
    path = tmp_path_factory.mktemp("any") / "templates.yaml"
    metadata = Metadata(True, None, None if metrics is None else tuple(metrics), ("en",))
    template = Template.new(name, jinja, choices, metadata=metadata)
    TemplateSet("d", "s", [template]).save(path)
    (found,) = load_templates(path).values()
    assert found == template
