"""`hortus topics` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import hortus
from hortus.cli.topics import app
from hortus.errors import ArtifactError, HortusError


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict:
    """What the command prints with --json."""
    app(
        [*map(str, arguments), "--json"], exit_on_error=False, print_error=False, result_action="return_value"
    )
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    generator = np.random.default_rng(1)
    themes = [["river", "lake", "water", "boat", "shore"], ["bread", "oven", "flour", "yeast", "dough"]]
    lines = [json.dumps({"text": " ".join(generator.choice(themes[i % 2], 15))}) for i in range(40)]
    place = tmp_path / "texts.jsonl"
    place.write_text("\n".join(lines))
    return place


def test_fit_and_report(texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--sweeps", 30, "--threads", 1, "--language", "none", "--max-share", 1.0)
    found = run(capsys, "fit", texts, "--topics", 2, "--out", tmp_path / "model", *options)
    assert found["corpus"]["documents"] == 40 and len(found["top_words"]) == 2
    assert hortus.load(tmp_path / "model").num_topics == 2
    assert (tmp_path / "model" / "map.html").exists()
    assert run(capsys, "report", tmp_path / "model")["top_words"] == found["top_words"]


def test_select_and_report(texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [texts, "--candidates", "1:3", "--out", tmp_path / "out", "--sweeps", 30, "--restarts", 2]
    arguments += ["--language", "none", "--max-share", 1.0, "--criteria", "sbic", "aic"]
    found = run(capsys, "select", *arguments)
    assert found["chosen"]["sbic"] == 2
    assert set(found["table"]) == {"log_likelihood", "sbic", "aic"}
    assert all(Path(place).exists() for place in found["files"].values())
    shown = run(capsys, "report", tmp_path / "out")
    assert shown["recommendation"] == found["recommendation"]
    app(["report", str(tmp_path / "out")], result_action="return_value")
    assert "Choices" in capsys.readouterr().out
    with pytest.raises(ArtifactError, match="neither a selection nor a model"):
        run(capsys, "report", tmp_path)


def test_simulate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "study.yaml"
    recipe.write_text(
        "truth: {num_topics: [2], num_words: 30, mean_length: 40}\ndocuments: [30]\nlength_factors: [1.0]\n"
        "replications: 2\nselect: {candidates: '1:3', restarts: 1, model: {num_sweeps: 20}}\n"
    )
    first = run(capsys, "simulate", recipe, "--out", tmp_path / "study", "--minutes", 0)
    assert first["finished"] is False
    found = run(capsys, "simulate", recipe, "--out", tmp_path / "study", "--set", "replications=1")
    assert found["finished"] and {row["criterion"] for row in found["summary"]} >= {"sbic", "true K"}
    assert (tmp_path / "study" / "strengths.json").exists() and (tmp_path / "study" / "report.html").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["select", "absent.csv", "--out", "x"],
        ["select", ".", "--out", "x", "--candidates", "two"],
        ["fit", ".", "--topics", "2", "--out", "x", "--orientation", "sideways"],
        ["simulate", "absent.yaml", "--out", "x"],
    ],
)
def test_mistakes_are_named(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HortusError):
        app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
