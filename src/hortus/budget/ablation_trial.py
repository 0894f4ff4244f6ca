"""One model of an ablation, trained and scored in a process of its own.

TRIAL/job.json        what to train: decoder, training, data, seed
TRIAL/run/            checkpoints and metrics of the Trainer, so that a trial that was killed goes on
TRIAL/result.json     scores; a trial that has one is not run again
"""

from __future__ import annotations

import math
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import hortus
from hortus.artifact import read_json, write_json
from hortus.budget.ablation_objectives import MaskedDecoding, PrefixModeling
from hortus.config import from_mapping
from hortus.corpus import PackedLoader, ValidationLoader
from hortus.errors import DeviceError
from hortus.models import build_network, save_network
from hortus.objectives.causal import CausalLanguageModeling
from hortus.tokenizer import Tokenizer
from hortus.training import Trainer, TrainingConfig

__all__ = ["POOLED", "Job", "run_trial"]

Job = dict[str, Any]
POOLED = "others"


def run_trial(folder: str) -> dict[str, Any]:
    """Train and score what TRIAL/job.json says, or return what was found before."""
    place = Path(folder)
    if (place / "result.json").is_file():
        return read_json(place / "result.json")
    torch.set_num_threads(1)
    job, began = read_json(place / "job.json"), time.process_time()
    tokenizer = Tokenizer.load(Path(job["tokenizer"]))
    torch.manual_seed(job["seed"])
    network: Any = build_network(job["model"] | {"vocab_size": tokenizer.vocab_size})
    final_loss = _train(network, tokenizer, job, place)
    result: dict[str, Any] = {
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "training_loss": final_loss,
        **_score_text(network, job),
        "tasks": _score_tasks(network, tokenizer, job["tasks"], place),
    }
    result["cpu_seconds"] = time.process_time() - began
    shutil.rmtree(place / "run", ignore_errors=True)
    write_json(place / "result.json", result)
    return result


def _train(network: Any, tokenizer: Tokenizer, job: Job, place: Path) -> float:
    """Train, a masked model causally in the end; returns the last logged loss."""
    objective, steps = job["model"].get("objective", "causal"), job["training"]["steps"]
    parts: list[tuple[Any, int]] = [(CausalLanguageModeling(network), steps)]
    if objective == "prefix":
        parts = [(PrefixModeling(network), steps)]
    elif objective == "masked":
        adapting = max(1, round(steps * job["adapt_share"]))
        mask = MaskedDecoding(network, mask_id=tokenizer.pad_id or 0, share=job["mask_share"])
        parts = [(mask, steps - adapting), (CausalLanguageModeling(network), adapting)]
    loss = math.nan
    for number, (task, part) in enumerate(parts):
        if number:
            network.config = replace(network.config, objective="causal")
        config = from_mapping(TrainingConfig, job["training"] | {"steps": part}, "training")
        data = PackedLoader(
            job["shards"],
            sequence_length=job["sequence_length"],
            seed=job["seed"] * 10 + number,
            alpha=job["alpha"],
            code_share=job["code_share"],
            languages=job["languages"],
            verify=False,
        )
        run = place / "run" / str(number)
        result = Trainer(config, task, data, folder=run, quiet=True).train(resume=True)
        if result.interrupted:
            raise DeviceError(
                f"the trial {place.name} was stopped by {result.stopped}", do="--resume goes on"
            )
        loss = result.metrics.get("loss") or math.nan
    network.eval()
    return float(loss)


@torch.no_grad()
def _score_text(network: Any, job: Job) -> dict[str, Any]:
    """Nats a token over all held-out text, and bits per byte by language and in the mean."""
    nats = tokens = 0.0
    by_language: dict[str, float] = {}
    for name, languages in job["scored"].items():
        loader = ValidationLoader(
            job["held_out"], job["sequence_length"], batch_size=16, languages=languages, verify=False
        )
        sums = [CausalLanguageModeling(network).loss(batch)[:2] for batch in loader]
        lost = sum(float(loss) for loss, _ in sums)
        by_language[name] = lost / math.log(2) / loader.num_bytes
        nats, tokens = nats + lost, tokens + sum(float(count) for _, count in sums)
    mean = sum(by_language.values()) / len(by_language)
    return {"loss": nats / tokens, "bits_per_byte": mean, "by_language": by_language}


def _score_tasks(network: Any, tokenizer: Tokenizer, tasks: list[str], place: Path) -> dict[str, float]:
    """Zero-shot accuracy by task; the model is kept beside its scores."""
    if not tasks:
        return {}
    from hortus.evaluation import evaluate

    save_network(network, place / "model", extra=tokenizer.save)
    evaluation = evaluate(hortus.load(str(place / "model")), tasks)
    return {name: float(result.table("acc").mean()) for name, result in evaluation.tasks.items()}
