"""hortus serve as a process: it listens, answers, says what packing costs, and stops when told."""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import torch

from hortus.cli import main
from hortus.language import LanguageModel
from hortus.models.bloom import Bloom, BloomConfig
from hortus.tokenizer import TokenizerConfig, train_tokenizer

pytest.importorskip("uvicorn")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    tokenizer = train_tokenizer(["The quick brown fox\n"] * 9, TokenizerConfig(vocab_size=290))
    shape = {"vocab_size": 290, "hidden_size": 32, "num_layers": 1, "num_heads": 2}
    place = tmp_path_factory.mktemp("model") / "tiny"
    LanguageModel(Bloom(BloomConfig(initializer_range=0.5, **shape)), tokenizer).save(place)
    return place


def test_a_process_serves_and_stops(folder: Path) -> None:
    command = [sys.executable, "-m", "hortus", "serve", str(folder), "--port", "0", "--weights", "int8"]
    environment = os.environ | {"HORTUS_TOKEN": "a long token"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    try:
        line = process.stdout.readline()
        assert line.startswith("tiny at http://127.0.0.1:"), process.stderr.read()
        address = line.split()[-1]
        body = json.dumps({"model": "tiny", "prompt": "The", "max_tokens": 4}).encode()
        headers = {"Content-Type": "application/json"}
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(urllib.request.Request(f"{address}/completions", body, headers))
        headers |= {"Authorization": "Bearer a long token"}
        request = urllib.request.Request(f"{address}/completions", body, headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert json.load(answer)["choices"][0]["finish_reason"] in ("length", "stop")
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0
    assert "nats a token" in errors and "Traceback" not in errors


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--host", "0.0.0.0"], "without a token"),
        (["--weights", "int8", "--measure", "/nowhere.txt"], "cannot read"),
        (["--max-running", "100"], "1 to 64"),
    ],
)
def test_refusals(folder: Path, capsys, monkeypatch, arguments, words) -> None:
    monkeypatch.delenv("HORTUS_TOKEN", raising=False)
    with pytest.raises(SystemExit) as end:
        main(["serve", str(folder), *arguments])
    assert end.value.code == 2 and words in capsys.readouterr().err
