"""A training run of a tiny language model, alone or as one of the processes of a torchrun."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch

from hortus.models import build_network
from hortus.objectives.causal import CausalLanguageModeling
from hortus.training import Trainer, TrainingConfig
from hortus.training.progress import Progress

from .tasks import sentences

BLOOM = {"model_type": "bloom", "vocab_size": 11, "hidden_size": 16, "n_layer": 2, "n_head": 4}
DECODER = {
    "model_type": "hortus_decoder",
    "vocab_size": 11,
    "hidden_size": 16,
    "num_layers": 2,
    "num_heads": 4,
    "num_kv_heads": 2,
    "position": "rotary",
    "activation": "swiglu",
    "norm_placement": "sandwich",
}
# Windows of 8 rows; 20 rows an epoch leave a ragged window of 4; clipping acts at every step.
CONFIG: dict[str, Any] = {
    "steps": 20, "batch_size": 8, "learning_rate": 0.01, "clip_norm": 0.5, "warmup_samples": 16,
    "log_every": 1, "checkpoint_every": 10, "dtype": "float32", "device": "cpu", "compile": "off",
    "evaluate_every": 10, "restore_best": False,
}  # fmt: skip


def train(
    folder: str,
    network: dict[str, Any] = BLOOM,
    resume: bool = False,
    kill_at: int = 0,
    poison_at: int = 0,
    **settings: Any,
) -> Any:
    """Train in `folder`.

    Args:
        kill_at: rank 1 kills itself at this step of the first attempt.
        poison_at: rank 1's loss is not a number at this step.
    """
    torch.set_num_threads(1)
    torch.manual_seed(3)
    task: Any = CausalLanguageModeling(build_network(network))
    loss_of = task.loss

    def loss(batch: Any) -> Any:
        total, count, metrics = loss_of(batch)
        bad = poison_at and trainer.step + 1 == poison_at and trainer.ranks.rank == 1
        return (total * float("nan") if bad else total), count, metrics

    def say(self: Progress, line: str) -> None:
        with (Path(folder) / f"said-{os.environ.get('RANK', '0')}").open("a") as file:
            file.write(line + "\n")

    task.loss, Progress.say = loss, say  # type: ignore[method-assign]

    def on_event(event: str, trainer: Trainer, record: dict[str, Any]) -> None:
        first_try = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"
        if kill_at and record.get("step") == kill_at and first_try and trainer.ranks.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    trainer = Trainer(
        TrainingConfig(**CONFIG | settings),
        task,
        sentences(20),
        folder=folder,
        validation=sentences(6, seed=2),
        callbacks=[on_event],
        quiet=True,
    )
    trainer.train(resume=resume)
    weights = trainer.ranks.gather(task.network)
    if trainer.ranks.first:
        norms = {name: float(tensor.double().norm()) for name, tensor in weights.items()}
        (Path(folder) / "norms.json").write_text(json.dumps(norms))
    return trainer


if __name__ == "__main__":
    train(**json.loads(sys.argv[1]))
