"""Accuracies against lm-evaluation-harness: its formulas over whole passes always, itself where it is there.

The harness's pins clash with ours, so it runs in a venv of its own (benchmarks/peers/lm_eval.txt); name its
Python in HORTUS_LM_EVAL_PYTHON.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hortus.evaluation import evaluate
from hortus.language import LanguageModel
from hortus.models.bloom import Bloom, BloomConfig
from hortus.tokenizer import TokenizerConfig, train_tokenizer

PEER = Path(__file__).parents[2] / "benchmarks" / "evaluation_peer.py"
LIMIT = 40


def model_on(texts: list[str]) -> LanguageModel:
    torch.manual_seed(0)
    tokenizer = train_tokenizer(texts, TokenizerConfig(vocab_size=600))
    sizes = {"hidden_size": 32, "num_layers": 2, "num_heads": 2}
    # Wide initial weights, so that random answers are far apart.
    return LanguageModel(
        Bloom(BloomConfig(vocab_size=tokenizer.vocab_size, initializer_range=0.3, **sizes)), tokenizer
    )


def five_tasks(real_data: Path, folder: Path) -> dict[str, Path]:
    """Rows of query, choices and gold: four multiple-choice sets and minimal pairs."""
    names = ("arc_easy", "openbook_qa", "piqa", "commonsense_qa")
    rows = {
        name: (real_data / "nlp_tasks/mc_eval" / f"{name}.jsonl").read_text().splitlines() for name in names
    }
    found: dict[str, list[dict[str, Any]]] = {
        name: [{key: json.loads(line)[key] for key in ("query", "choices", "gold")} for line in lines[:LIMIT]]
        for name, lines in rows.items()
    }
    pairs = map(json.loads, (real_data / "blimp/adjunct_island.jsonl").read_text().splitlines()[:LIMIT])
    found["blimp"] = [
        {"query": "", "choices": [pair["sentence_good"], pair["sentence_bad"]], "gold": 0} for pair in pairs
    ]
    files = {name: folder / f"{name}.jsonl" for name in found}
    for name, path in files.items():
        path.write_text("\n".join(map(json.dumps, found[name])))
    return files


def scores_of(model: LanguageModel, files: dict[str, Path]) -> dict[str, dict[str, float]]:
    result = evaluate(model, list(files.values()))
    return {
        name: {metric: task.variants[0].scores[metric].value for metric in ("acc", "acc_norm")}
        for name, task in result.tasks.items()
    }


def harness_formula(network: Any, encode: Any, end: int, row: dict[str, Any]) -> np.ndarray:
    """What the harness computes for one row, one choice at a time."""
    values = []
    for choice in row["choices"]:
        # Spaces at the end of the context are scored with the choice.
        context, whole = encode(row["query"].rstrip()) or [end], encode(f"{row['query']} {choice}")
        # The context's own tokens stay, where its last one would melt into the choice.
        ids = [*context, *whole[len(context) :]] if row["query"] else [end, *whole]
        with torch.no_grad():
            scores = network(torch.tensor([ids]))[0].double().log_softmax(-1)
        targets = torch.tensor(ids[len(context) :])
        values.append(scores[len(context) - 1 : -1].gather(1, targets[:, None]).sum().item())
    return np.array(values)


def test_accuracies_are_the_harness_formulas_over_whole_passes(real_data: Path, tmp_path: Path) -> None:
    files = five_tasks(real_data, tmp_path)
    rows = {
        name: [json.loads(line) for line in path.read_text().splitlines()[:25]]
        for name, path in files.items()
    }
    model = model_on([row["query"] for mine in rows.values() for row in mine])
    result = evaluate(model, list(files.values()), limit=25)
    for name, mine in rows.items():
        part = result.tasks[name].variants[0]
        right, right_norm = [], []
        for row, ours in zip(mine, part.answers, strict=True):
            values = harness_formula(model.network, model.tokenizer.encode, model.separator_id, row)
            np.testing.assert_allclose(ours, values, rtol=1e-4, atol=1e-3)
            right.append(np.argmax(values) == row["gold"])
            right_norm.append(np.argmax(values / [len(choice) for choice in row["choices"]]) == row["gold"])
        assert part.scores["acc"].value == pytest.approx(np.mean(right), abs=1e-6)
        assert part.scores["acc_norm"].value == pytest.approx(np.mean(right_norm), abs=1e-6)


@pytest.mark.slow
def test_five_tasks_score_as_in_the_harness(real_data: Path, tmp_path: Path) -> None:
    python = os.environ.get("HORTUS_LM_EVAL_PYTHON")
    if not python:
        pytest.skip("HORTUS_LM_EVAL_PYTHON names no Python with lm-evaluation-harness")
    files = five_tasks(real_data, tmp_path)
    texts = [json.loads(line)["query"] for path in files.values() for line in path.read_text().splitlines()]
    folder = os.environ.get("HORTUS_PARITY_MODEL")
    model = LanguageModel.load(folder) if folder else model_on(texts)
    model.save(tmp_path / "model")
    request = {"model": str(tmp_path / "model"), "tasks": {n: str(p) for n, p in files.items()}}
    # By default the harness starts a text without context with <s>, which BLOOM was never trained with.
    request |= {"backends": ["hf", "hortus"], "threads": 1, "prefix_token_id": model.separator_id}
    theirs = harness(python, tmp_path, request)
    ours = scores_of(model, files)
    print(json.dumps({"ours": ours, "harness": theirs}))
    for backend, results in theirs.items():
        for name, values in ours.items():
            for metric, value in values.items():
                assert value == pytest.approx(results[name][metric], abs=1e-6), (backend, name, metric)


def harness(python: str, folder: Path, request: dict[str, Any]) -> dict[str, Any]:
    (folder / "request.json").write_text(json.dumps(request))
    paths = {"PYTHONPATH": str(PEER.parents[1] / "src"), "HF_DATASETS_CACHE": str(folder / "datasets")}
    finished = subprocess.run(
        [python, str(PEER), str(folder / "request.json")],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=os.environ | paths,
    )
    results: dict[str, Any] = json.loads(finished.stdout.strip().splitlines()[-1])
    return results
