"""hortus evaluate from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hortus.cli import main
from tests.evaluation.conftest import make_model


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    lines = [{"query": f"the fox {n}", "choices": ["yes", "no"], "gold": n % 2} for n in range(6)]
    (tmp_path / "foxes.jsonl").write_text("\n".join(map(json.dumps, lines)))
    make_model(0).save(tmp_path / "model")
    make_model(1).save(tmp_path / "other")
    return tmp_path


def run(*arguments: str) -> int | str | None:
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", *arguments])
    return ended.value.code


def test_json_output_and_samples(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = ["--output", str(rows / "out.json"), "--samples", str(rows / "samples.jsonl")]
    assert run(str(rows / "model"), str(rows / "foxes.jsonl"), "--json", *files) == 0
    printed = json.loads(capsys.readouterr().out)
    assert 0 <= printed["results"]["foxes"]["acc,none"] <= 1
    assert json.loads((rows / "out.json").read_text())["results"] == printed["results"]
    assert len((rows / "samples.jsonl").read_text().splitlines()) == 6


def test_comparison_and_cache(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [str(rows / "model"), str(rows / "foxes.jsonl"), "--cache", str(rows / "answers.sqlite")]
    assert run(*arguments, "--against", str(rows / "other")) == 0
    shown = capsys.readouterr().out
    assert "against the other model" in shown and "0 answered from the cache" in shown
    assert run(*arguments) == 0
    assert "0 questions asked, 12 answered from the cache" in capsys.readouterr().out


def test_mistakes_are_one_line(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(str(rows / "model"), str(rows / "absent.jsonl")) == 2
    error = capsys.readouterr().err
    assert "no task file" in error and "Traceback" not in error
