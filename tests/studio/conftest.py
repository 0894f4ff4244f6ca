"""A tiny model, a small dataset, a studio, and its application over HTTP without a socket."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from starlette.testclient import TestClient

from hortus.language import LanguageModel
from hortus.models.bloom import Bloom, BloomConfig
from hortus.studio import Studio, StudioConfig, create_app
from hortus.studio.config import DataSource
from hortus.studio.models import ModelEntry
from hortus.tokenizer import TokenizerConfig, train_tokenizer

TOKEN = "a-token-for-tests-only"
TOPICS = ("World", "Sports", "Business", "Science")


def rows_of(number: int) -> list[dict[str, Any]]:
    words = ("war", "goal", "bank", "atom")
    return [{"text": f"{words[n % 4]} number {n}", "label": TOPICS[n % 4]} for n in range(number)]


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def model() -> LanguageModel:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    text = "war goal bank atom number 0 1 2 3 4 5 6 7 8 9 World Sports Business Science Topic: It is about "
    tokenizer = train_tokenizer([text] * 9, TokenizerConfig(vocab_size=300))
    shape = {"vocab_size": 320, "hidden_size": 24, "num_layers": 1, "num_heads": 2}
    return LanguageModel(Bloom(BloomConfig(initializer_range=0.4, **shape)), tokenizer, max_length=256)


@pytest.fixture(scope="session")
def model_folder(model: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifact") / "tiny"
    model.save(folder)
    return folder


@pytest.fixture(scope="session")
def entry(model_folder: Path) -> ModelEntry:
    from hortus.studio.models import open_entry

    return open_entry(str(model_folder), device="cpu")


@pytest.fixture
def make_studio(tmp_path: Path, entry: ModelEntry) -> Iterator[Callable[..., Studio]]:
    studios: list[Studio] = []

    def make(**settings: Any) -> Studio:
        studio = Studio(StudioConfig(**{"folder": tmp_path / "studio", "runs": tmp_path / "runs"} | settings))
        studio.models.add(entry)
        studios.append(studio)
        return studio

    yield make
    for studio in studios:
        studio.close()


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory, entry: ModelEntry) -> Iterator[Studio]:
    folder = tmp_path_factory.mktemp("home")
    studio = Studio(StudioConfig(folder=folder / "studio", runs=folder / "runs"))
    studio.models.add(entry)
    yield studio
    studio.close()


def new_project(studio: Studio) -> str:
    """A project with 120 rows of four topics."""
    path = studio.config.folder / "news.jsonl"
    if not path.exists():
        write_jsonl(path, rows_of(120))
    created = studio.create("News")["id"]
    studio.open_data(created, DataSource(source=str(path)))
    return str(created)


@pytest.fixture
def project(studio: Studio) -> str:
    return new_project(studio)


@pytest.fixture(scope="module")
def client(studio: Studio) -> Iterator[TestClient]:
    """A browser's client: cookie and Origin."""
    app = create_app(studio, TOKEN)
    with TestClient(app, base_url="http://127.0.0.1:8080") as client:
        client.headers["Origin"] = "http://127.0.0.1:8080"
        assert client.get(f"/?token={TOKEN}", follow_redirects=False).status_code == 303
        yield client


GRID = {
    "template": "[[intro]]{{ text }}\n[[ask]]",
    "variables": [
        {"name": "intro", "wordings": ["", "News: "]},
        {"name": "ask", "wordings": ["Topic:", "It is about", "Section:"]},
    ],
    "mode": "product",
}


def wait_for(client: TestClient, project: str, run: str, seconds: float = 240.0) -> dict[str, Any]:
    """The run once it has ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = client.get(f"/api/projects/{project}/runs/{run}").json()
        if found["state"] not in ("waiting", "running"):
            return found
        time.sleep(0.1)
    raise AssertionError("the run did not end")
