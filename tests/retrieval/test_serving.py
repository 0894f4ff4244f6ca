"""The served gate: answers over HTTP say whether they were looked up, in what, and why."""

from __future__ import annotations

import asyncio
import json
import math
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from hortus.cli.serve import _answerer
from hortus.errors import ConfigError
from hortus.language import LanguageModel
from hortus.models import build_network
from hortus.retrieval import Bm25Config, Gate, Passage, build_bm25
from hortus.tokenizer import TokenizerConfig, train_tokenizer

pytest.importorskip("fastapi")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from hortus.serving.app import Service
    from hortus.serving.config import ServingConfig
    from hortus.serving.engine import Engine
    from hortus.serving.server import Server

    folder = tmp_path_factory.mktemp("served")
    torch.manual_seed(0)
    tokenizer = train_tokenizer(["The color of snow is white."] * 5, TokenizerConfig(vocab_size=270))
    shape = {"hidden_size": 16, "n_layer": 1, "n_head": 2, "vocab_size": tokenizer.vocab_size}
    model = LanguageModel(build_network({"model_type": "bloom", **shape}), tokenizer)
    passages = [Passage("1", "snow", "The color of snow is white."), Passage("2", "coal", "Coal is black.")]
    index = build_bm25(passages, folder / "index", Bm25Config(processes=1))
    gate = Gate("popularity", {"color": 10.0, "": math.inf}, {"snow": 5.0, "coal": 50.0}, index.corpus)
    gate.save(folder / "gate.json")
    answerer = _answerer(model, folder / "index", folder / "gate.json")
    with Engine(model, ServingConfig(port=0)) as engine:
        server = Server(Service(engine, "tiny", answerer=answerer))
        thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
        yield server.address
        server.should_exit = True
        thread.join(30)


def ask(address: str, question: str, **more: Any) -> str:
    body = {"messages": [{"role": "user", "content": question}], "max_tokens": 4, **more}
    request = urllib.request.Request(
        f"{address}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read().decode()


def test_answers_say_why(address: str) -> None:
    rare = json.loads(ask(address, "What color is snow?"))
    assert rare["hortus"]["retrieved"] and rare["hortus"]["passages"][0]["id"] == "1"
    reason = {
        "rule": "popularity",
        "relation": "color",
        "subject": "snow",
        "threshold": 10.0,
        "popularity": 5.0,
    }
    assert rare["hortus"]["reason"] == reason
    known = json.loads(ask(address, "What color is coal?"))
    assert not known["hortus"]["retrieved"] and known["hortus"]["passages"] == []
    assert rare["usage"]["prompt_tokens"] > known["usage"]["prompt_tokens"]
    assert "\n" not in rare["choices"][0]["message"]["content"]


def test_streamed_answers_say_why_first(address: str) -> None:
    first = ask(address, "What color is snow?", stream=True).split("\n\n")[0]
    assert json.loads(first.removeprefix("data: "))["hortus"]["retrieved"]


def test_a_gate_needs_an_index(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--gate without --retrieval"):
        _answerer(None, None, tmp_path / "gate.json")  # type: ignore[arg-type]
