"""Retrieval against the peers a user would pick: BM25, thresholds, probing with examples, the served gate.

    python benchmarks/retrieval.py bm25 [--passages FILE --questions FILE]
    python benchmarks/retrieval.py indexing [--passages FILE --count N]
    python benchmarks/retrieval.py thresholds
    python benchmarks/retrieval.py probing
    python benchmarks/retrieval.py served MODEL INDEX GATE QUESTIONS

bm25 is against bm25s and rank-bm25; indexing is the peak of private memory of building N passages,
a quarter of them, and that quarter by bm25s (tokenizer and index in memory), one process each;
thresholds against the published notebook's search in pandas; probing, with 15 examples, against
transformers' batched generate; served is 32 clients for 30 seconds.

Without files, bm25 searches 20,000 invented passages. The sides take turns in one process, best of the
rounds. BM25's peer is bm25s with its compiled backend and its own tokenizer; splitting questions into words
counts for both. Two threads. Probing runs a BLOOM of 33 million parameters with random weights: speed does
not depend on them.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hortus.device import describe_machine
from hortus.retrieval import Bm25Config, Passage, ProbeConfig, Question, build_bm25, load_questions
from hortus.retrieval.adaptation import random_splits, split_decisions
from hortus.retrieval.gates import Evidence
from hortus.retrieval.passages import read_passages
from hortus.retrieval.popqa import TEMPLATES, question_for
from hortus.retrieval.prompts import build_prompt, draw_shots
from hortus.retrieval.words import split_text

RESULTS = Path(__file__).parent / "results" / "retrieval.json"
SHAPE = {"vocab_size": 16_384, "hidden_size": 512, "n_layer": 8, "n_head": 8}
CLIENTS, SECONDS = 32, 30


def main() -> None:
    """Measure one row, store it and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("row", choices=["bm25", "indexing", "thresholds", "probing", "served"])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--passages", type=Path)
    parser.add_argument("--questions", type=Path)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rows: dict[str, Callable[[], dict[str, Any]]] = {
        "bm25": lambda: bm25(options.passages, options.questions, options.rounds),
        "indexing": lambda: indexing(options.passages, options.count),
        "thresholds": lambda: thresholds(options.rounds),
        "probing": lambda: probing(options.count),
        "served": lambda: served(*options.files),
    }
    figures = rows[options.row]()
    stored = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    stored[options.row] = figures | {"machine": describe_machine()}
    RESULTS.write_text(json.dumps(stored, indent=2) + "\n")
    print(json.dumps(figures, indent=2))


def best(rounds: int, *sides: Callable[[], Any]) -> list[float]:
    """The best seconds of each side, taking turns."""
    seconds = [float("inf")] * len(sides)
    for _ in range(rounds):
        for number, side in enumerate(sides):
            began = time.perf_counter()
            side()
            seconds[number] = min(seconds[number], time.perf_counter() - began)
    return seconds


def drawn_passages(source: Path | None, count: int) -> Iterator[Passage]:
    """Passages of twice fifty words drawn from a corpus; every other one has a name of its own."""
    draw = random.Random(0)
    corpus = read_passages([source], words=None) if source else iter(invented_passages(20_000))
    words = [word for one in corpus for word in one.text.split()]
    for number in range(count):
        starts = draw.randrange(len(words) - 50), draw.randrange(len(words) - 50)
        text = " ".join(word for start in starts for word in words[start : start + 50])
        yield Passage(str(number), f"Name{number}" if number % 2 else "", text)


def build_ours(source: Path | None, count: int) -> None:
    """Index drawn passages."""
    with tempfile.TemporaryDirectory() as folder:
        build_bm25(drawn_passages(source, count), folder, Bm25Config(processes=1))


def build_theirs(source: Path | None, count: int) -> None:
    """The same by bm25s."""
    import bm25s

    texts = [f"{one.title} {one.text}".strip() for one in drawn_passages(source, count)]
    peer = bm25s.BM25(k1=0.9, b=0.4, method="lucene")
    peer.index(bm25s.tokenize(texts, stopwords="en", show_progress=False), show_progress=False)


