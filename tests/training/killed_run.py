"""A training run in a process of its own, which kills itself with SIGKILL at a chosen moment."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from hortus.training import Trainer, TrainingConfig, checkpoint

from .tasks import Regression, rows, sentences

# 100 rows, a batch that grows from 4 to 16 over the first 60 samples (steps 1 to 10), micro-batches of 4,
# an epoch end with a ragged window every hundred samples, dropout and batch normalisation.
CONFIG = TrainingConfig(
    steps=30, batch_size=16, micro_batch_size=4, batch_ramp_start=4, batch_ramp_step=4, batch_ramp_samples=60,
    learning_rate=0.01, warmup_samples=50, evaluate_every=6, checkpoint_every=5, log_every=2,
    dtype="float32", device="cpu", compile="off", restore_best=False,
)  # fmt: skip

Moment = tuple[str, int, str] | None
"""("loss", nth call, ""), ("log" or "evaluate", step, "") or ("write", step, point of the write)."""


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def train(folder: str, kind: str, moment: Moment, resume: bool) -> None:
    """Train in `folder`; when that is survived, leave the next batch beside the checkpoints."""
    torch.set_num_threads(1)
    task, data, validation = build(kind)
    arm(task, moment)

    def on_event(event: str, trainer: Trainer, record: dict[str, Any]) -> None:
        if moment is not None and (event, record.get("step")) == moment[:2]:
            kill()

    trainer = Trainer(
        CONFIG, task, data, folder=folder, validation=validation, callbacks=[on_event], quiet=True
    )
    trainer.train(resume=resume)
    save_file(next(iter(data)), Path(folder) / "next_batch.safetensors")


def build(kind: str) -> tuple[Any, Any, Any]:
    """Task, training data and validation data."""
    if kind == "regression":
        return Regression(dropout=0.3), rows(100), rows(20, seed=2)
    from hortus.models.bloom import Bloom, BloomConfig
    from hortus.objectives.causal import CausalLanguageModeling

    torch.manual_seed(3)
    sizes = {"vocab_size": 11, "hidden_size": 16, "num_layers": 2, "num_heads": 2}
    network = Bloom(BloomConfig(**sizes, hidden_dropout=0.1, attention_dropout=0.1))
    return CausalLanguageModeling(network), sentences(100), sentences(20, seed=2)


def arm(task: Any, moment: Moment) -> None:
    """Set the trap: kill in the middle of a step, or inside a checkpoint write."""
    if moment is None:
        return
    kind, number, point = moment
    loss: Callable[..., Any] = task.loss
    calls = 0

    def counted_loss(batch: Any) -> Any:
        nonlocal calls
        calls += torch.is_grad_enabled()
        if calls == number:
            kill()
        return loss(batch)

    written: list[int] = []
    write = checkpoint.write_checkpoint

    def watched_write(folder: Path, snapshot: checkpoint.Snapshot) -> checkpoint.Checkpoint:
        written.append(snapshot.step)
        return write(folder, snapshot)

    def at(name: str) -> None:
        if name == point and written[-1] == number:
            kill()

    if kind == "loss":
        task.loss = counted_loss
    elif kind == "write":
        checkpoint.write_checkpoint, checkpoint.write_moment = watched_write, at
