"""How quick the studio's page is, by the clock of the browser that shows it.

    python benchmarks/studio_page.py MODEL       # the quickstart's folder; needs Playwright and Chromium

Row `answers`: 20 rows x 24 prompts x 4 choices, from the click to the first tile drawn, to the last answer
shown, and the same click again, which is answered from the cache (studio_server.py has the server's own
figures). Row `frames`: 24 cards of 1,000 tiles that arrive in 20 bursts, then hovering, sorting, scrolling:
the longest time that scripts ran between two frames, from the browser's own trace. Row `scrolling`: the
same while going through a table of 100,000 rows. Row `bundle`: bytes with gzip.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import itertools
import json
import random
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hortus.device import describe_machine

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from tests.studio.browser import STUDIO_READY, Client, chromium_context, hortus_process, news  # noqa: E402

RESULTS = Path(__file__).parent / "results" / "studio_page.json"
STATIC = ROOT / "src" / "hortus" / "studio" / "static"
CHOICES = ("World", "Sports", "Business", "Sci/Tech")
WORDINGS = {
    "opening": ("", "Read this news.", "Here is a short article:", "News:"),
    "question": ("Topic:", "What is it about?", "This news belongs to the section"),
    "ending": ("", "Answer:"),
}
VARIATIONS = {
    "template": "[[opening]]\n{{ text }}\n[[question]]\n[[ending]]",
    "answer_choices": None,
    "variables": [{"name": name, "wordings": list(texts)} for name, texts in WORDINGS.items()],
    "mode": "product",
}
# The page's own clock: the click, the first tile not of the waiting colour, the word "done".
CLOCK = """
window.clock = {};
document.addEventListener("click", event => {
  if (event.target.textContent.includes("Try all")) window.clock = { click: performance.now() };
}, true);
const rect = CanvasRenderingContext2D.prototype.rect;
CanvasRenderingContext2D.prototype.rect = function (...box) {
  if (this.fillStyle !== "#e3e8e1") window.clock.first ??= performance.now();
  return rect.apply(this, box);
};
new MutationObserver(() => {
  const text = document.querySelector("main")?.textContent ?? "";
  if (window.clock.first && /answers\\s+·\\s+done/.test(text)) window.clock.all ??= performance.now();
}).observe(document, { childList: true, characterData: true, subtree: true });
"""
# Events that this script sends in place of the server.
SENDER = """
const listeners = {};
window.EventSource = class { addEventListener(kind, take) { listeners[kind] = take; } close() {} };
window.send = (kind, data) => listeners[kind]({ data });
"""
BURSTS = """() => new Promise(done => {
  const timer = setInterval(() => {
    if (window.bursts.length) window.send("tiles", window.bursts.shift());
    else { clearInterval(timer); done(); }
  }, 60);
})"""
SCRIPT = {
    "FunctionCall",
    "EvaluateScript",
    "FireAnimationFrame",
    "TimerFire",
    "EventDispatch",
    "RunMicrotasks",
}


def main() -> None:
    """Measure every row, store and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", type=Path)
    options = parser.parse_args()
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        arguments = ("studio", "--model", options.model.resolve(), "--folder", "studio", "--port", "0")
        with hortus_process(*arguments, ready=STUDIO_READY, folder=here) as studio:
            client = Client(studio)
            project = new_project(client, here)
            rows["answers"] = answers(studio, project)
            rows["frames"] = frames(studio, client, project)
            rows["scrolling"] = scrolling(studio, client, here)
    files = [path for path in STATIC.rglob("*") if path.suffix in (".html", ".js", ".css", ".svg")]
    rows["bundle"] = {"gzip_bytes": sum(len(gzip.compress(path.read_bytes())) for path in files)}
    RESULTS.write_text(json.dumps({"machine": describe_machine(), **rows}, indent=1) + "\n")
    print(json.dumps(rows, indent=1))


def open_project(context: Any, studio: Any, project: str) -> Any:
    page = context.new_page()
    page.set_default_timeout(140_000)
    page.goto(studio[0])
    page.goto(f"http://127.0.0.1:{studio['port']}/#/{project}")
    page.reload()
    return page


def go(page: Any, screen: str) -> None:
    page.get_by_role("navigation").get_by_role("button", name=screen, exact=True).click()


def new_project(client: Client, here: Path) -> str:
    """AG News with a working set of 20 rows and the task and variations above."""
    project = client.project("speed", news(here / "news.csv"))
    path = f"/projects/{project}"
    held = client("POST", f"{path}/working", {"how": "random", "count": 20, "seed": 1})
    classes = [{"value": choice, "wording": choice} for choice in CHOICES]
    task = {**held["task"], "kind": "choices", "label": "label", "classes": classes}
    client("PATCH", path, {"revision": held["revision"], "task": task, "variations": VARIATIONS})
    return project


def answers(studio: Any, project: str) -> dict[str, Any]:
    with chromium_context(color_scheme="light") as context:
        context.add_init_script(CLOCK)
        page = open_project(context, studio, project)
        return {"first": try_all(page), "from_cache": try_all(page)}


