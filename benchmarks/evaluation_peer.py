"""lm-evaluation-harness on rows of query, choices and gold, by the harness's own Python.

    PEER_PYTHON benchmarks/evaluation_peer.py REQUEST.json

REQUEST: {"model": FOLDER, "tasks": {NAME: FILE.jsonl}, "batch_sizes": [..], "threads": 2, "probe_rows": 60}.
With several batch sizes the fastest on the first rows is taken. Prints one JSON object: accuracies with all
digits, seconds of scoring (rows built and model loaded before), the batch size, seconds of each on the first
rows. With "backends": ["hf", "hortus"] nothing is timed: the accuracies of the harness's Hugging Face model
and of `HortusModel` driven by it. "prefix_token_id" is what the former puts before a text without context.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM


def task(name: str, path: str) -> dict[str, Any]:
    return {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": path},
        "test_split": "train",
        "output_type": "multiple_choice",
        "doc_to_text": "{{query}}",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "{{gold}}",
        "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
        "metadata": {"version": 1},
    }


class Timed(HFLM):
    """Counts the seconds spent on requests."""

    seconds = 0.0

    def loglikelihood(self, requests: Any, disable_tqdm: bool = False) -> Any:
        began = time.perf_counter()
        answers = super().loglikelihood(requests, disable_tqdm=True)
        self.seconds += time.perf_counter() - began
        return answers


def evaluated(model: Any, tasks: dict[str, str], limit: int | None) -> dict[str, Any]:
    found = simple_evaluate(
        model=model,
        tasks=[task(name, path) for name, path in tasks.items()],
        limit=limit,
        bootstrap_iters=0,
    )
    return {
        name: {"acc": values["acc,none"], "acc_norm": values["acc_norm,none"]}
        for name, values in found["results"].items()
    }


def opened(backend: str, request: dict[str, Any]) -> Any:
    if backend == "hf":
        prefix = request.get("prefix_token_id")
        places = {"pretrained": request["model"], "dtype": "float32", "device": "cpu"}
        return Timed(**places, batch_size=1, prefix_token_id=prefix)
    from hortus.evaluation.lm_eval_model import HortusModel

    return HortusModel(request["model"], device="cpu")


def run(model: Timed, tasks: dict[str, str], limit: int | None) -> tuple[dict[str, Any], float]:
    model.seconds = 0.0
    return evaluated(model, tasks, limit), model.seconds


def main() -> None:
    request = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(request["threads"])
    if "backends" in request:
        models = {name: opened(name, request) for name in request["backends"]}
        print(json.dumps({name: evaluated(one, request["tasks"], None) for name, one in models.items()}))
        return
    model = opened("hf", request)
    probes = {}
    for size in request["batch_sizes"]:
        if len(request["batch_sizes"]) > 1:
            model.batch_size_per_gpu = size
            probes[size] = run(model, request["tasks"], request["probe_rows"])[1]
    best = min(probes, key=lambda size: probes[size]) if probes else request["batch_sizes"][0]
    model.batch_size_per_gpu = best
    results, seconds = run(model, request["tasks"], None)
    print(json.dumps({"results": results, "seconds": seconds, "batch_size": best, "probes": probes}))


if __name__ == "__main__":
    main()
