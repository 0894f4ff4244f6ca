"""Runs: what is urgent goes first, what is superseded ends, and nothing finished is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hortus.errors import DeviceError
from hortus.studio import Studio
from hortus.studio.config import LargeRequest, PromptText, RunRequest
from hortus.studio.models import ModelEntry
from tests.studio.conftest import TOKEN, new_project, rows_of, write_jsonl

PROMPTS = tuple(PromptText(template=f"{{{{ text }}}} {ask}") for ask in ("Topic:", "About", "Kind:"))


class Scripted:
    """A model that answers at once, remembers what it was asked, and can wait or fail."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.fail_at: int | None = None

    def rank(self, texts: Any, choices: Any, **_: Any) -> list[np.ndarray]:
        self.entered.set()
        self.gate.wait(60)
        if self.fail_at is not None and len(self.asked) >= self.fail_at:
            raise MemoryError("the model died")
        self.asked += texts
        # The first row's right answer is likely for "Topic:", wrong for all else.
        return [
            np.array(
                [-1.0 if text.endswith("Topic:") == (choice == _right(text)) else -2.0 for choice in mine]
            )
            for text, mine in zip(texts, choices, strict=True)
        ]


def _right(text: str) -> str:
    return {"war": "World", "goal": "Sports", "bank": "Business", "atom": "Science"}[text.split()[0]]


@pytest.fixture
def scripted(studio: Studio, entry: ModelEntry) -> tuple[Scripted, str]:
    model = Scripted()
    fake = replace(entry, model=model, hash=uuid.uuid4().hex)
    return model, studio.models.add(fake).id


def wait(studio: Studio, project: str, run: str) -> dict[str, Any]:
    deadline = time.monotonic() + 240
    while studio.runner.active(run):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return studio.run(project, run)


def test_a_refined_prompt_overtakes_a_grid_and_a_large_run(
    studio: Studio, project: str, scripted: tuple[Scripted, str]
) -> None:
    model, name = scripted
    model.gate.clear()
    large = studio.start_large(project, LargeRequest(prompts=PROMPTS, model=name, rows=60, halving=False))[
        "id"
    ]
    assert model.entered.wait(60)
    grid = studio.start(project, RunRequest(prompts=PROMPTS[:2], model=name, slot="grid"))["id"]
    edit = PromptText(template="{{ text }} now")
    refine = studio.start(project, RunRequest(prompts=(edit,), model=name, slot="refine"))["id"]
    model.gate.set()
    for run in (refine, grid, large):
        assert wait(studio, project, run)["state"] == "done"
    # The large run had one unit, of one row, when it was overtaken by the edit, and then by the grid.
    assert all(text.endswith("now") for text in model.asked[1:21])
    in_working = {studio.table(project).row(row)["text"] for row in studio.rows(project)}
    assert all(text.rsplit(" ", 1)[0] in in_working for text in model.asked[21:61])
    assert len(model.asked) == 1 + 20 + 40 + 3 * 60 - 1


def test_a_new_run_of_a_slot_ends_the_old_one(
    studio: Studio, project: str, scripted: tuple[Scripted, str]
) -> None:
    model, name = scripted
    model.gate.clear()
    old = studio.start(project, RunRequest(prompts=PROMPTS, model=name, slot="refine"))["id"]
    assert model.entered.wait(60)
    new = studio.start(project, RunRequest(prompts=PROMPTS[:1], model=name, slot="refine"))["id"]
    model.gate.set()
    assert wait(studio, project, new)["state"] == "done"
    while studio.runner.active(old):
        time.sleep(0.01)
    assert len(model.asked) < 40  # one unit of the old run and all of the new one
    assert [run["id"] for run in studio.store.runs(project)] == [new]


def test_a_model_that_dies_is_shown_and_the_run_goes_on_later(
    studio: Studio, project: str, scripted: tuple[Scripted, str], capsys: pytest.CaptureFixture[str]
) -> None:
    model, name = scripted
    model.fail_at = 20
    run = studio.start_large(project, LargeRequest(prompts=PROMPTS, model=name, rows=40, halving=False))["id"]
    failed = wait(studio, project, run)
    assert failed["state"] == "failed" and "the model died" in failed["error"]
    finished, asked = failed["done"], list(model.asked)
    assert finished == len(asked) >= 1
    model.fail_at = None
    studio.resume(project, run)
    done = wait(studio, project, run)
    assert (done["state"], done["done"]) == ("done", 120)
    assert len(model.asked) == len(set(model.asked)) == 120  # nothing was asked twice


def test_clearly_worse_prompts_are_stopped_and_said_to_be(
    studio: Studio, project: str, scripted: tuple[Scripted, str]
) -> None:
    _, name = scripted
    run = studio.start_large(project, LargeRequest(prompts=PROMPTS, model=name, rows=100))["id"]
    done = wait(studio, project, run)
    states = {card["prompt"]["template"][-6:]: card for card in done["cards"]}
    assert states["Topic:"]["state"] == "done" and states["Topic:"]["summary"]["count"] == 100
    stopped = [card for card in done["cards"] if card["state"] == "stopped"]
    assert [card["stopped_at"] for card in stopped] == [50] and stopped[0]["summary"]["count"] == 50
    assert done["done"] == done["total"]


