"""The studio's speed: a grid of prompts on a working set, from the request to the last tile, over HTTP.

    python benchmarks/studio_server.py [--model FOLDER] [--data FILE --names text,label] [--search]

24 prompts (three variables: 2 x 3 x 4 wordings) on 20 rows with 4 choices are asked of `hortus studio`, a
process of its own: seconds to the first tile and to the end, then the same again from the cache. Without
--model it is a BLOOM of the quickstart's shape with random weights, without --data generated texts of AG
News's length. The peer ranks the same questions as lm-evaluation-harness does, each choice behind its prompt
as one row, 32 padded rows a batch, through transformers' own class (it must be installed), in this process.

The share of the peak counts the multiplications that were carried out, over those of a large square product
in the same seconds; beside them stands what the same questions cost without sharing prompts. --search times
a search and a page over 100,000 rows. Results go to benchmarks/results/studio_server.json.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import torch

import hortus
from hortus.device import describe_machine, matmul_peak_flops
from hortus.language import LanguageModel
from hortus.language.scoring import _stems
from hortus.models.bloom import Bloom, BloomConfig
from hortus.tokenizer import TokenizerConfig, train_tokenizer

RESULTS = Path(__file__).parent / "results" / "studio_server.json"
TOKEN = "a-token-for-measurements"
CLASSES = ("World", "Sports", "Business", "Sci/Tech")
WORDS = [
    "market",
    "team",
    "minister",
    "software",
    "said",
    "on",
    "Tuesday",
    "the",
    "a",
    "in",
    "shares",
    "of",
    "game",
    "talks",
    "new",
]
VARIATIONS = {
    "template": "[[intro]]{{ text }}\n[[ask]] [[end]]",
    "variables": [
        {"name": "intro", "wordings": ["", "News: "]},
        {"name": "ask", "wordings": ["What is this about?", "Name the topic.", "Which section is it from?"]},
        {"name": "end", "wordings": ["Topic:", "Answer:", "It is", "Label:"]},
    ],
}


def news(count: int) -> list[dict[str, str]]:
    draw = random.Random(0)
    texts = (" ".join(draw.choices(WORDS, k=36)) for _ in range(count))
    return [{"text": text, "label": CLASSES[n % 4]} for n, text in enumerate(texts)]


def random_model(folder: Path) -> Path:
    """A BLOOM of the quickstart's shape."""
    texts = [row["text"] for row in news(2000)]
    tokenizer = train_tokenizer(texts, TokenizerConfig(vocab_size=4096))
    shape = {"vocab_size": 4096, "hidden_size": 192, "num_layers": 3, "num_heads": 4}
    LanguageModel(Bloom(BloomConfig(**shape)), tokenizer).save(folder)
    return folder


class Server:
    """`hortus studio` in a process of its own."""

    def __init__(self, model: Path, data: Path, names: str | None, folder: Path):
        command = ["--model", model, "--data", data, "--folder", folder, "--token", TOKEN]
        command += ["--names", names] if names else []
        code = "from hortus.cli import main; main()"
        arguments = [sys.executable, "-c", code, "studio", *map(str, command)]
        self.process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.home = self.process.stdout.readline().partition("/?")[0]

    def open(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {TOKEN}"}
        return urllib.request.urlopen(urllib.request.Request(self.home + path, data, headers))

    def ask(self, path: str, body: Any = None) -> Any:
        with self.open(path, body) as answer:
            return json.loads(answer.read())


def run_once(server: Server, path: str, body: Any) -> dict[str, float]:
    """Seconds from the request to the first tile and to the end, by the event stream."""
    stream, marks, ended = server.open(f"{path}/events"), {}, threading.Event()

    def listen() -> None:
        event = ""
        for line in stream:
            text = line.decode().rstrip()
            if text.startswith("event: "):
                event = text[7:]
            elif event == "tiles" and text.startswith("data: "):
                marks.setdefault("first_tile", time.perf_counter())
            elif event == "run" and text.startswith("data: ") and json.loads(text[6:])["state"] == "done":
                marks["all"] = time.perf_counter()
                ended.set()
                return

    threading.Thread(target=listen, daemon=True).start()
    time.sleep(0.3)  # the stream stands
    began = time.perf_counter()
    run = server.ask(f"{path}/runs", body)["id"]
    assert ended.wait(120)
    found = server.ask(f"{path}/runs/{run}")
    assert found["done"] == found["total"]
    return {name: mark - began for name, mark in marks.items()} | {"cached_tiles": found["cached"]}


def operations(model: LanguageModel, questions: list[tuple[str, list[str]]], shared: bool) -> float:
    """Multiplications and additions of the network for all questions, in row-by-row order of the studio."""
    config, pairs = model.network.config, [model.tokens_to_rank(*one) for one in questions]
    contexts, choices = [one for one, _ in pairs], [mine for _, mine in pairs]
    if shared:
        order = sorted(range(len(pairs)), key=lambda index: contexts[index])
        sizes = [stem.size() for stem in _stems(order, contexts, choices)]
    else:
        sizes = [len(one) + len(choice) for one, mine in pairs for choice in mine]
    width, layers = config.hidden_size, config.num_layers
    linear = sum(sizes) * layers * 24 * width**2
    attention = sum(size**2 for size in sizes) * layers * 4 * width
    counted = sum(len(choice) for mine in choices for choice in mine)
    return linear + attention + counted * 2 * width * config.vocab_size


def peer_seconds(folder: Path, model: LanguageModel, questions: list[tuple[str, list[str]]]) -> float:
    """Every choice behind its prompt as one row, padded, through transformers."""
    from transformers import AutoModelForCausalLM

    network = AutoModelForCausalLM.from_pretrained(folder).eval()
    began = time.perf_counter()
    rows = []
    for text, choices in questions:
        context, mine = model.tokens_to_rank(text, choices)
        rows += [(context + choice, len(choice)) for choice in mine]
    rows.sort(key=lambda row: -len(row[0]))
    with torch.inference_mode():
        for start in range(0, len(rows), 32):
            part = rows[start : start + 32]
            longest = len(part[0][0])
            ids = torch.tensor([row + [0] * (longest - len(row)) for row, _ in part])
            mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row, _ in part])
            scores = network(input_ids=ids, attention_mask=mask).logits.log_softmax(-1)
            for number, (row, size) in enumerate(part):
                places = torch.arange(len(row) - size - 1, len(row) - 1)
                scores[number, places, torch.tensor(row[-size:])].sum().item()
    return time.perf_counter() - began


