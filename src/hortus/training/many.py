"""Processes that torchrun started together: fully sharded data parallelism, tensor parallelism, or both.

The mesh has two axes. Along "data" a batch is divided, and every weight, its gradient and its optimizer state
too (FSDP2); along "tensor" the matrices of a block are (Megatron's column and row cuts, as the network's
`tensor_plan` says). Sums are what the ranks add up: losses, counts and gradients, divided once by the count
of all, so the result is that of one process but for the order of addition.

What differs from a loop over PyTorch's own tools:
- the optimizer sees plain tensors, each the local piece of its weight, so any elementwise rule runs fused,
  whatever mixture of meshes the weights lie on;
- the gradient's norm adds the squares of the pieces over exactly those axes that a weight is cut along.
  PyTorch's `clip_grad_norm_` refuses tensor parallelism; BLOOM's clipping left out ranks above the first, and
  the copies of its norms drifted apart. Here every rank divides by the same number;
- a step's random draws depend on seed, step and data rank alone, so nothing of them is in a checkpoint.
"""

from __future__ import annotations

import atexit
import logging
import math
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

from hortus.errors import ConfigError
from hortus.training import randomness
from hortus.training.checkpoint import Checkpoint, CheckpointWriter, list_checkpoints
from hortus.training.interruption import INTERRUPTIONS
from hortus.training.pieces import cut_axes, local_piece, placed_like
from hortus.training.ranks import Losses, Ranks
from hortus.training.shards import ShardWriter, owner, read_pieces
from hortus.training.state import Groups, copy_to_host, load_optimizer, load_weights, optimizer_tensors
from hortus.training.sums import Sums
from hortus.training.task import Batch

__all__ = ["ManyRanks"]

# What FSDP must gather the weights for, besides `forward`.
_METHODS = ("hidden", "encode", "decode", "head")
_REASONS = (None, "steps", "epochs", "max_minutes", "patience", *INTERRUPTIONS)
_ELEMENTWISE = ("adamw", "adam", "rmsprop")
_SLOW = 1.3  # times the median at which a rank is reported


