"""Deployed prompts outside the studio: the two commands, the HTTP classifier, and files that are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from hortus.cli import main
from hortus.config import from_mapping
from hortus.errors import ArtifactError, ConfigError
from hortus.prompts.renderer import default_renderer
from hortus.studio.apps import PromptApp
from hortus.studio.config import PromptText, Task
from hortus.studio.models import ModelEntry
from hortus.studio.server import create_classifier
from tests.studio.conftest import TOPICS, rows_of

TASK = {"label": "label", "classes": [{"value": str(n), "wording": word} for n, word in enumerate(TOPICS)]}
MEASURED = {"count": 100, "accuracy": 0.75, "low": 0.66, "high": 0.82, "held_out": True, "warnings": []}


@pytest.fixture(scope="module")
def app(entry: ModelEntry) -> PromptApp:
    return PromptApp.build(
        name="topic",
        text=PromptText(template="{{ text }}\n```Topic:"),
        task=from_mapping(Task, TASK),
        entry=entry,
        data={"name": "news.csv", "rows": 120},
        measured=MEASURED,
        threshold=0.5,
        renderer=default_renderer(),
    )


def run(arguments: list[Any], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    out, error = capsys.readouterr()
    return end.value.code or 0, out, error


def test_predict_answers_each_row_as_the_app_does(
    app: PromptApp, entry: ModelEntry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, card = app.save(tmp_path)
    assert "0.750 (95 % interval 0.660 to 0.820)" in card.read_text() and "````" in card.read_text()
    (tmp_path / "rows.csv").write_text("text\n" + "".join(f"{row['text']}\n" for row in rows_of(6)))
    code, out, _ = run(["prompts", "predict", path, tmp_path / "rows.csv"], capsys)
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and [line["text"] for line in lines] == [row["text"] for row in rows_of(6)]
    answers = app.classify(rows_of(6), entry.model, default_renderer())
    for line, answer in zip(lines, answers, strict=True):
        ranked = entry.model.rank(line["text"] + "\n```Topic:", TOPICS)
        assert answer["probabilities"].keys() == set(TOPICS)
        assert line["hortus_sure"] == (line["hortus_confidence"] >= 0.5)
        if line["hortus_sure"]:
            assert line["hortus_answer"] == TOPICS[int(ranked.argmax())]
            assert line["hortus_value"] == str(int(ranked.argmax()))
        else:
            assert line["hortus_answer"] is line["hortus_value"] is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda content: content | {"format": "other"}, "no deployed prompt"),
        (lambda content: content | {"version": 9}, "version 9"),
        (
            lambda content: {key: value for key, value in content.items() if key != "template"},
            "lacks template",
        ),
        (lambda content: content | {"model": content["model"] | {"hash": "0"}}, "not the model"),
        (lambda content: content | {"model": content["model"] | {"source": "/nowhere"}}, "nowhere"),
    ],
)
def test_what_is_no_app_ends_in_one_line(
    app: PromptApp, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Any, words: str
) -> None:
    (tmp_path / "app.json").write_text(json.dumps(change(dict(app.content))))
    (tmp_path / "rows.jsonl").write_text('{"text": "a"}\n')
    code, out, error = run(["prompts", "predict", tmp_path / "app.json", tmp_path / "rows.jsonl"], capsys)
    assert (code, out) == (2, "") and words in error and len(error.splitlines()) == 1
    code, _, error = run(["serve", tmp_path / "app.json"], capsys)
    assert code == 2 and words in error


def test_the_classifier_over_http(app: PromptApp, entry: ModelEntry) -> None:
    with TestClient(
        create_classifier(app, entry, "secret-token"), base_url="http://127.0.0.1:8001"
    ) as client:
        assert client.post("/classify", json={"rows": [{"text": "a"}]}).status_code == 401
        client.headers["Authorization"] = "Bearer secret-token"
        answers = client.post("/classify", json={"rows": rows_of(3)}).json()["answers"]
        assert answers == app.classify(rows_of(3), entry.model, default_renderer())
        for body in ({}, [], {"rows": []}, {"rows": 3}, {"rows": ["a"]}, {"rows": [{"txt": "a"}]}):
            assert client.post("/classify", json=body).status_code == 400, body
        assert client.get("/health").json()["name"] == "topic"


def test_pages_of_other_sites_cannot_ask_a_classifier_without_token(
    app: PromptApp, entry: ModelEntry
) -> None:
    with TestClient(create_classifier(app, entry, None), base_url="http://127.0.0.1:8001") as client:
        body = {"rows": [{"text": "a"}]}
        assert client.post("/classify", json=body).status_code == 200
        assert (
            client.post("/classify", json=body, headers={"Origin": "http://evil.example"}).status_code == 403
        )
        assert client.post("/classify", json=body, headers={"Host": "evil.example"}).status_code == 421


def test_names_and_thresholds_are_checked(app: PromptApp, entry: ModelEntry) -> None:
    given: dict[str, Any] = {
        "text": PromptText(template="{{ text }}"),
        "task": Task(),
        "entry": entry,
        "data": {},
    }
    given |= {"measured": {}, "renderer": default_renderer()}
    with pytest.raises(ConfigError, match="threshold=1.5"):
        PromptApp.build(name="a", threshold=1.5, **given)
    with pytest.raises(ConfigError, match="name='../a'"):
        PromptApp.build(name="../a", threshold=None, **given)
    with pytest.raises(ArtifactError, match="cannot read"):
        PromptApp.load("nowhere.json")


def test_the_studio_refuses_bad_settings(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for arguments, words in (
        (["--token", "short"], "shorter than 16"),
        (["--port", 70000], "port=70000"),
        (["--model", tmp_path / "none"], "none"),
        (["--data", tmp_path / "none.csv", "--folder", tmp_path / "s"], "none.csv"),
    ):
        code, _, error = run(["studio", *arguments], capsys)
        assert code == 2 and words in error.splitlines()[-1], error
