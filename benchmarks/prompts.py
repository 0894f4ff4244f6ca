"""Template renderings a second: through hortus's worker, against plain Jinja as the published code calls it.

    python benchmarks/prompts.py --templates FOLDER [--data FILE] [--rows 3000]

FOLDER holds ag_news's templates.yaml; the rows are a tab-separated file of text and class name, or, without
one, generated texts of ag_news's length. The peer is the published procedure on an ordinary Jinja environment
in the caller's own process, without sandbox or limits: it compiles the template for every example, as the
published code does. A second peer compiles once. All render the same rows to the same texts. The target is
10,000 renderings a second; a figure is the best of three repeats.

Results go to benchmarks/results/prompts.json.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2

from hortus.prompts import Template, load_dataset, load_templates, render_all

RESULTS = Path(__file__).parent / "results" / "prompts.json"
CLASSES = ("World", "Sports", "Business", "Sci/Tech")
TOKEN = "3ed2dface8203c4c9dfb1a5dc58e41e0"
REPEATS = 3


def rows_of(path: Path | None, count: int) -> list[dict[str, Any]]:
    if path is not None:
        return list(load_dataset(path, names=("text", "label"), classes={"label": CLASSES}, max_rows=count))
    draw = random.Random(0)
    words = ["market", "team", "minister", "software", "said", "on", "Tuesday", "the", "a", "in", "shares"]
    return [{"text": " ".join(draw.choices(words, k=32)), "label": draw.randrange(4)} for _ in range(count)]


class Published:
    """The published procedure; `cached` keeps compiled templates, which the published code does not."""

    def __init__(self, cached: bool):
        self.environment = jinja2.Environment()
        self.environment.globals["zip"] = zip
        self.compiled: dict[str, jinja2.Template] = {}
        self.cached = cached

    def parts(self, source: str, variables: dict[str, Any]) -> list[str]:
        template = self.compiled.get(source) if self.cached else None
        if template is None:
            template = self.compiled[source] = self.environment.from_string(source)
        text = template.render(**variables)
        return [part.replace(TOKEN, "|||").strip() for part in text.split("|||")]

    def apply(self, template: Template, row: dict[str, Any]) -> list[str]:
        safe = {
            key: value.replace("|||", TOKEN) if isinstance(value, str) else value
            for key, value in row.items()
        }
        choices = None if template.answer_choices is None else self.parts(template.answer_choices, safe)
        cut = template.jinja.replace("}}", " | string | truncate(2048) }}")
        return self.parts(cut, {**safe, "answer_choices": choices})


def rate(work: Callable[[], Any], count: int) -> float:
    """The best of a few repeats, in renderings a second."""
    best = float("inf")
    for _ in range(REPEATS):
        began = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - began)
    return count / best


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--templates", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--rows", type=int, default=3000)
    arguments = parser.parse_args()
    templates = list(load_templates(arguments.templates).values())
    rows = rows_of(arguments.data, arguments.rows)
    jobs = [(template, index, row) for index, row in enumerate(rows) for template in templates]
    few, single = jobs[: len(jobs) // 10], jobs[:2000]
    ours = [one.parts for one in render_all(few)]
    peers = {"published": Published(cached=False), "compiled_once": Published(cached=True)}
    for name, peer in peers.items():
        assert [peer.apply(template, row) for template, _, row in few] == ours, f"{name} renders other texts"

    def applied(peer: Published, part: list[tuple[Template, int, dict[str, Any]]]) -> Callable[[], Any]:
        return lambda: [peer.apply(template, row) for template, _, row in part]

    results = {
        "hortus": rate(lambda: render_all(jobs), len(jobs)),
        "hortus_one_by_one": rate(
            lambda: [template.apply(row, index) for template, index, row in single], len(single)
        ),
        "published": rate(applied(peers["published"], few[:1000]), len(few[:1000])),
        "compiled_once": rate(applied(peers["compiled_once"], few), len(few)),
    }
    report = {
        "renderings": len(jobs),
        "templates": len(templates),
        "target": 10_000,
        "renderings_per_second": {name: round(value) for name, value in results.items()},
        "ratio_to_published": round(results["hortus"] / results["published"], 2),
        "ratio_to_compiled_once": round(results["hortus"] / results["compiled_once"], 2),
        "machine": f"{platform.machine()}, Python {platform.python_version()}, Jinja2 {jinja2.__version__}",
    }
    text = json.dumps(report, indent=2)
    print(text)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(text + "\n")


if __name__ == "__main__":
    main()
