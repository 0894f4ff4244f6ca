"""The routes: projects and tabs, prompts, runs, large runs, deployment; what is wrong is named."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml
from starlette.testclient import TestClient

from hortus.prompts import load_templates
from hortus.studio import Studio
from hortus.studio.models import ModelEntry
from tests.studio.conftest import GRID, TOPICS, new_project, wait_for


def post(client: TestClient, path: str, body: Any, status: int = 200) -> Any:
    answer = client.post(path, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def prompts_of(client: TestClient, project: str, variations: dict[str, Any] = GRID) -> list[dict[str, Any]]:
    return post(client, f"/api/projects/{project}/prompts", {"variations": variations})["prompts"]


@pytest.fixture(scope="module")
def grid(client: TestClient, studio: Studio, entry: ModelEntry) -> dict[str, Any]:
    """A finished run of six prompts on the working set of a project that no test changes."""
    project = new_project(studio)
    body = {"slot": "grid", "model": entry.id, "prompts": prompts_of(client, project)}
    run = post(client, f"/api/projects/{project}/runs", body, 202)
    return wait_for(client, project, run["id"]) | {"project": project}


def test_a_session_tells_limits_models_and_projects(
    client: TestClient, project: str, entry: ModelEntry
) -> None:
    session = client.get("/api/session").json()
    assert session["limits"]["working"] == 20
    assert [model["id"] for model in session["models"]] == [entry.id]
    assert {one["id"]: one["rows"] for one in session["projects"]}[project] == 120


def test_tabs_do_not_overwrite_each_other(client: TestClient, project: str) -> None:
    path = f"/api/projects/{project}"
    known = client.get(path).json()["revision"]
    first = client.patch(path, json={"revision": known, "view": {"tab": 1}}).json()["revision"]
    # Another tab that knows the old revision may change another section, but not this one.
    assert client.patch(path, json={"revision": known, "cart": []}).status_code == 200
    late = client.patch(path, json={"revision": known, "view": {"tab": 2}})
    assert late.status_code == 409 and late.json()["project"]["view"] == {"tab": 1}
    assert client.patch(path, json={"revision": first, "view": {"tab": 2}}).status_code == 200


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"revision": 1, "tasks": {}}, "unknown sections"),
        ({"task": {}}, "no revision"),
        ({"revision": 1, "task": {"kind": "guess"}}, "task.kind='guess'"),
        ({"revision": 1, "task": {"label": "a b"}}, "'a b'"),
        ({"revision": 1, "task": {"metric": "bleu"}}, "metric='bleu'"),
        ({"revision": 1, "variations": {"variables": [{"name": "a-b", "wordings": []}]}}, "'a-b'"),
        ({"revision": 1, "view": "x" * 2**21}, "characters"),
        ([], "unknown sections"),
    ],
)
def test_bad_changes_are_refused_by_name(client: TestClient, project: str, body: Any, words: str) -> None:
    answer = client.patch(f"/api/projects/{project}", json=body)
    assert answer.status_code == 400 and words in answer.json()["error"]["message"]


def test_what_is_not_there_is_404_and_no_json_is_400(client: TestClient, project: str) -> None:
    for path in ("/api/projects/none", f"/api/projects/{project}/runs/none", "/api/apps/none"):
        assert client.get(path).status_code == 404
    answer = client.post("/api/projects", content=b"{oops")
    assert answer.status_code == 400 and "not JSON" in answer.json()["error"]["message"]
    assert client.post("/api/projects", content=b"[" * 100_000).status_code == 400
    assert client.get(f"/api/projects/{project}/rows?limit=501").status_code == 400
    assert client.get(f"/api/projects/{project}/rows/120").status_code == 400
    assert client.put("/api/projects").status_code == 405


def test_prompts_are_the_cross_product_and_are_checked_live(client: TestClient, project: str) -> None:
    assert [one["name"] for one in prompts_of(client, project)][:2] == ["intro 1, ask 1", "intro 1, ask 2"]
    aligned = GRID | {"mode": "aligned"}
    found = post(client, f"/api/projects/{project}/prompts", {"variations": aligned})
    assert found["count"] == 2 and found["findings"][0]["code"] == "uneven"
    codes = {}
    for text in (
        "{{ txt }}",
        "{{ text",
        "[[nothing]] {{ text }}",
        "{{ text.__class__ }}",
        "{% if 0 %}a{% endif %}",
    ):
        found = post(client, f"/api/projects/{project}/prompts", {"variations": {"template": text}})
        codes[text] = {one["code"] for one in found["findings"] if one["severity"] == "error"}
    assert list(codes.values()) == [
        {"unknown-variable"},
        {"syntax"},
        {"undefined-wording"},
        {"refused"},
        {"empty-prompt"},
    ]


def test_a_template_that_does_not_end_is_stopped(client: TestClient, project: str, entry: ModelEntry) -> None:
    endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}x"
    body = {
        "slot": "refine",
        "model": entry.id,
        "prompts": [{"template": endless}, {"template": "{{ text }}"}],
    }
    run = post(client, f"/api/projects/{project}/runs", body, 202)
    ended = wait_for(client, project, run["id"])
    assert ended["state"] == "done"
    broken, sound = ended["cards"]
    assert "time" in broken["error"] and broken["summary"]["count"] == 0
    assert sound["error"] is None and sound["summary"]["count"] == 20


def test_a_grid_has_tiles_numbers_and_marginal_means(grid: dict[str, Any], entry: ModelEntry) -> None:
    assert (grid["state"], grid["done"], grid["total"]) == ("done", 120, 120)
    for card in grid["cards"]:
        rows = [tile[0] for tile in card["tiles"]]
        assert rows == grid["rows"]
        right = sum(tile[1] == "right" for tile in card["tiles"])
        assert card["summary"]["accuracy"] == right / 20
        assert sum(map(sum, card["summary"]["confusion"]["counts"])) == 20
        assert card["summary"]["low"] < card["summary"]["accuracy"] + 1e-9 <= card["summary"]["high"] + 1e-9
    means = {one["variable"]: one["wordings"] for one in grid["marginals"]}
    assert [one["cards"] for one in means["intro"]] == [3, 3]
    assert [one["cards"] for one in means["ask"]] == [2, 2, 2]
    for name, wordings in means.items():
        for wording in wordings:
            mine = [c for c in grid["cards"] if c["prompt"]["wordings"][name] == wording["wording"]]
            expected = sum(card["summary"]["accuracy"] for card in mine) / len(mine)
            assert wording["mean"] == pytest.approx(expected)


def test_an_opened_tile_shows_what_the_model_itself_says(
    client: TestClient, grid: dict[str, Any], entry: ModelEntry
) -> None:
    card, project = grid["cards"][4], grid["project"]
    tile = card["tiles"][7]
    query = {"prompt": card["prompt"]["id"], "row": tile[0]}
    detail = client.get(f"/api/projects/{project}/runs/{grid['id']}/detail", params=query).json()
    expected = entry.model.rank(detail["input"], detail["choices"])
    assert detail["log_probabilities"] == pytest.approx(expected.tolist(), abs=1e-4)
    assert sum(detail["probabilities"]) == pytest.approx(1)
    assert (detail["predicted"], detail["gold"], detail["state"]) == (tile[2], tile[3], tile[1])


def test_the_second_time_answers_come_from_the_cache(
    client: TestClient, grid: dict[str, Any], entry: ModelEntry
) -> None:
    project = grid["project"]
    body = {"slot": "again", "model": entry.id, "prompts": [card["prompt"] for card in grid["cards"]]}
    again = wait_for(client, project, post(client, f"/api/projects/{project}/runs", body, 202)["id"])
    assert again["cached"] == again["total"] == 120
    assert [card["tiles"] for card in again["cards"]] == [card["tiles"] for card in grid["cards"]]
    third = post(client, f"/api/projects/{project}/runs", body, 202)["id"]
    listed = [run["id"] for run in client.get(f"/api/projects/{project}/runs").json()["runs"]]
    assert third in listed and again["id"] not in listed  # a slot's earlier run is replaced


@pytest.mark.parametrize("scoring", ["per_character", "beyond_prior"])
def test_other_ways_to_compare_choices(
    client: TestClient, project: str, entry: ModelEntry, scoring: str
) -> None:
    task = client.get(f"/api/projects/{project}").json()["task"] | {"scoring": scoring}
    body = {"model": entry.id, "prompts": [{"template": "{{ text }}"}], "task": task, "rows": [3, 4]}
    run = wait_for(client, project, post(client, f"/api/projects/{project}/runs", body, 202)["id"])
    choices = [one["wording"] for one in task["classes"]]
    for row, _, predicted, *_ in run["cards"][0]["tiles"]:
        text = client.get(f"/api/projects/{project}/rows/{row}").json()["values"]["text"]
        scores = entry.model.rank(text, choices)
        if scoring == "per_character":
            scores = scores / [len(choice) for choice in choices]
        else:
            scores = scores - entry.model.rank("", choices)
        assert predicted == choices[int(scores.argmax())]


def test_choices_from_fields_generation_and_published_templates(
    client: TestClient, project: str, entry: ModelEntry
) -> None:
    rows = [
        {"q": "a?", "one": "goal", "two": "war", "right": "B"},
        {"q": "b?", "one": "x", "two": "y", "right": "A"},
    ]
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    client.post(f"/api/projects/{project}/upload?name=q.jsonl", content=content)
    runs = f"/api/projects/{project}/runs"
    fields = {"kind": "fields", "label": "right", "choice_fields": ["one", "two"], "gold": "letter"}
    body = {"model": entry.id, "prompts": [{"template": "{{ q }}"}], "task": fields, "rows": [0, 1]}
    run = wait_for(client, project, post(client, runs, body, 202)["id"])
    assert [tile[3] for tile in run["cards"][0]["tiles"]] == ["war", "x"]
    written = {"kind": "generate", "label": "right", "max_new_tokens": 3}
    run = wait_for(client, project, post(client, runs, body | {"task": written}, 202)["id"])
    assert [tile[3] for tile in run["cards"][0]["tiles"]] == ["B", "A"]
    assert all(tile[4] is None and tile[5] in (0, 1) for tile in run["cards"][0]["tiles"])
    classes = [{"value": "A", "wording": "a"}, {"value": "B", "wording": "b"}]
    own = {"kind": "template", "label": "right", "classes": classes}
    prompt = {"template": "{{ q }} ||| {{ answer_choices[right] }}", "answer_choices": "first ||| second"}
    run = wait_for(client, project, post(client, runs, body | {"task": own, "prompts": [prompt]}, 202)["id"])
    assert [tile[3] for tile in run["cards"][0]["tiles"]] == ["second", "first"]


def test_a_large_run_keeps_seen_rows_apart_and_has_curves_and_tests(
    client: TestClient, project: str, entry: ModelEntry
) -> None:
    path = f"/api/projects/{project}"
    seen = set(client.get(path).json()["working"]["rows"])
    seen |= set(post(client, f"{path}/working", {"how": "picked", "rows": [0, 1, 2]})["working"]["rows"])
    prompts = prompts_of(client, project)[:3]
    run = post(client, f"{path}/large", {"model": entry.id, "prompts": prompts, "rows": 500}, 202)
    assert "Successive halving" in run["rule"] and f"{len(seen)} rows" in run["warnings"][0]
    ended = wait_for(client, project, run["id"])
    assert ended["state"] == "done" and ended["num_rows"] == 120 - len(seen)
    card = ended["cards"][0]
    assert [point[0] for point in card["curve"]] == sorted({*range(10, 97, 10), 50, ended["num_rows"]})
    found = client.get(f"{path}/runs/{run['id']}/rows", params={"prompt": card["prompt"]["id"]}).json()
    assert not seen & {row["row"] for row in found["rows"]}
    wrong = {"prompt": card["prompt"]["id"], "gold": TOPICS[0], "state": "wrong", "limit": 3}
    for row in client.get(f"{path}/runs/{run['id']}/rows", params=wrong).json()["rows"]:
        assert row["values"]["label"] == TOPICS[0] and row["tile"][1] == "wrong"
    tests = client.get(f"{path}/runs/{run['id']}/tests").json()["tests"]
    assert all(test["probability"] <= test["adjusted"] <= 1 for test in tests)
    again = post(
        client,
        f"{path}/large",
        {"model": entry.id, "prompts": prompts, "rows": 90, "include_seen": True},
        202,
    )
    assert "better than on new rows" in again["warnings"][0]


def test_two_runs_of_the_same_prompts_are_compared(
    client: TestClient, grid: dict[str, Any], entry: ModelEntry
) -> None:
    project = grid["project"]
    body = {"slot": "compare:b", "model": entry.id, "prompts": [card["prompt"] for card in grid["cards"]]}
    other = wait_for(client, project, post(client, f"/api/projects/{project}/runs", body, 202)["id"])
    query = {"first": grid["id"], "second": other["id"]}
    compared = client.get(f"/api/projects/{project}/compare", params=query).json()["prompts"]
    assert len(compared) == 6 and all(one["difference"] == 0 and one["agree"] == 1 for one in compared)


def test_deployed_prompts_classify_and_export(
    client: TestClient, grid: dict[str, Any], tmp_path: Path
) -> None:
    card, project = grid["cards"][2], grid["project"]
    body = {"run": grid["id"], "prompt": card["prompt"]["id"], "name": "topic", "threshold": 0.9}
    app = post(client, f"/api/projects/{project}/deploy", body, 201)
    assert app["app"]["measured"]["accuracy"] == card["summary"]["accuracy"]
    assert app["app"]["fields"] == ["text"] and "95 % interval" in app["card"]
    rows = [client.get(f"/api/projects/{project}/rows/{tile[0]}").json()["values"] for tile in card["tiles"]]
    answers = post(client, "/api/apps/topic/classify", {"rows": [{"text": row["text"]} for row in rows]})[
        "answers"
    ]
    for answer, tile in zip(answers, card["tiles"], strict=True):
        assert answer["confidence"] == pytest.approx(tile[4], abs=1e-5)
        assert answer["sure"] == (tile[4] >= 0.9)
        assert answer["answer"] == (tile[2] if answer["sure"] else None)
    lacking = client.post("/api/apps/topic/classify", json={"rows": [{"txt": "a"}]})
    assert lacking.status_code == 400 and "no text" in lacking.json()["error"]["message"]
    for name in ("../x", "", "a/b", "x" * 80):
        answer = client.post(f"/api/projects/{project}/deploy", json=body | {"name": name})
        assert answer.status_code == 400, name
    exported = client.post(
        f"/api/projects/{project}/export", json={"prompts": [card["prompt"]], "dataset": "news"}
    )
    (tmp_path / "templates.yaml").write_text(exported.text)
    (template,) = load_templates(tmp_path / "templates.yaml").values()
    rendered = template.apply(rows[0])
    assert rendered.targets == [rows[0]["label"]] and yaml.safe_load(app["path"])


def test_suggestions_come_from_the_model(client: TestClient, project: str, entry: ModelEntry) -> None:
    body = {"model": entry.id, "wordings": ["Topic:"], "count": 4}
    found = post(client, f"/api/projects/{project}/suggest", body)["wordings"]
    assert len(found) <= 4 and "Topic:" not in found


def test_requests_at_the_same_time(client: TestClient, project: str, entry: ModelEntry) -> None:
    prompts = prompts_of(client, project)
    failures: list[str] = []

    def tab(number: int) -> None:
        body = {"slot": f"tab{number}", "model": entry.id, "prompts": prompts}
        run = client.post(f"/api/projects/{project}/runs", json=body).json()
        if wait_for(client, project, run["id"])["done"] != 120:
            failures.append(run["id"])

    tabs = [threading.Thread(target=tab, args=(number,)) for number in range(4)]
    for one in tabs:
        one.start()
    for one in tabs:
        one.join()
    assert not failures