def indexing(source: Path | None, count: int) -> dict[str, Any]:
    """Peak private memory of builds, each in a process of its own."""
    figures: dict[str, Any] = {}
    for name, build, size in (
        ("hortus", build_ours, count),
        ("hortus, a quarter", build_ours, count // 4),
        ("bm25s, a quarter", build_theirs, count // 4),
    ):
        process = multiprocessing.get_context("spawn").Process(target=build, args=(source, size))
        peak = 0
        process.start()
        while process.is_alive():
            status = Path(f"/proc/{process.pid}/status")
            found = re.search(r"RssAnon:\s+(\d+) kB", status.read_text()) if status.is_file() else None
            peak = max(peak, int(found[1]) * 1024 if found else 0)
            process.join(0.1)
        if process.exitcode:
            raise SystemExit(f"{name} ended with {process.exitcode}")
        figures[name] = {"passages": size, "peak private bytes": peak}
    return figures


def bm25(passages: Path | None, questions: Path | None, rounds: int) -> dict[str, Any]:
    """Questions a second for the best passage: ours, bm25s, rank-bm25."""
    import bm25s
    from rank_bm25 import BM25Okapi

    corpus = list(read_passages([passages], words=None)) if passages else invented_passages(20_000)
    asked = (
        [one.question for one in load_questions(questions, id_column="row")][:2000]
        if questions
        else [question_for("capital", f"w{n} w{n + 1}") for n in range(2000)]
    )
    with tempfile.TemporaryDirectory() as folder:
        index = build_bm25(corpus, folder, Bm25Config(processes=1))
        index.compile()
        peer = bm25s.BM25(k1=0.9, b=0.4, method="lucene", backend="numba")
        titled = [f"{one.title} {one.text}".strip() for one in corpus]
        peer.index(bm25s.tokenize(titled, stopwords="en", show_progress=False), show_progress=False)
        peer.activate_numba_scorer()

        def theirs(threads: int) -> Callable[[], Any]:
            def search() -> Any:
                words = bm25s.tokenize(asked, stopwords="en", return_ids=False, show_progress=False)
                return peer.retrieve(words, k=1, show_progress=False, n_threads=threads)

            return search

        index.search_numbers(asked[:50], threads=2)
        index.search_numbers(asked[:50])
        theirs(0)()
        theirs(2)()
        ours_one, peer_one, ours_two, peer_two = best(
            rounds,
            lambda: index.search_numbers(asked),
            theirs(0),
            lambda: index.search_numbers(asked, threads=2),
            theirs(2),
        )
        okapi, few = BM25Okapi([split_text(text) for text in titled], k1=0.9, b=0.4), asked[:20]
        (slow,) = best(1, lambda: [int(np.argmax(okapi.get_scores(split_text(text)))) for text in few])
    rate = {
        "hortus, one thread": len(asked) / ours_one,
        "bm25s, one thread": len(asked) / peer_one,
        "hortus, two threads": len(asked) / ours_two,
        "bm25s, two threads": len(asked) / peer_two,
        "rank-bm25": len(few) / slow,
    }
    ours, theirs_best = min(ours_one, ours_two), min(peer_one, peer_two)
    return {
        "passages": len(corpus),
        "questions": len(asked),
        "questions a second": rate,
        "best of ours to best of bm25s": theirs_best / ours,
        "best of ours to rank-bm25": (slow / len(few)) / (ours / len(asked)),
    }


def invented_passages(count: int) -> list[Passage]:
    """Passages of a hundred words under Zipf's law."""
    draw = np.random.default_rng(0)
    return [
        Passage(str(n), "", " ".join(f"w{word}" for word in np.minimum(draw.zipf(1.2, 100), 50_000)))
        for n in range(count)
    ]


def thresholds(rounds: int) -> dict[str, Any]:
    """A hundred splits of 14,267 questions in 16 relations."""
    import pandas as pd

    draw = np.random.default_rng(0)
    size = 14_267
    rows = Evidence(
        draw.choice(list(TEMPLATES), size),
        draw.lognormal(7, 2, size).round() + 2,
        draw.integers(0, 2, size).astype(float),
        draw.integers(0, 2, size).astype(float),
    )
    frame = pd.DataFrame({"relation": rows.relation, "popularity": rows.popularity})
    frame["parametric"], frame["retrieved"] = rows.parametric, rows.retrieved

    def ours(splits: int = 100) -> None:
        split_decisions(rows, random_splits(size, splits, 0.75, 0))

    def notebook(splits: int) -> None:
        """The published procedure, written from its description: ten bins a relation, eleven cuts, a
        loop."""
        for seed in range(splits):
            mask = np.zeros(size, dtype=bool)
            mask[np.random.default_rng(seed).permutation(size)[: round(0.75 * size)]] = True
            for _, group in frame.groupby("relation"):
                train = group[mask[group.index]]
                logs = np.log(group["popularity"])
                bins = pd.cut(logs, 10, labels=False)
                accuracies = []
                for cut in range(11):
                    low = train[bins[train.index] < cut]
                    high = train[bins[train.index] >= cut]
                    accuracies.append((low["retrieved"].sum() + high["parametric"].sum()) / len(train))
                chosen = int(np.argmax(accuracies))
                test = group[~mask[group.index]]
                inside = bins[test.index] < chosen
                _ = test[inside]["retrieved"].sum() + test[~inside]["parametric"].sum()

    ours_seconds, ten = best(rounds, ours, lambda: notebook(10))
    return {
        "questions": size,
        "splits": 100,
        "seconds, exact search": ours_seconds,
        "seconds, notebook's way (10 splits times 10)": 10 * ten,
        "ratio": 10 * ten / ours_seconds,
    }


def probing(count: int) -> dict[str, Any]:
    """Seconds for questions with 15 examples, fresh and fixed: ours against transformers' batched generate.

    Of `count` questions, one in twenty-one is asked with fresh examples, and all those of two relations with
    fixed ones: as many share their examples as would in the whole set.
    """
    import torch
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

    from hortus.language import LanguageModel
    from hortus.models import build_network
    from hortus.retrieval import probe
    from hortus.tokenizer import TokenizerConfig, train_tokenizer

    torch.set_num_threads(2)
    torch.manual_seed(0)
    draw = random.Random(0)
    names = ["".join(draw.choices("abcdefghij", k=6)).capitalize() for _ in range(4000)]
    relations = list(TEMPLATES)
    asked = [
        Question(str(n), question_for(relations[n % 16], f"{draw.choice(names)} {draw.choice(names)}"), "",
                 relations[n % 16], (draw.choice(names),))
        for n in range(count)
    ]  # fmt: skip
    tokenizer = train_tokenizer([one.question for one in asked] + names, TokenizerConfig(vocab_size=4096))
    ours = LanguageModel(build_network({"model_type": "bloom", **SHAPE}), tokenizer)
    figures: dict[str, Any] = {
        "questions": count,
        "parameters": sum(p.numel() for p in ours.network.parameters()),
    }
    with tempfile.TemporaryDirectory() as folder:
        ours.save(folder)
        theirs = AutoModelForCausalLM.from_pretrained(folder).eval()
        fast = PreTrainedTokenizerFast(
            tokenizer_file=f"{folder}/tokenizer.json",
            padding_side="left",
            pad_token="<pad>",
            eos_token="</s>",
        )
        for drawing in ("fresh", "fixed"):
            config = ProbeConfig(shots=15, drawing=drawing)  # type: ignore[arg-type]
            two = [one for one in asked if one.relation in relations[:2]]
            part = asked[::21] if drawing == "fresh" else two
            prompts = [build_prompt(one, draw_shots(one, asked, config)) for one in part]

            def peer(prompts: list[str] = prompts) -> None:
                order = sorted(prompts, key=len)
                for start in range(0, len(order), 32):
                    batch = fast(order[start : start + 32], return_tensors="pt", padding=True)
                    batch.pop("token_type_ids", None)
                    with torch.inference_mode():
                        theirs.generate(**batch, max_new_tokens=15, do_sample=False)

            def mine(config: ProbeConfig = config, part: list[Question] = part) -> None:
                probe(ours, part, config, pool=asked)

            seconds, peer_seconds = best(1, mine, peer)
            figures[drawing] = {
                "questions": len(part),
                "hortus": seconds,
                "transformers": peer_seconds,
                "ratio": peer_seconds / seconds,
                "tokens a prompt": statistics.mean(map(len, tokenizer.encode_batch(prompts))),
            }
    return figures


def served(model: Path, index: Path, gate: Path, questions: Path) -> dict[str, Any]:
    """32 clients that ask one question after the other for 30 seconds: answers, errors, latency, share
    looked up."""
    asked = [one.question for one in load_questions(questions)]
    command = [
        sys.executable,
        "-m",
        "hortus",
        "serve",
        str(model),
        "--retrieval",
        str(index),
        "--gate",
        str(gate),
    ]
    process = subprocess.Popen([*command, "--port", "0"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    address = process.stdout.readline().split()[-1]
    seconds: list[float] = []
    retrieved: list[bool] = []
    errors: list[str] = []
    end = time.perf_counter() + SECONDS

    def client(number: int) -> None:
        draw = random.Random(number)
        while time.perf_counter() < end:
            began = time.perf_counter()
            body = {"messages": [{"role": "user", "content": draw.choice(asked)}], "max_tokens": 15}
            request = urllib.request.Request(
                f"{address}/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
            )
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    found = json.load(answer)["hortus"]
                seconds.append(time.perf_counter() - began)
                retrieved.append(bool(found["retrieved"]) and "reason" in found)
            except Exception as error:  # whatever goes wrong is what is counted
                errors.append(repr(error))

    try:
        clients = [threading.Thread(target=client, args=(n,)) for n in range(CLIENTS)]
        for one in clients:
            one.start()
        for one in clients:
            one.join()
    finally:
        process.terminate()
        process.wait(60)
    return {
        "clients": CLIENTS,
        "seconds": SECONDS,
        "answers": len(seconds),
        "errors": len(errors),
        "first errors": errors[:3],
        "answers a second": len(seconds) / SECONDS,
        "median milliseconds": 1000 * statistics.median(seconds),
        "95th percentile milliseconds": 1000 * float(np.percentile(seconds, 95)),
        "share retrieved": float(np.mean(retrieved)),
    }


if __name__ == "__main__":
    main()