class ManyRanks(Ranks):
    """The ranks of one torchrun.

    Args:
        tensor_parallel: ranks among which each matrix is divided; the others divide the batch.
        device: kind of device; each process of a machine takes the GPU of its own number.

    Raises:
        ConfigError: `tensor_parallel` does not divide the number of processes.
    """

    def __init__(self, tensor_parallel: int, device: torch.device) -> None:
        if device.type == "cuda":
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        if not dist.is_initialized():
            dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
            atexit.register(_leave)
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        if self.size % tensor_parallel:
            raise ConfigError(
                f"training.tensor_parallel={tensor_parallel} does not divide {self.size} processes",
                allowed=", ".join(str(n) for n in range(1, self.size + 1) if self.size % n == 0),
            )
        self.device, self.first = device, self.rank == 0
        self.data_parts, self._tensor_parts = self.size // tensor_parallel, tensor_parallel
        shape = (self.data_parts, tensor_parallel)
        self.mesh: DeviceMesh = init_device_mesh(device.type, shape, mesh_dim_names=("data", "tensor"))
        self._data_part = self.mesh.get_local_rank("data")
        # Checkpoints are written behind the training's back: their talk must not mix with its own.
        self.behind = dist.new_group(backend="gloo")
        self._idle = False

    def check(self, config: Any, task: Any) -> None:
        """Refuse what cannot be divided.

        Raises:
            ConfigError: an optimizer that looks at whole matrices, or a task whose batches are not rows.
        """
        if config.optimizer not in _ELEMENTWISE:
            raise ConfigError(
                f"training.optimizer={config.optimizer!r} in {self.size} processes",
                allowed=", ".join(_ELEMENTWISE),
                do="it looks at whole matrices, which no process holds",
            )
        if hasattr(task, "rows") and self.data_parts > 1:
            raise ConfigError(
                f"{type(task).__name__} in {self.size} processes: its batches are not rows to divide",
                allowed="one process",
            )

    # The network

    def spread(self, network: nn.Module, dtype: torch.dtype) -> None:
        for tensor in [*network.parameters(), *network.buffers()]:
            dist.broadcast(tensor.detach(), 0)
        if self._tensor_parts > 1:
            self._divide_matrices(network)
        if self.data_parts > 1:
            self._divide_weights(network, dtype)

    def _divide_matrices(self, network: Any) -> None:
        plan = getattr(network, "tensor_plan", None)
        if plan is None:
            raise ConfigError(
                f"tensor parallelism of a {type(network).__name__}",
                allowed="networks with a tensor_plan: bloom, hortus_decoder",
                do="set training.tensor_parallel=1",
            )
        network.take_heads(self.mesh.get_local_rank("tensor"), self._tensor_parts)
        cuts = {"columns": ColwiseParallel, "rows": RowwiseParallel}
        parallelize_module(network, self.mesh["tensor"], {name: cuts[cut]() for name, cut in plan.items()})

    def _divide_weights(self, network: nn.Module, dtype: torch.dtype) -> None:
        # Weights travel in bf16 where products are made in it; gradients are added in fp32 always.
        half = dtype == torch.bfloat16
        policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32) if half else MixedPrecisionPolicy()
        mesh = self.mesh["data"]
        blocks = [
            block for module in network.modules() if isinstance(module, nn.ModuleList) for block in module
        ]
        for block in blocks:
            fully_shard(block, mesh=mesh, mp_policy=policy)
        fully_shard(network, mesh=mesh, mp_policy=policy, reshard_after_forward=False)
        cut: list[Any] = [*blocks, network]
        for module in cut:
            # The sum itself: the trainer divides by the number of terms, not of ranks.
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
        for name in _METHODS:
            if hasattr(network, name):
                register_fsdp_forward_method(network, name)

    def own(self, groups: Groups) -> Groups:
        pieces = [nn.Parameter(local_piece(p.detach())) for group in groups for p in group["params"]]
        remaining = iter(pieces)
        return [{**group, "params": [next(remaining) for _ in group["params"]]} for group in groups]

    def gradients(self, parameters: Iterable[Tensor], pieces: Iterable[Tensor]) -> list[Tensor]:
        gradients = []
        for parameter, piece in zip(parameters, pieces, strict=True):
            if parameter.grad is not None:
                piece.grad = local_piece(parameter.grad)
                gradients.append(piece.grad)
        return gradients

    def norm(self, parameters: Iterable[Tensor], gradients: list[Tensor]) -> Tensor:
        by_axes: dict[tuple[str, ...], list[Tensor]] = defaultdict(list)
        cut = [cut_axes(parameter) for parameter in parameters if parameter.grad is not None]
        for axes, gradient in zip(cut, gradients, strict=True):
            by_axes[axes].append(gradient)
        total = torch.zeros((), device=self.device)
        for axes in sorted(by_axes):
            squares = torch.stack(torch._foreach_norm(by_axes[axes])).float().square().sum()
            for axis in axes:
                dist.all_reduce(squares, group=self.mesh.get_group(axis))
            total += squares
        return total.sqrt()

    # The batch

    def seed(self, seed: int, step: int) -> None:
        # Ranks of one batch part draw the same numbers: what they drop must agree.
        randomness.seed_all((seed * 1_000_003 + step) * 65_537 + self._data_part)

    def share(self, batch: Batch, rows: int) -> Batch:
        mine = slice(
            self._data_part * rows // self.data_parts, (self._data_part + 1) * rows // self.data_parts
        )
        self._idle = mine.start == mine.stop
        # FSDP needs every rank in every pass: one without a row runs the first and counts it as nothing.
        return {name: tensor[:1] if self._idle else tensor[mine] for name, tensor in batch.items()}

    def weigh(self, losses: Losses) -> Losses:
        if not self._idle:
            return losses
        loss, count, metrics = losses
        return (
            loss * 0,
            count * 0,
            {name: (value * 0, weight * 0) for name, (value, weight) in metrics.items()},
        )

    def total(self, sums: Sums) -> Sums:
        names = sorted(sums.metrics)
        numbers = [sums.loss, sums.count, sums.tokens, *(n for name in names for n in sums.metrics[name])]
        added = torch.stack([torch.as_tensor(n, dtype=torch.float64, device=self.device) for n in numbers])
        dist.all_reduce(added, group=self.mesh.get_group("data"))
        loss, count, tokens, *rest = added
        metrics: dict[str, Any] = {name: (rest[2 * i], rest[2 * i + 1]) for i, name in enumerate(names)}
        return Sums(loss, count, sums.samples, int(tokens), metrics)

    # What all must decide alike

    def agree(self, number: float) -> float:
        agreed = torch.tensor(number, dtype=torch.float64)
        dist.broadcast(agreed, 0)
        return float(agreed)

    def end(self, reason: str | None) -> str | None:
        code = torch.tensor(_REASONS.index(reason))
        dist.all_reduce(code, dist.ReduceOp.MAX)
        return _REASONS[int(code)]

    def choose(self, choose: Callable[[], Checkpoint | None], folder: Path) -> Checkpoint | None:
        chosen = choose() if self.first else None
        step = int(self.agree(-1 if chosen is None else chosen.step))
        found = {checkpoint.step: checkpoint for checkpoint in list_checkpoints(folder)[0]}
        return None if step < 0 else found[step]

    def meet_behind(self) -> None:
        """Wait for all processes, in the group of the writers."""
        dist.barrier(self.behind)

    def name_not_finite(self, loss: float, say: Callable[[str], None]) -> None:
        for rank in (~self._gather(loss).isfinite()).nonzero().flatten().tolist():
            say(f"rank {rank} of {self.size} has a loss that is not finite")

    def watch_speed(self, say: Callable[[str], None]) -> None:
        seconds = self._gather(_product_seconds(self.device))
        slow = seconds / seconds.median()
        for rank in (slow > _SLOW).nonzero().flatten().tolist():
            say(f"rank {rank} of {self.size} computes {slow[rank]:.1f} times as slowly as the median")

    def _gather(self, number: float) -> Tensor:
        """(size,) every process's number."""
        gathered = [torch.zeros(1, dtype=torch.float64) for _ in range(self.size)]
        dist.all_gather(gathered, torch.tensor([number], dtype=torch.float64))
        return torch.cat(gathered)

    # Checkpoints

    def open_writer(self, folder: Path, keep: int, goal: str) -> CheckpointWriter:
        return ShardWriter(folder, keep, goal, self)

    def snapshot(
        self, trained: dict[str, Tensor], optimizer: torch.optim.Optimizer, parameters: list[Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        weights = copy_to_host({name: local_piece(tensor) for name, tensor in trained.items()})
        state = copy_to_host(optimizer_tensors(optimizer))
        return (
            {name: placed_like(trained[name], piece) for name, piece in weights.items()},
            {key: placed_like(owner(key, parameters), piece) for key, piece in state.items()},
        )

    def load_weights(self, trained: dict[str, Tensor], checkpoint: Checkpoint) -> None:
        pieces = {name: local_piece(tensor) for name, tensor in trained.items()}
        load_weights(pieces, read_pieces(checkpoint, "model", trained.get), str(checkpoint.folder))

    def load_optimizer(
        self, optimizer: torch.optim.Optimizer, parameters: list[Tensor], checkpoint: Checkpoint
    ) -> None:
        load_optimizer(optimizer, read_pieces(checkpoint, "optimizer", lambda key: owner(key, parameters)))

    def gather(self, network: nn.Module) -> dict[str, Tensor]:
        """All weights whole, by name, in the first process's host memory; the others get none."""
        gathered = {}
        # It warns that a weight cut along both axes takes two steps, which is no news.
        logging.getLogger("torch.distributed.tensor._redistribute").setLevel(logging.ERROR)
        for name, tensor in network.named_parameters():
            whole: Any = tensor.detach()
            whole = whole.full_tensor() if isinstance(whole, DTensor) else whole
            if self.first:
                gathered[name] = whole.cpu()
        return gathered


def _product_seconds(device: torch.device) -> float:
    """The best of three matrix products, some milliseconds each: what this process's device does now."""
    size = 512 if device.type == "cpu" else 4096
    matrix, best = torch.ones(size, size, device=device), math.inf
    for _ in range(3):
        began = time.perf_counter()
        (matrix @ matrix)[0, 0].item()
        best = min(best, time.perf_counter() - began)
    return best


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()
