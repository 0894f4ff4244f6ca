"""What the browser tests stand on: a studio in a process of its own, and Chromium looking at it."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
AXE = ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js"
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
LABELS = ("World", "Sports", "Business", "Sci/Tech")
_NOUNS = {
    "World": ("minister", "embassy", "election"),
    "Sports": ("striker", "tournament", "coach"),
    "Business": ("shares", "merger", "profit"),
    "Sci/Tech": ("satellite", "software", "genome"),
}


def news(path: Path, rows: int = 800) -> Path:
    """A csv of short news with four topics: AG News where its folder is given, else sentences made here."""
    folder = os.environ.get("HORTUS_TEST_DATA")
    source = Path(folder, "nlp_tasks", "agnews", "test.tsv") if folder else None
    if source and source.exists():
        lines = source.read_text(encoding="utf-8").splitlines()[:rows]
        pairs = [tuple(line.rsplit("\t", 1)) for line in lines]
    else:
        pairs = [
            (f"Story {i}: the {_NOUNS[label][i % 3]} was in the news again on day {i}.", label)
            for i, label in ((i, LABELS[i * 7 % 4]) for i in range(rows))
        ]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *pairs])
    return path


def tiny_model(folder: Path) -> Path:
    """A BLOOM of width 32 that answers at random, or the folder that HORTUS_TEST_MODEL names."""
    if os.environ.get("HORTUS_TEST_MODEL"):
        return Path(os.environ["HORTUS_TEST_MODEL"])
    import torch

    from hortus.language import LanguageModel
    from hortus.models import build_network
    from hortus.tokenizer import TokenizerConfig, train_tokenizer

    texts = [f"The {noun} was in the news. {label}" for label, nouns in _NOUNS.items() for noun in nouns]
    tokenizer = train_tokenizer(texts * 5, TokenizerConfig(vocab_size=300))
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "n_layer": 2, "n_head": 2, "vocab_size": tokenizer.vocab_size}
    LanguageModel(build_network({"model_type": "bloom", **shape}), tokenizer).save(folder)
    return folder


@contextmanager
def hortus_process(*arguments: str | Path, ready: str, folder: Path) -> Iterator[re.Match[str]]:
    """Run `hortus ...` in the folder until the block ends; gives the match of `ready` in what it prints."""
    command = [sys.executable, "-c", "from hortus.cli import main; main()", *map(str, arguments)]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdout=pipe, stderr=subprocess.STDOUT, text=True, env=environment, cwd=folder
    ) as process:
        assert process.stdout
        printed = ""
        try:
            for line in process.stdout:
                printed += line
                if found := re.search(ready, line):
                    yield found
                    return
            raise AssertionError(f"it ended without being ready:\n{printed}")
        finally:
            process.terminate()


STUDIO_READY = r"http://127\.0\.0\.1:(?P<port>\d+)/\?token=(?P<token>\S+)"


@contextmanager
def chromium_context(**options: Any) -> Iterator[Any]:
    """A fresh browser context of 1280 x 800; the test is skipped where Playwright or Chromium is missing."""
    api = pytest.importorskip("playwright.sync_api", reason="needs Playwright")
    if not CHROMIUM:
        pytest.skip("needs Chromium: install it, or name its executable in CHROMIUM")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--headless", "--disable-gpu"]
        )
        try:
            yield browser.new_context(viewport={"width": 1280, "height": 800}, **options)
        finally:
            browser.close()


def watch_faults(page: Any) -> list[str]:
    """A list that fills with what the page complains of: errors, refused scripts, dialogs."""
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(f"error: {error}"))
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.on("dialog", lambda dialog: (faults.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    return faults


class Client:
    """The studio's API by its token, to put a project into the state that a test begins with."""

    def __init__(self, studio: re.Match[str]) -> None:
        self.address, self.token = f"http://127.0.0.1:{studio['port']}/api", studio["token"]

    def __call__(self, method: str, path: str, body: Any = None) -> Any:
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        kind = "application/octet-stream" if isinstance(body, bytes) else "application/json"
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": kind}
        request = urllib.request.Request(self.address + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=120) as response:
            return json.loads(response.read() or b"null")

    def project(self, name: str, data: Path) -> str:
        """A project with its data open and a working set of ten rows."""
        project: str = self("POST", "/projects", {"name": name})["id"]
        self("POST", f"/projects/{project}/upload?name={data.name}", data.read_bytes())
        self("POST", f"/projects/{project}/working", {"how": "random", "count": 10, "seed": 0})
        return project

    def run(self, project: str, variations: dict[str, Any]) -> str:
        """Try all prompts of the variations; returns the id of the run when it has ended."""
        here = f"/projects/{project}"
        revision = self("GET", here)["revision"]
        self("PATCH", here, {"revision": revision, "variations": variations})
        task = self("GET", here)["task"]
        prompts = self("POST", f"{here}/prompts", {"variations": variations, "task": task})["prompts"]
        model = self("GET", "/models")["models"][0]["id"]
        run = self("POST", f"{here}/runs", {"slot": "grid", "model": model, "prompts": prompts})["id"]
        for _ in range(1200):
            if self("GET", f"{here}/runs/{run}")["state"] not in ("waiting", "running"):
                return str(run)
            time.sleep(0.1)
        raise AssertionError("the run did not end in two minutes")
