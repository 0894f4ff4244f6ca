"""A person's whole way through the studio, in Chromium: from a file to a classifier that answers over HTTP.

Screenshots are kept in the folder that HORTUS_STUDIO_PICTURES names, else in pytest's own temporary folder.
HORTUS_TEST_MODEL names the model that answers; without it a BLOOM of width 32 answers at random.
"""

from __future__ import annotations

import json
import os
import re
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.studio.browser import (
    STUDIO_READY,
    chromium_context,
    hortus_process,
    news,
    tiny_model,
    watch_faults,
)

pytestmark = pytest.mark.slow

VARIABLES = {
    "opening": ("", "Read this news.", "Here is a short article:"),
    "question": ("Topic:", "What is it about?", "This news belongs to the section"),
    "ending": ("", "Answer:", "The section is"),
}
TEMPLATE = "[[opening]]\n{{ text }}\n[[question]]\n[[ending]]"
WAIT_MS = 240_000


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    named = os.environ.get("HORTUS_STUDIO_PICTURES")
    folder = Path(named) if named else tmp_path_factory.mktemp("pictures")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("studio")
    model, data = tiny_model(folder / "model"), news(folder / "agnews.csv")
    arguments = ["studio", "--model", model, "--folder", "studio", "--port", "0"]
    with hortus_process(*arguments, ready=STUDIO_READY, folder=folder) as found:
        yield {"link": found[0], "folder": folder, "data": data}


def test_the_whole_journey(studio: dict[str, Any], pictures: Path) -> None:
    with chromium_context(color_scheme="light") as context:
        page = context.new_page()
        page.set_default_timeout(WAIT_MS)
        faults = watch_faults(page)
        keep: Callable[[str], object] = lambda name: page.screenshot(path=pictures / f"studio-{name}.png")  # noqa: E731
        page.goto(studio["link"])
        open_data(page, studio["data"], keep)
        set_up(page, keep)
        vary(page, keep)
        inspect(page, keep)
        refine(page, keep)
        run_large(page, keep)
        deploy(page, keep)
        assert faults == []
        page.reload()
        page.get_by_role("heading", name="Deploy", exact=True).wait_for()
        page.get_by_role("button", name="Cards", exact=True).click()
        page.get_by_text("27 of 27 cards").wait_for()
        assert faults == []
    classify_over_http(studio)


def go(page: Any, screen: str) -> None:
    page.get_by_role("navigation").get_by_role("button", name=screen, exact=True).click()


def open_data(page: Any, data: Path, keep: Callable[[str], object]) -> None:
    page.locator("input[type=file]").set_input_files(data)
    page.get_by_role("heading", name=data.name).wait_for()
    page.get_by_text("800 rows").first.wait_for()
    page.get_by_role("searchbox", name="Search the rows").fill("the")
    page.get_by_label("How they are drawn").select_option("stratified")
    page.get_by_role("button", name="Draw", exact=True).click()
    page.get_by_text("Working set: 20 rows").wait_for()
    page.get_by_role("searchbox", name="Search the rows").fill("")
    page.get_by_label("Row 0 in the working set").wait_for()
    keep("data")


def set_up(page: Any, keep: Callable[[str], object]) -> None:
    go(page, "Task")
    page.get_by_label("Field of the right answer").select_option("label")
    page.get_by_label("Wording of Sci/Tech").fill("Science")
    assert page.get_by_label(re.compile("^Wording of")).count() == 4
    page.get_by_label("Choices are compared by").select_option("beyond_prior")
    keep("task")


def vary(page: Any, keep: Callable[[str], object]) -> None:
    go(page, "Variations")
    page.get_by_role("textbox", name="Template").fill("")
    for number, (name, wordings) in enumerate(VARIABLES.items()):
        page.get_by_role("button", name="Add a variable").click()
        group = page.get_by_role("group").nth(number)
        group.get_by_label("Name").fill(name)
        group.get_by_label("Name").press("Tab")
        for i, wording in enumerate(wordings):
            if i:
                group.get_by_role("button", name="Add a wording").click()
            group.get_by_label(f"{name}, wording {i + 1}").fill(wording)
    page.get_by_role("textbox", name="Template").fill(TEMPLATE)
    page.get_by_text("27 prompts × 20 rows").wait_for()
    page.get_by_text("checked", exact=True).wait_for()
    page.get_by_role("main").evaluate("main => (main.scrollTop = 0)")
    keep("variations")
    page.get_by_role("button", name="Try all of them").click()


