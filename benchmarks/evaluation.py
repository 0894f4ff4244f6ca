"""Evaluation against lm-evaluation-harness's Hugging Face backend: the same model, rows and threads.

    python benchmarks/evaluation.py hellaswag --peer PEER/bin/python [--data FOLDER]
    python benchmarks/evaluation.py rte       --peer PEER/bin/python --data FOLDER --templates FOLDER

PEER is a venv of benchmarks/peers/lm_eval.txt; the harness is run at the fastest of its batch sizes, found on
its first rows. The model is a BLOOM of 33 million parameters in fp32 with random weights: arithmetic and
accuracies are compared, not quality. A peer that counts otherwise fails the run: accuracies must agree to
four digits.

    hellaswag   rows of four choices of many tokens, made of news: the beginning, and four endings
    rte         RTE rows under five published templates with one-token choices

`token_limit` is the number of tokens that the harness runs divided by the fewest that share a row's input
among its choices, `arithmetic_limit` the same of multiplications: the harness also projects every token onto
the vocabulary. Both also time the second identical evaluation, from the response cache. Without --data the
rows of hellaswag are made of drawn words. --rows says how many. Results are added to
benchmarks/results/evaluation.json.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from hortus.evaluation import evaluate
from hortus.language import LanguageModel
from hortus.models.bloom import Bloom, BloomConfig
from hortus.prompts import load_dataset, load_templates, render_all
from hortus.tokenizer import TokenizerConfig, train_tokenizer

RESULTS = Path(__file__).parent / "results" / "evaluation.json"
PEER = Path(__file__).parent / "evaluation_peer.py"
RTE_TEMPLATES = ("can we infer", "does this imply", "must be true", "should assume", "guaranteed true")
BATCH_SIZES = (1, 8, 32)
WORDS = ["the", "market", "team", "of", "minister", "software", "said", "on", "Tuesday", "in", "a", "shares"]
Rows = list[dict[str, Any]]


def texts_of(data: Path | None, count: int) -> list[str]:
    if data is not None:
        rows = load_dataset(data / "agnews" / "test.tsv", names=("text", "label"), max_rows=count)
        return [row["text"] for row in rows]
    draw = random.Random(0)
    return [" ".join(draw.choices(WORDS, k=32)) for _ in range(count)]


def hellaswag_like(data: Path | None, count: int) -> dict[str, Rows]:
    """Two texts cut after two thirds: the rest, or the ends of three others."""
    draw, texts = random.Random(0), texts_of(data, 2 * count)
    pairs = [f"{first} {second}".split() for first, second in zip(texts[::2], texts[1::2], strict=True)]
    cut = [(" ".join(w[: 2 * len(w) // 3]), " ".join(w[2 * len(w) // 3 :])) for w in pairs]
    rows = []
    for number, (context, ending) in enumerate(cut):
        others = [cut[place][1] for place in draw.sample([n for n in range(count) if n != number], 3)]
        gold = draw.randrange(4)
        rows.append({"query": context, "choices": [*others[:gold], ending, *others[gold:]], "gold": gold})
    return {"hellaswag": rows}


def rte(data: Path, folder: Path, count: int) -> dict[str, Rows]:
    columns = {"premise": "sentence1", "hypothesis": "sentence2"}
    classes = {"label": ("entailment", "not_entailment")}
    dataset = load_dataset(data / "rte" / "train.tsv", columns=columns, classes=classes, max_rows=count)
    tasks = {}
    for name in RTE_TEMPLATES:
        template = load_templates(folder / "super_glue" / "rte")[name]
        rendered = render_all((template, index, row) for index, row in enumerate(dataset))
        tasks[f"rte_{name.replace(' ', '_')}"] = [
            {"query": one.input, "choices": one.choices, "gold": one.choices.index(one.targets[0])}
            for one in rendered
            if one.choices is not None
        ]
    return tasks


def model_of(texts: list[str]) -> LanguageModel:
    """33 million parameters: 6 layers of width 512, 27,136 rows of embedding."""
    torch.manual_seed(0)
    tokenizer = train_tokenizer(texts, TokenizerConfig(vocab_size=8192))
    network = Bloom(BloomConfig(vocab_size=27_136, hidden_size=512, num_layers=6, num_heads=8))
    return LanguageModel(network, tokenizer)


def ours(model: LanguageModel, files: dict[str, Path], cache: Path) -> tuple[Any, float]:
    evaluate(model, list(files.values()), limit=4)  # what is built at first use is not timed
    began = time.perf_counter()
    result = evaluate(model, list(files.values()), cache=cache)
    seconds = time.perf_counter() - began
    scores = {
        name: {metric: one.variants[0].scores[metric].value for metric in ("acc", "acc_norm")}
        for name, one in result.tasks.items()
    }
    return scores, seconds


def limits(model: LanguageModel, tasks: dict[str, Rows]) -> tuple[float, float]:
    """What sharing a row's input among its choices allows: ratios of tokens run, and of multiplications.

    The harness runs each distinct context + choice without its last token, head included; the least is the
    context and each choice once, and the head where a choice's token is predicted.
    """
    encode, network = model.tokenizer.encode, model.network
    layers = sum(weight.numel() for weight in network.blocks.parameters())
    head = network.head_weight.numel()
    theirs = least = scored = 0
    for row in (row for rows in tasks.values() for row in rows):
        whole = [encode(f"{row['query']} {choice}") for choice in row["choices"]]
        runs, context = {tuple(one[:-1]) for one in whole}, len(encode(row["query"]))
        theirs += sum(map(len, runs))
        least += context + sum(max(len(one) - context, 0) for one in runs)
        scored += sum(len(one) - context for one in whole)
    return theirs / least, theirs * (layers + head) / (least * layers + scored * head)


def compare(arguments: argparse.Namespace, tasks: dict[str, Rows], folder: Path) -> dict[str, Any]:
    model = model_of([row["query"] for rows in tasks.values() for row in rows])
    model.save(folder / "model")
    files = write(tasks, folder)
    scores, seconds = ours(model, files, folder / "answers.sqlite")
    again, cached_seconds = ours(model, files, folder / "answers.sqlite")
    assert again == scores
    print(f"hortus: {seconds:.1f} s, then {cached_seconds:.2f} s from the cache", file=sys.stderr)
    request = {
        "model": str(folder / "model"),
        "tasks": {name: str(path) for name, path in files.items()},
        "batch_sizes": arguments.batch_sizes,
        "threads": arguments.threads,
        "probe_rows": arguments.probe_rows,
    }
    (folder / "request.json").write_text(json.dumps(request))
    command = [str(arguments.peer), str(PEER), str(folder / "request.json")]
    finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    peer = json.loads(finished.stdout.strip().splitlines()[-1])
    for name, values in scores.items():
        for metric, value in values.items():
            theirs = peer["results"][name][metric]
            assert abs(value - theirs) < 5e-5, f"{name} {metric}: {value} against the peer's {theirs}"
    examples = sum(map(len, tasks.values()))
    ratio = peer["seconds"] / seconds
    token_limit, arithmetic_limit = limits(model, tasks)
    return {
        "examples": examples,
        "hortus_examples_per_second": round(examples / seconds, 2),
        "peer_examples_per_second": round(examples / peer["seconds"], 2),
        "ratio": round(ratio, 2),
        "token_limit": round(token_limit, 3),
        "arithmetic_limit": round(arithmetic_limit, 3),
        "share_of_arithmetic_limit": round(ratio / arithmetic_limit, 2),
        "peer_batch_size": peer["batch_size"],
        "peer_probe_seconds": {size: round(value, 2) for size, value in peer["probes"].items()},
        "second_from_cache_seconds": round(cached_seconds, 3),
        "second_from_cache_share": round(cached_seconds / seconds, 4),
        "accuracies_equal": True,
        "scores": scores,
    }


def write(tasks: dict[str, Rows], folder: Path) -> dict[str, Path]:
    files = {name: folder / f"{name}.jsonl" for name in tasks}
    for name, rows in tasks.items():
        files[name].write_text("\n".join(map(json.dumps, rows)))
    return files


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("workload", choices=("hellaswag", "rte"))
    parser.add_argument("--peer", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--templates", type=Path)
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--probe-rows", type=int, default=12)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=list(BATCH_SIZES))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.workload == "rte":
        tasks = rte(arguments.data, arguments.templates, arguments.rows)
    else:
        tasks = hellaswag_like(arguments.data, arguments.rows)
    with tempfile.TemporaryDirectory() as folder:
        report = compare(arguments, tasks, Path(folder))
    report |= {"threads": arguments.threads, "machine": platform.machine(), "torch": torch.__version__}
    known = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    known[arguments.workload] = report
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(known, indent=2) + "\n")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