def try_all(page: Any) -> dict[str, float]:
    """Click and wait; seconds from the click by the page's clock."""
    go(page, "Variations")
    page.get_by_text("24 prompts × 20 rows").wait_for()
    page.get_by_text("checked", exact=True).wait_for()
    page.get_by_role("button", name="Try all of them").click()
    # A function that Playwright makes from a string in the page would be refused by the page's own policy.
    while "all" not in (clock := page.evaluate("window.clock")):
        page.wait_for_timeout(100)
    seconds = {name: round((clock[name] - clock["click"]) / 1000, 3) for name in ("first", "all")}
    return {"first_tile_seconds": seconds["first"], "all_seconds": seconds["all"]}


def frames(studio: Any, client: Client, project: str, rows: int = 1000) -> dict[str, Any]:
    run = client("GET", f"/projects/{project}/runs")["runs"][0]["id"]
    path = f"/projects/{project}/runs/{run}"
    detail = client("GET", path)
    detail.update(rows=list(range(rows)), num_rows=rows, state="running", done=0)
    for card in detail["cards"]:
        card.update(tiles=[], state="running")
    dice = random.Random(0)
    ids = [card["prompt"]["id"] for card in detail["cards"]]
    bursts = [
        json.dumps(
            {"run": run, "cards": {one: [tile(row, dice) for row in range(at, at + 50)] for one in ids}}
        )
        for at in range(0, rows, 50)
    ]
    with chromium_context(color_scheme="light") as context:
        context.add_init_script(SENDER)
        context.route(f"**/api{path}", lambda route: route.fulfill(json=detail))
        page = open_project(context, studio, project)
        go(page, "Cards")
        page.get_by_role("article").nth(len(ids) - 1).wait_for()
        page.evaluate("bursts => { window.bursts = bursts; }", bursts)
        with traced(context.browser, page) as trace:
            page.evaluate(BURSTS)
            stripe = page.get_by_role("slider").first
            for step in range(30):
                stripe.hover(position={"x": 10 + 9 * step, "y": 10})
            page.get_by_label("Sort").select_option("name")
            page.get_by_label("Sort").select_option("calibration")
            for _ in range(20):
                page.mouse.wheel(0, 400)
                page.wait_for_timeout(30)
    return {"cards": len(ids), "tiles": rows, **script_times(trace)}


def tile(row: int, dice: random.Random) -> list[Any]:
    right = dice.random() < 0.6
    gold, predicted = CHOICES[row % 4], CHOICES[(row + (not right)) % 4]
    return [row, "right" if right else "wrong", predicted, gold, dice.random(), float(right)]


def scrolling(studio: Any, client: Client, here: Path, rows: int = 100_000) -> dict[str, Any]:
    path = here / "long.csv"
    with path.open("w", newline="") as file:
        lines = ((f"story {i} of many", CHOICES[i % 4]) for i in range(rows))
        csv.writer(file).writerows(itertools.chain([("text", "label")], lines))
    project = client.project("long", path)
    with chromium_context() as context:
        page = open_project(context, studio, project)
        table = page.get_by_label("rows of long.csv")
        table.get_by_text("story 3 of many", exact=True).wait_for()
        with traced(context.browser, page) as trace:
            for step in range(1, 41):
                table.evaluate("(list, share) => { list.scrollTop = list.scrollHeight * share; }", step / 40)
                page.wait_for_timeout(40)
            table.get_by_text(f"story {rows - 1} of many", exact=True).wait_for()
        elements = page.evaluate("document.querySelectorAll('*').length")
    return {"rows": rows, "elements_in_page": elements, **script_times(trace)}


@contextmanager
def traced(browser: Any, page: Any) -> Iterator[list[dict[str, Any]]]:
    """The browser's trace of the block, as its events."""
    events: list[dict[str, Any]] = []
    browser.start_tracing(page=page, categories=["devtools.timeline", "__metadata"])
    yield events
    events += json.loads(browser.stop_tracing())["traceEvents"]


def script_times(events: list[dict[str, Any]]) -> dict[str, Any]:
    """The longest and the 99th percentile of milliseconds that scripts ran between two frames."""
    names = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e["name"] == "thread_name"}
    main = [event for event in events if names.get((event["pid"], event["tid"])) == "CrRendererMain"]
    begins = sorted(event["ts"] for event in main if event["name"] == "BeginMainThreadFrame")
    scripts = sorted((e["ts"], e["dur"]) for e in main if e["name"] in SCRIPT and e.get("dur"))
    totals: dict[int, float] = {}
    end = frame = 0
    for start, duration in scripts:
        if start < end:
            continue  # inside the last one, and counted with it
        end = start + duration
        while frame < len(begins) and begins[frame] <= start:
            frame += 1
        totals[frame] = totals.get(frame, 0) + duration / 1000
    times = sorted(totals.values())
    p99 = times[int(0.99 * (len(times) - 1))]
    return {"frames": len(begins), "longest_script_ms": round(times[-1], 1), "p99_script_ms": round(p99, 1)}


if __name__ == "__main__":
    main()
