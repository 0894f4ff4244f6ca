"""`hortus prompts`: list, render, check, new."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hortus.cli import main
from hortus.prompts import Template, TemplateSet, load_templates


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stopped:
        main(["prompts", *arguments])
    printed = capsys.readouterr()
    return int(stopped.value.code or 0), printed.out, printed.err


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    good = Template.new("good", "{{ premise }}? ||| {{ answer_choices[label] }}", "no ||| yes")
    part = Template.new("part", "{% if label %}{{ premise }}! ||| yes{% endif %}")
    TemplateSet("d", templates=[good, part]).save(tmp_path / "templates.yaml")
    (tmp_path / "rows.tsv").write_text("one\tno\ntwo\tyes\n")
    return tmp_path


def data(folder: Path) -> list[str]:
    columns = ["--names", "text,gold", "--column", "premise=text", "--column", "label=gold"]
    return ["--data", str(folder / "rows.tsv"), *columns, "--classes", "label=no,yes"]


def test_list(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    code, out, _ = run(capsys, "list", str(folder))
    assert code == 0 and "d: 2 templates" in out and "good" in out
    listed = json.loads(run(capsys, "list", str(folder / "templates.yaml"), "--json")[1])
    assert {template["name"] for template in listed["d"]} == {"good", "part"}


def test_render(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    code, out, _ = run(capsys, "render", str(folder), *data(folder))
    assert code == 0
    assert "--- good, row 0: ok\none?\n=> no\n   choices: no | yes" in out
    assert "--- part, row 0: skipped" in out
    shown = json.loads(run(capsys, "render", str(folder), "--template", "part", *data(folder), "--json")[1])
    assert [one["status"] for one in shown["renderings"]] == ["skipped", "ok"]
    assert shown["counts"]["part"]["skipped"] == 1


def test_check(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    code, out, _ = run(capsys, "check", str(folder), *data(folder))
    assert code == 0 and "0 errors, 0 warnings" in out and "template good, ok 2" in out
    code, out, _ = run(
        capsys, "check", str(folder), "--data", str(folder / "rows.tsv"), "--names", "premise,x", "--json"
    )
    assert code == 1 and json.loads(out)["d"]["findings"][0]["code"] == "unknown-variable"


def test_new_makes_extends_and_refuses(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = str(tmp_path / "mine" / "templates.yaml")
    add = ["new", file, "first", "--jinja", "{{ a }}\\nb ||| c", "--original-task", "--metric", "Accuracy"]
    code, _, err = run(capsys, *add)
    assert code == 2 and "--dataset" in err
    code, out, _ = run(capsys, *add, "--dataset", "mine", "--json")
    assert code == 0 and json.loads(out)["templates"] == 1
    (template,) = load_templates(file).values()
    assert template.jinja == "{{ a }}\nb ||| c" and template.metadata.metrics == ("Accuracy",)
    code, _, err = run(capsys, "new", file, "broken", "--jinja", "{{ a ||| c")
    assert code == 2 and "not written" in err and "line 1" in err
    assert list(load_templates(file)) == ["first"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["render", "FOLDER", "--template", "god", "--data", "FOLDER/rows.tsv"], "did you mean 'good'"),
        (["render", "FOLDER"], "give --data"),
        (["check", "FOLDER", "--data", "FOLDER/none.tsv"], "no file"),
        (["check", "FOLDER", "--data", "FOLDER/rows.tsv", "--column", "premise"], "FIELD=VALUE"),
        (["list", "FOLDER/nowhere"], "cannot read templates"),
    ],
)
def test_mistakes_are_one_line(
    capsys: pytest.CaptureFixture[str], folder: Path, arguments: list[str], words: str
) -> None:
    code, out, err = run(capsys, *(argument.replace("FOLDER", str(folder)) for argument in arguments))
    assert code == 2 and out == "" and words in err and err.count("\n") == 1
