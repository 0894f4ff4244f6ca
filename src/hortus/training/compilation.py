"""Compiling a task's loss when that pays, and going on without when it fails.

Measured with torch 2.13 on a two-core CPU: an 8-layer, width-512 language model takes 89 s to compile and
then trains 1.10 times as fast, so compilation pays after some 15 minutes. The figures for GPUs are assumed:
about as long to compile, and more gained.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from hortus.training.task import Batch, Metrics

__all__ = ["CompiledLoss"]

Loss = Callable[[Batch], tuple[Tensor, Tensor, Metrics]]

# device type -> (seconds to compile, speed over eager)
_EXPECTED = {"cpu": (90.0, 1.10), "cuda": (90.0, 1.30)}
_EAGER_STEPS = 4  # eager steps before "auto" decides; the first is not typical


class CompiledLoss:
    """A task's loss with its backward pass, compiled at the moment that is decided.

    Args:
        loss: the task's loss.
        mode: "on", "off" or "auto".
        device: where it runs.
        say: takes a line for the user.
    """

    def __init__(self, loss: Loss, mode: str, device: torch.device, say: Callable[[str], None]) -> None:
        self._eager, self._mode, self._device, self._say = loss, mode, device, say
        self._loss = loss
        self._untried = False
        self._steps = 0
        if mode == "on":
            self._compile("training.compile=on")

    def _compile(self, reason: str) -> None:
        self._say(f"compiling the loss: {reason}")
        self._loss, self._untried, self._mode = torch.compile(self._eager), True, "decided"

    def decide(self, remaining_seconds: float | None) -> None:
        """Called after each step, with the seconds the run will still take at its present speed."""
        if self._mode != "auto":
            return
        self._steps += 1
        if self._steps < _EAGER_STEPS or remaining_seconds is None:
            return
        cost, speed = _EXPECTED.get(self._device.type, (0.0, 1.0))
        saved = remaining_seconds * (1 - 1 / speed)
        expected = (
            f"{remaining_seconds:.0f} s to go, compiling takes about {cost:.0f} s and saves {saved:.0f} s"
        )
        if saved > cost:
            self._compile(expected)
        else:
            self._say(f"not compiling: {expected}")
            self._mode = "decided"

    def run(self, batch: Batch, forward: Callable[[Loss, Batch], Any], undo: Callable[[], None]) -> Any:
        """Forward and backward of one micro-batch; a compiled loss that fails gives way to the eager one.

        Args:
            batch: the micro-batch.
            forward: runs the loss it is given on the batch, and its backward pass.
            undo: forgets what a failed attempt left (gradients, random draws).
        """
        if not self._untried:
            return forward(self._loss, batch)
        try:
            result = forward(self._loss, batch)
        except (
            Exception
        ) as error:  # the compiler may fail in any way; the eager run shows whether it was the task
            first_line = str(error).strip().partition("\n")[0][:200]
            self._say(f"compilation failed, going on without: {type(error).__name__}: {first_line}")
            self._loss = self._eager
            undo()
            result = forward(self._loss, batch)
        self._untried = False
        return result
