"""The page itself in Chromium: hostile data stays text, axe finds no serious fault, long data stay quick."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.studio.browser import (
    AXE,
    STUDIO_READY,
    Client,
    chromium_context,
    hortus_process,
    news,
    tiny_model,
    watch_faults,
)

pytestmark = pytest.mark.slow

SCREENS = ("Data", "Task", "Variations", "Cards", "Refine", "Large run", "Compare models", "Deploy")
EVIL = (
    "<img src=x onerror=window.hacked=1>",
    "<script>window.hacked=1</script>",
    '"><svg onload=window.hacked=1>',
    "{{ ''.__class__.__mro__ }}",
)
VARIATIONS = {
    "template": "{{ text }}\n[[question]]",
    "answer_choices": None,
    "variables": [{"name": "question", "wordings": ["Topic:", "What is it about?"]}],
    "mode": "product",
}


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("studio")
    arguments = [
        "studio",
        "--model",
        tiny_model(folder / "model"),
        "--folder",
        "studio",
        "--port",
        "0",
    ]
    with hortus_process(*arguments, ready=STUDIO_READY, folder=folder) as found:
        yield found


@pytest.fixture(scope="module")
def client(studio: Any) -> Client:
    return Client(studio)


def go(page: Any, screen: str) -> None:
    page.get_by_role("navigation").get_by_role("button", name=screen, exact=True).click()
    page.get_by_role("main").get_by_role("heading").first.wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_violation(studio: Any, client: Client, tmp_path: Path, scheme: str) -> None:
    if not AXE.exists():
        pytest.skip("needs axe-core: run `npm ci` in web/")
    project = client.project("topics", news(tmp_path / "news.csv", 60))
    client.run(project, VARIATIONS)
    with chromium_context(color_scheme=scheme) as context:
        context.add_init_script(path=AXE)
        page = context.new_page()
        page.set_default_timeout(240_000)
        page.goto(studio[0])
        page.goto(f"http://127.0.0.1:{studio['port']}/#/{project}")
        page.reload()
        page.get_by_role("heading").nth(1).wait_for()
        found: dict[str, list[str]] = {}
        for screen in (*SCREENS, "Projects", "Reports"):
            go(page, screen)
            page.wait_for_timeout(500)
            if screen == "Cards":
                page.get_by_role("slider").first.click(position={"x": 6, "y": 6})
                page.get_by_label("Pinned example").get_by_role("table").first.wait_for()
                page.get_by_role("article").first.get_by_role("button", name="Refine").wait_for()
            if screen == "Refine":
                page.get_by_role("button", name="Start with the template").click()
                page.get_by_role("textbox", name="Prompt").wait_for()
                page.wait_for_timeout(1000)
            result = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
            serious = [one for one in result["violations"] if one["impact"] in ("serious", "critical")]
            if serious:
                found[screen] = [f"{one['id']}: {[node['html'] for node in one['nodes']]}" for one in serious]
        assert found == {}


def test_hostile_data_templates_and_names_stay_text(studio: Any, client: Client, tmp_path: Path) -> None:
    path = tmp_path / "evil.csv"
    with path.open("w", newline="") as file:
        rows = [(evil, EVIL[i % 2], f"javascript:{evil}") for evil in EVIL for i in range(8)]
        csv.writer(file).writerows([("text", "label", "<b onclick=alert(1)>name"), *rows])
    project = client.project(f"evil {EVIL[0]}", path)
    revision = client("GET", f"/projects/{project}")["revision"]
    classes = [{"value": evil, "wording": evil} for evil in EVIL[:2]]
    task = {
        **client("GET", f"/projects/{project}")["task"],
        "kind": "choices",
        "label": "label",
        "classes": classes,
    }
    client("PATCH", f"/projects/{project}", {"revision": revision, "task": task})
    wordings = [EVIL[0], EVIL[2]]
    variations = {**VARIATIONS, "variables": [{"name": "question", "wordings": wordings}]}
    client.run(project, variations)
    with chromium_context() as context:
        page = context.new_page()
        page.set_default_timeout(240_000)
        page.goto(studio[0])
        faults = watch_faults(page)
        page.goto(f"http://127.0.0.1:{studio['port']}/#/{project}")
        page.reload()
        for screen in (*SCREENS, "Projects", "Reports"):
            go(page, screen)
            page.wait_for_timeout(400)
            if screen == "Data":
                page.get_by_text(EVIL[0], exact=True).first.wait_for()
                page.get_by_role("button", name="0", exact=True).click()
                page.get_by_role("dialog").get_by_role("button", name="Close").click()
            if screen == "Cards":
                page.get_by_role("slider").first.hover(position={"x": 6, "y": 6})
                page.get_by_role("tooltip").get_by_role("table").wait_for()
        assert page.evaluate("window.hacked") is None
        assert faults == []
        # The policy itself refuses what an injection would need.
        page.evaluate(
            "document.body.append(Object.assign(document.createElement('script'), {text: 'window.hacked=2'}))"
        )
        assert page.evaluate("window.hacked") is None


def test_a_page_of_another_origin_can_do_nothing(studio: Any, client: Client, tmp_path: Path) -> None:
    """A form or fetch from elsewhere, with the cookie at hand, changes nothing and reads nothing."""
    before = len(client("GET", "/projects")["projects"])
    with chromium_context() as context:
        page = context.new_page()
        page.set_default_timeout(240_000)
        page.goto(studio[0])
        other = context.new_page()
        elsewhere = tmp_path / "other.html"
        elsewhere.write_text("<title>other</title>")
        other.goto(elsewhere.as_uri())
        outcome = other.evaluate(
            """async address => {
              const ask = { method: "POST", mode: "no-cors", credentials: "include", body: '{"name": "x"}' };
              const sent = await fetch(address, ask).then(() => "sent", () => "failed");
              const read = await fetch(address, { credentials: "include" })
                .then(answer => answer.text(), () => "refused");
              return [sent, read];
            }""",
            f"http://127.0.0.1:{studio['port']}/api/projects",
        )
    assert outcome[1] == "refused"
    assert len(client("GET", "/projects")["projects"]) == before


def test_a_hundred_thousand_rows_are_paged(studio: Any, client: Client, tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(
            [("text", "label"), *((f"story {i}", "ab"[i % 2]) for i in range(100_000))]
        )
    project = client.project("long", path)
    with chromium_context() as context:
        page = context.new_page()
        page.set_default_timeout(240_000)
        page.goto(studio[0])
        page.goto(f"http://127.0.0.1:{studio['port']}/#/{project}")
        page.reload()
        rows = page.get_by_label("rows of long.csv")
        rows.get_by_text("story 3", exact=True).wait_for()
        rows.evaluate("list => (list.scrollTop = list.scrollHeight)")
        rows.get_by_text("story 99999", exact=True).wait_for()
        assert page.evaluate("document.querySelectorAll('*').length") < 1500
        page.get_by_role("searchbox", name="Search the rows").fill("story 4242")
        page.get_by_text("11 rows").wait_for()
