"""The processes that train together, as the Trainer sees them; this file is the case of one process.

Started by torchrun, `join` gives the ranks of `hortus.training.many` instead, with the same methods. A loop
that calls these needs no case of its own for either.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hortus.errors import ConfigError
from hortus.training.checkpoint import Checkpoint, CheckpointWriter
from hortus.training.state import (
    Groups,
    copy_to_host,
    load_optimizer,
    load_weights,
    optimizer_tensors,
)
from hortus.training.sums import Sums
from hortus.training.task import Batch

__all__ = ["Ranks", "join"]

_MARK = "launch"
_RESTARTS = "TORCHELASTIC_RESTART_COUNT"  # set by torchrun's agent, 0 at first

Losses = tuple[Tensor, Tensor, Any]


class Ranks:
    """One process: it holds all of the network and sees all of every batch."""

    first = True
    """Whether this process writes files and speaks."""
    data_parts = 1
    """Processes (or groups of them, under tensor parallelism) among which a batch is divided."""
    size = 1
    """All processes."""

    def restarted(self, folder: Path) -> bool:
        """Whether the agent of torchrun that began the run in the folder started this process again."""
        mark = folder / _MARK
        again = int(os.environ.get(_RESTARTS, "0")) > 0
        return again and mark.is_file() and mark.read_text() == _launch()

    def begin(self, folder: Path) -> None:
        """Note who began the run, so that a restart resumes it and no other."""
        if self.first and _RESTARTS in os.environ:
            (folder / _MARK).write_text(_launch())

    def spread(self, network: nn.Module, dtype: torch.dtype) -> None:
        """Give every process its pieces of the network, in place."""

    def own(self, groups: Groups) -> Groups:
        """The parameter groups as the optimizer sees them: plain tensors, this process's pieces."""
        return groups

    def gradients(self, parameters: Iterable[Tensor], pieces: Iterable[Tensor]) -> list[Tensor]:
        """Gradients of the pieces, as plain tensors; the optimizer reads them from there."""
        return [parameter.grad for parameter in parameters if parameter.grad is not None]

    def norm(self, parameters: Iterable[Tensor], gradients: list[Tensor]) -> Tensor:
        """Norm of the whole gradient, the same number on every process."""
        return torch.nn.utils.get_total_norm(gradients)

    def seed(self, seed: int, step: int) -> None:
        """Begin the random draws of a step."""

    def share(self, batch: Batch, rows: int) -> Batch:
        """This process's rows of a micro-batch."""
        return batch

    def weigh(self, losses: Losses) -> Losses:
        """A task's result, made nothing where `share` had no row left to give."""
        return losses

    def total(self, sums: Sums) -> Sums:
        """Sums over all processes."""
        return sums

    def agree(self, number: float) -> float:
        """The first process's number, for what depends on the clock."""
        return number

    def end(self, reason: str | None) -> str | None:
        """Why the run ends, if any process has a reason."""
        return reason

    def choose(self, choose: Callable[[], Checkpoint | None], folder: Path) -> Checkpoint | None:
        """The checkpoint of the folder that the first process chooses."""
        return choose()

    def open_writer(self, folder: Path, keep: int, goal: str) -> CheckpointWriter:
        """What writes checkpoints in the background."""
        return CheckpointWriter(folder, keep, goal)

    def snapshot(
        self, trained: dict[str, Tensor], optimizer: torch.optim.Optimizer, parameters: list[Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Host copies of weights and optimizer state by name."""
        return copy_to_host(trained), copy_to_host(optimizer_tensors(optimizer))

    def gather(self, network: nn.Module) -> dict[str, Tensor]:
        """All weights whole, by name, in the first process; the others get none."""
        return {name: tensor.detach() for name, tensor in network.named_parameters()}

    def load_weights(self, trained: dict[str, Tensor], checkpoint: Checkpoint) -> None:
        """Put a checkpoint's weights into the network."""
        load_weights(trained, checkpoint.weights(), str(checkpoint.folder))

    def load_optimizer(
        self, optimizer: torch.optim.Optimizer, parameters: list[Tensor], checkpoint: Checkpoint
    ) -> None:
        """Put a checkpoint's optimizer state back."""
        load_optimizer(optimizer, checkpoint.optimizer())

    def name_not_finite(self, loss: float, say: Callable[[str], None]) -> None:
        """Name the processes whose own loss of a step that was left out is not finite."""

    def watch_speed(self, say: Callable[[str], None]) -> None:
        """Name the processes that are slower than the others."""

    def check(self, config: Any, task: Any) -> None:
        """Refuse what this number of processes cannot do.

        Raises:
            ConfigError: `tensor_parallel` in a single process.
        """
        if config.tensor_parallel > 1:
            raise ConfigError(
                f"training.tensor_parallel={config.tensor_parallel} in a single process",
                allowed="1",
                do="start it with torchrun, or write a launch file with hortus run RECIPE --launch torchrun",
            )


def _launch() -> str:
    return f"{os.environ.get('TORCHELASTIC_RUN_ID')} {os.getppid()}"


def join(tensor_parallel: int, device: torch.device) -> Ranks:
    """The processes that torchrun started together, or this one alone.

    Raises:
        ConfigError: `tensor_parallel` does not divide their number.

    >>> join(1, torch.device("cpu")).size
    1
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Ranks()
    from hortus.training.many import ManyRanks

    return ManyRanks(tensor_parallel, device)
