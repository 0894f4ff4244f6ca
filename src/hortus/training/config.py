"""Every setting of a training run.

The names and units follow the published BLOOM runs: warm-up, decay and the batch ramp are counted in
samples (sequences or rows), not in steps, so that they mean the same at any batch size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_type_hints

from hortus.config import to_mapping
from hortus.errors import ConfigError, nearest

__all__ = ["TrainingConfig"]


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How long, how fast and how carefully the Trainer trains.

    At least one of `steps`, `epochs` and `max_minutes` ends the run; whichever comes first counts.

    >>> TrainingConfig(steps=100, batch_size=32, micro_batch_size=8).batch_size
    32

    Raises:
        ConfigError: a value is out of range, or two settings contradict each other.
    """

    steps: int | None = None
    """End after this many optimizer steps."""
    epochs: int | None = None
    """End after this many passes over the data."""
    max_minutes: float | None = None
    """End after this many minutes of training, those before a resume included."""

    batch_size: int = 32
    """Samples (sequences or rows) in one optimizer step."""
    micro_batch_size: int | None = None
    """Samples in one forward and backward pass, limited by memory (default: the whole batch)."""
    batch_ramp_start: int | None = None
    """Batch size of the first steps, from which it grows to batch_size (default: no ramp)."""
    batch_ramp_step: int = 16
    """How much the batch grows at a time during the ramp."""
    batch_ramp_samples: int = 0
    """Samples over which the batch grows."""

    optimizer: Literal["adamw", "adam", "rmsprop", "adafactor"] = "adamw"
    """The update rule."""
    learning_rate: float = 3e-4
    """Peak learning rate."""
    min_learning_rate: float = 0.0
    """Learning rate at the end of the decay and after it."""
    betas: tuple[float, float] = (0.9, 0.95)
    """Decay of the running mean and the running square of the gradient (rmsprop uses only the second)."""
    eps: float = 1e-8
    """Term that keeps the update finite where the running square is zero (adafactor has its own)."""
    weight_decay: float = 0.1
    """Decay of weight matrices; biases and normalisations are exempt where the task says so."""
    clip_norm: float | None = 1.0
    """Largest total gradient norm; larger gradients are scaled down (null: never)."""

    schedule: Literal["constant", "linear", "cosine", "wsd"] = "cosine"
    """Shape of the learning rate after warm-up; wsd is warm-up, stable, decay."""
    warmup_samples: int = 0
    """Samples over which the learning rate rises linearly from zero."""
    decay_samples: int | None = None
    """Samples, warm-up included, at which min_learning_rate is reached (default: the run's end)."""
    decay_share: float = 0.2
    """Share of decay_samples, at its end, in which wsd lets the learning rate fall."""

    device: str = "auto"
    """Where to train: auto, cpu, cuda, cuda:1, mps."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of matrix products; weights and optimizer state stay as the network has them."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Compile the loss with torch.compile; auto does so when the expected run is long enough to repay it."""
    tensor_parallel: int = 1
    """Processes of a torchrun among which each matrix is divided; the others divide the batch."""
    seed: int = 42
    """Seed of dropout and of every other random choice during training."""

    evaluate_every: int | None = None
    """Steps between evaluations on the validation data (default: once, at the end)."""
    metric: str = "loss"
    """Validation metric by which the best checkpoint and early stopping are decided."""
    metric_goal: Literal["lowest", "highest"] = "lowest"
    """Whether a low or a high metric is good."""
    patience: int | None = None
    """End after this many evaluations in a row without a better metric (default: never)."""
    restore_best: bool = True
    """Leave the network at the weights of the best evaluation rather than at the last ones."""

    checkpoint_every: int | None = None
    """Steps between checkpoints (default: at the best evaluations and at the end)."""
    keep_checkpoints: int = 2
    """How many of the newest checkpoints stay on disk; the best one always stays too."""

    log_every: int = 10
    """Steps between lines of progress and of metrics.jsonl."""
    tensorboard: bool = False
    """Also write TensorBoard files."""
    max_nonfinite_steps: int = 10
    """End with an error after this many steps in a row whose loss or gradient is not finite."""
    spike_deviations: float = 10.0
    """Report a loss this many deviations above the running median (0: never)."""

    def __post_init__(self) -> None:
        self._check_choices()
        self._check_ranges()
        self._check_ramp()
        self._check_together()

    def _check_choices(self) -> None:
        hints = get_type_hints(type(self))
        for name, hint in hints.items():
            allowed = get_args(hint)
            value = getattr(self, name)
            if allowed and all(isinstance(choice, str) for choice in allowed) and value not in allowed:
                raise ConfigError(
                    f"training.{name}={value!r} is not known",
                    allowed=", ".join(allowed),
                    do=nearest(str(value), allowed),
                )

    def _check_ranges(self) -> None:
        positive = ["steps", "epochs", "max_minutes", "batch_size", "micro_batch_size", "batch_ramp_start"]
        positive += (
            "batch_ramp_step",
            "learning_rate",
            "eps",
            "clip_norm",
            "decay_samples",
            "evaluate_every",
        )
        positive += ("patience", "checkpoint_every", "keep_checkpoints", "log_every", "max_nonfinite_steps")
        positive += ("tensor_parallel",)
        for name in positive:
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise _out_of_range(name, value, "numbers above 0")
        for name in ("batch_ramp_samples", "min_learning_rate", "weight_decay", "warmup_samples"):
            self._check(name, 0 <= getattr(self, name) < math.inf, "0 and above")
        self._check("spike_deviations", 0 <= self.spike_deviations < math.inf, "0 (off) and above")
        self._check("decay_share", 0 < self.decay_share <= 1, "above 0, at most 1")
        pair = len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas)
        self._check("betas", pair, "two numbers from 0 to below 1")
        self._check(
            "min_learning_rate", self.min_learning_rate <= self.learning_rate, "at most learning_rate"
        )

    def _check_ramp(self) -> None:
        start = self.batch_ramp_start
        if start is None:
            self._check("batch_ramp_samples", not self.batch_ramp_samples, "0 unless batch_ramp_start is set")
            return
        self._check("batch_ramp_start", start <= self.batch_size, f"at most batch_size={self.batch_size}")
        grows_by = self.batch_size - start
        if grows_by % self.batch_ramp_step:
            raise ConfigError(
                f"training.batch_ramp_step={self.batch_ramp_step} does not divide the growth of the batch "
                f"from {start} to {self.batch_size}",
                allowed=f"divisors of {grows_by}",
                do="change batch_ramp_start or batch_ramp_step",
            )
        self._check("batch_ramp_samples", self.batch_ramp_samples > 0, "numbers above 0 with a batch ramp")

    def _check_together(self) -> None:
        if self.steps is None and self.epochs is None and self.max_minutes is None:
            raise ConfigError(
                "nothing ends the training",
                allowed="any of training.steps, training.epochs, training.max_minutes",
                do="set one of them",
            )
        if self.patience is not None:
            self._check("patience", self.evaluate_every is not None, "unset, or set with evaluate_every")
        if self.micro_batch_size is not None:
            fits = self.micro_batch_size <= self.batch_size
            self._check("micro_batch_size", fits, f"at most batch_size={self.batch_size}")
        if self.decay_samples is not None and self.schedule != "constant":
            later = self.decay_samples > self.warmup_samples
            self._check("decay_samples", later, f"above warmup_samples={self.warmup_samples}")

    def _check(self, name: str, holds: bool, allowed: str) -> None:
        if not holds:
            raise _out_of_range(name, getattr(self, name), allowed)

    def changes_from(self, earlier: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
        """Fields whose value differs from an earlier run's: {name: (then, now)}."""
        now = to_mapping(self)
        return {
            name: (earlier[name], now[name]) for name in now if name in earlier and earlier[name] != now[name]
        }


def _out_of_range(name: str, value: object, allowed: str) -> ConfigError:
    return ConfigError(
        f"training.{name}={value!r} is out of range", allowed=allowed, do=f"change training.{name}"
    )