def test_closing_the_last_tab_stops_what_was_to_stop(
    studio: Studio, project: str, scripted: tuple[Scripted, str]
) -> None:
    model, name = scripted
    model.gate.clear()
    asked = RunRequest(prompts=PROMPTS, model=name, slot="a", when_closed="stop")
    stops = studio.start(project, asked)["id"]
    stays = studio.start(project, replace(asked, slot="b", when_closed="continue"))["id"]
    assert model.entered.wait(60)
    studio.runner.cancel(project)
    model.gate.set()
    assert wait(studio, project, stops)["state"] == "cancelled"
    assert wait(studio, project, stays)["state"] == "done"


def test_one_studio_a_folder(make_studio: Callable[..., Studio]) -> None:
    make_studio()
    with pytest.raises(DeviceError, match="another studio"):
        make_studio()


def test_a_stopped_studio_goes_on_where_it_was(make_studio: Callable[..., Studio], entry: ModelEntry) -> None:
    first = make_studio()
    project, model = new_project(first), Scripted()
    fake = replace(entry, model=model, hash="e" * 32)
    name = first.models.add(fake).id
    model.gate.clear()
    run = first.start_large(project, LargeRequest(prompts=PROMPTS, model=name, rows=40, halving=False))["id"]
    assert model.entered.wait(60)
    threading.Timer(0.2, model.gate.set).start()
    first.close()
    before = len(model.asked)
    second = Studio(first.config)
    try:
        assert second.store.run(run)["state"] == "interrupted"
        kept = second.run(project, run)
        assert kept["done"] == before == sum(card["summary"]["count"] for card in kept["cards"])
        second.models.add(fake)
        second.resume(project, run)
        assert wait(second, project, run)["state"] == "done"
        assert len(model.asked) == len(set(model.asked)) == 120
    finally:
        second.close()
        first.close = lambda: None  # type: ignore[method-assign]  # it is closed already


class Process:
    """`hortus studio` as a process of its own, over HTTP."""

    def __init__(self, model: Path, data: Path, folder: Path):
        command = ["studio", "--model", model, "--data", data, "--folder", folder, "--token", TOKEN]
        code = "from hortus.cli import main; main()"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, command)], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        link = self.process.stdout.readline()
        assert f"/?token={TOKEN}" in link
        self.home = link.partition("/?")[0]

    def ask(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.home + path, data, {"Authorization": f"Bearer {TOKEN}"})
        with urllib.request.urlopen(request, timeout=240) as answer:
            return json.loads(answer.read())

    def events(self, path: str, last: str = "") -> Any:
        headers = {"Authorization": f"Bearer {TOKEN}"} | ({"Last-Event-ID": last} if last else {})
        return urllib.request.urlopen(urllib.request.Request(self.home + path, headers=headers), timeout=240)

    def end(self, kind: int) -> None:
        self.process.send_signal(kind)
        self.process.wait(120)


def read_event(stream: Any) -> tuple[str, str, Any]:
    found: dict[str, str] = {}
    while "data" not in found:
        line = stream.readline().decode()
        assert line, "the stream ended"
        name, colon, value = line.rstrip("\n").partition(": ")
        if colon and name:
            found[name] = value
    return found["id"], found["event"], json.loads(found["data"])


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
def test_killed_in_the_middle_no_finished_result_is_lost(model_folder: Path, tmp_path: Path) -> None:
    data, folder = write_jsonl(tmp_path / "news.jsonl", rows_of(1500)), tmp_path / "studio"
    prompts = [{"template": f"{{{{ text }}}} {word} Topic:"} for word in "abcdefgh"]
    server = Process(model_folder, data, folder)
    try:
        session = server.ask("/api/session")
        project, model = session["initial_project"], session["models"][0]["id"]
        path = f"/api/projects/{project}"
        stream = server.events(f"{path}/events")
        body = {"model": model, "prompts": prompts, "rows": 1200, "halving": False}
        run = server.ask(f"{path}/large", body)["id"]
        told: dict[tuple[str, int], Any] = {}
        while len(told) < 40:  # tiles that a tab has seen
            number, event, news = read_event(stream)
            if event == "tiles":
                told |= {(prompt, tile[0]): tile for prompt, mine in news["cards"].items() for tile in mine}
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait(60)
        server = Process(model_folder, data, folder)
        assert server.ask("/api/session")["initial_project"] == project
        assert read_event(server.events(f"{path}/events", last=number))[1] == "reset"
        found = server.ask(f"{path}/runs/{run}")
        assert found["state"] == "interrupted" and len(told) <= found["done"] < found["total"]
        kept = {
            (card["prompt"]["id"], tile[0]): tile
            for card in found["cards"]
            for tile in server.ask(f"{path}/runs/{run}/tiles?prompt={card['prompt']['id']}")["tiles"]
        }
        assert all(kept[key] == tile for key, tile in told.items())
        assert server.ask(f"{path}/runs/{run}/resume", {})["id"] == run
        stream = server.events(f"{path}/events")
        done = found["done"]
        while done == found["done"]:
            done = server.ask(f"{path}/runs/{run}")["done"]
        assert done > found["done"]
    finally:
        server.end(signal.SIGTERM)
    assert server.process.returncode == 0