def grid(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    model_folder = arguments.model or random_model(folder / "model")
    data = arguments.data
    if data is None:
        data = folder / "news.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in news(2000)))
    server = Server(model_folder, data, arguments.names, folder / "studio")
    try:
        session = server.ask("/api/session")
        project, model = session["initial_project"], session["models"][0]["id"]
        path = f"/api/projects/{project}"
        prompts = server.ask(f"{path}/prompts", {"variations": VARIATIONS})["prompts"]
        warm = {"slot": "warm", "model": model, "prompts": [{"template": "{{ text }} warm"}], "rows": [0, 1]}
        run_once(server, path, warm)
        body = {"slot": "grid", "model": model, "prompts": prompts}
        fresh, cached = run_once(server, path, body), run_once(server, path, body)
        rows = server.ask(path)["working"]["rows"]
        texts = server.ask(f"{path}/render", {"prompts": prompts, "rows": rows})["rendered"]
    finally:
        server.process.terminate()
        server.process.wait()
    questions = [(one["input"], one["choices"]) for mine in zip(*texts, strict=True) for one in mine]
    opened = hortus.load(model_folder)
    peak = matmul_peak_flops(torch.device("cpu"), torch.float32)
    done, naive = operations(opened, questions, True), operations(opened, questions, False)
    result = {
        "prompts": len(prompts),
        "rows": len(rows),
        "choices": len(questions[0][1]),
        "first_tile_seconds": round(fresh["first_tile"], 4),
        "all_seconds": round(fresh["all"], 3),
        "cached_seconds": round(cached["all"], 4),
        "cached_tiles": cached["cached_tiles"],
        "gflop": round(done / 1e9, 1),
        "gflop_without_sharing": round(naive / 1e9, 1),
        "peak_gflops": round(peak / 1e9, 1),
        "share_of_peak": round(done / fresh["all"] / peak, 3),
    }
    if not arguments.no_peer:
        seconds = peer_seconds(model_folder, opened, questions)
        result |= {"peer_seconds": round(seconds, 2), "ratio": round(seconds / fresh["all"], 2)}
    return result


def search() -> dict[str, Any]:
    """A search, a sort and a page over 100,000 rows."""
    from hortus.prompts import load_dataset
    from hortus.studio.data import Table

    rows = news(100_000)
    began = time.perf_counter()
    table = Table(load_dataset(rows), "news")
    marks = {"rows": len(rows), "open_seconds": round(time.perf_counter() - began, 2)}
    for name, query in {
        "search": {"search": "minister software"},
        "filter": {"filters": ["label=Sports"]},
        "sort": {"sort": "text"},
    }.items():
        began = time.perf_counter()
        found = table.find(**query)
        [table.row(int(row)) for row in found[:100]]
        marks[f"{name}_seconds"] = round(time.perf_counter() - began, 4)
    return marks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--names")
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--search", action="store_true")
    arguments = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        if arguments.search:
            results["search"] = search()
        else:
            results["grid"] = grid(arguments, Path(folder))
    results["machine"] = describe_machine()
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