def finished(page: Any) -> None:
    page.get_by_role("status", name="Run").get_by_text("· done").first.wait_for(timeout=WAIT_MS)


def inspect(page: Any, keep: Callable[[str], object]) -> None:
    finished(page)
    page.get_by_text("27 of 27 cards").wait_for()
    stripe = page.get_by_role("slider").first
    stripe.hover(position={"x": 8, "y": 8})
    tooltip = page.get_by_role("tooltip")
    tooltip.get_by_role("table").wait_for()
    assert tooltip.get_by_text("right answer").count() >= 1
    keep("cards")
    stripe.click(position={"x": 8, "y": 8})
    pinned = page.get_by_label("Pinned example")
    pinned.get_by_text("of 27 prompts right").wait_for()
    assert pinned.locator("tbody tr").count() >= 27
    page.mouse.move(5, 5)
    keep("pinned")
    pinned.get_by_role("button", name="Unpin").click()
    page.get_by_label("Group").select_option("question")
    assert page.get_by_role("heading", name="What is it about?", exact=True).count() == 1
    page.get_by_label("Group").select_option("")
    for number in (0, 1):
        page.get_by_role("article").nth(number).get_by_role("button", name="+ cart").click()


def refine(page: Any, keep: Callable[[str], object]) -> None:
    page.get_by_role("article").nth(0).get_by_role("button", name="Refine").click()
    box = page.get_by_role("textbox", name="Prompt")
    before = box.input_value()
    finished(page)
    box.fill(before + "\nOne word:")
    page.get_by_role("region", name="Results").get_by_text("a hint, not a proof").wait_for(timeout=WAIT_MS)
    finished(page)
    keep("refine")
    page.get_by_role("button", name="+ cart").click()
    page.get_by_role("button", name="Undo").click()
    assert box.input_value() == before
    page.get_by_role("button", name="Redo").click()
    assert box.input_value() == before + "\nOne word:"
    assert page.get_by_label("Cart").get_by_role("listitem").count() == 3


def run_large(page: Any, keep: Callable[[str], object]) -> None:
    go(page, "Large run")
    page.get_by_label("Number of rows").fill("200")
    page.get_by_role("button", name="Start", exact=True).click()
    finished(page)
    page.get_by_role("heading", name="Is the difference real?").wait_for()
    page.get_by_role("table", name="Paired tests between prompts").locator("tbody tr").first.wait_for()
    keep("large")
    page.get_by_role("button", name=re.compile(r"^\d+ rows: ")).first.click()
    page.get_by_role("dialog").get_by_role("button").nth(1).wait_for()
    page.get_by_role("dialog").get_by_role("button", name="Close").click()


def deploy(page: Any, keep: Callable[[str], object]) -> None:
    page.get_by_role("button", name=re.compile("^Deploy .")).first.click()
    page.get_by_label("Name", exact=True).fill("topic")
    page.get_by_role("button", name="Deploy", exact=True).last.click()
    app = page.get_by_label("App topic")
    app.get_by_label("text").fill("The team won the cup final after extra time.")
    app.get_by_role("button", name="Try it").click()
    app.get_by_role("status").wait_for()
    keep("deploy")
    page.get_by_role("button", name="Dark").click()
    go(page, "Cards")
    page.get_by_role("article").first.wait_for()
    keep("dark")
    go(page, "Deploy")


def classify_over_http(studio: dict[str, Any]) -> None:
    arguments = ["serve", "studio/apps/topic.json", "--port", "0"]
    body = json.dumps({"rows": [{"text": "Shares fell after the profit warning."}]}).encode()
    with hortus_process(*arguments, ready=r"(http://127\.0\.0\.1:\d+)", folder=studio["folder"]) as found:
        request = urllib.request.Request(f"{found[1]}/classify", body, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as response:
            (answer,) = json.load(response)["answers"]
    assert answer["status"] == "ok"
    assert set(answer["probabilities"]) == {"World", "Sports", "Business", "Science"}
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-4)
