"""Learning rate and batch size as functions of the samples seen.

BLOOM counts warm-up, decay and batch ramp in samples. One difference from its training code: a step is rated
by the samples seen at its end rather than at its start, so that the first step is not taken at rate zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from hortus.training.config import TrainingConfig

__all__ = ["SCHEDULES", "learning_rate", "planned_samples", "ramped_batch_size"]


def _constant(progress: float, decay_share: float) -> float:
    return 1.0


def _linear(progress: float, decay_share: float) -> float:
    return 1.0 - progress


def _cosine(progress: float, decay_share: float) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * progress))


def _warmup_stable_decay(progress: float, decay_share: float) -> float:
    return min(1.0, (1.0 - progress) / decay_share)


# Each maps the share of the decay that is done (0 to 1) to the height between minimum (0) and peak (1).
SCHEDULES: dict[str, Callable[[float, float], float]] = {
    "constant": _constant,
    "linear": _linear,
    "cosine": _cosine,
    "wsd": _warmup_stable_decay,
}


def learning_rate(config: TrainingConfig, samples: int, decay_samples: float | None) -> float:
    """Learning rate of the step that ends at `samples` samples.

    Args:
        config: schedule, rates and warm-up.
        samples: samples seen at the end of the step.
        decay_samples: where the decay ends; None when nobody knows yet.

    >>> config = TrainingConfig(steps=10, learning_rate=1.0, schedule="linear", warmup_samples=10)
    >>> [round(learning_rate(config, samples, 110), 2) for samples in (5, 10, 60, 110, 500)]
    [0.5, 1.0, 0.5, 0.0, 0.0]
    """
    if samples < config.warmup_samples:
        return config.learning_rate * samples / config.warmup_samples
    if decay_samples is None:
        progress = 0.0
    elif decay_samples <= config.warmup_samples:
        progress = 1.0
    else:
        progress = (samples - config.warmup_samples) / (decay_samples - config.warmup_samples)
    height = SCHEDULES[config.schedule](min(1.0, progress), config.decay_share)
    return config.min_learning_rate + (config.learning_rate - config.min_learning_rate) * height


def ramped_batch_size(config: TrainingConfig, samples: int) -> int:
    """Batch size of the step that starts after `samples` samples.

    The batch grows by `batch_ramp_step` every batch_ramp_samples / ((batch_size - start) / step) samples.

    >>> config = TrainingConfig(steps=1, batch_size=64, batch_ramp_start=32, batch_ramp_step=16,
    ...                         batch_ramp_samples=1000)
    >>> [ramped_batch_size(config, samples) for samples in (0, 499, 500, 999, 1000)]
    [32, 32, 48, 48, 64]
    """
    start = config.batch_ramp_start
    if start is None or samples >= config.batch_ramp_samples or start == config.batch_size:
        return config.batch_size
    increments = (config.batch_size - start) // config.batch_ramp_step
    return start + config.batch_ramp_step * (samples * increments // config.batch_ramp_samples)


def planned_samples(config: TrainingConfig, samples_per_epoch: int | None) -> int | None:
    """Samples after `steps` steps or `epochs` epochs, whichever ends first; None when neither says.

    The last window of an epoch is ragged: it holds what is left.

    >>> planned_samples(TrainingConfig(steps=5, batch_size=4), samples_per_epoch=10)
    18
    """
    by_epochs = config.epochs * samples_per_epoch if config.epochs and samples_per_epoch else None
    if config.steps is None:
        return by_epochs
    samples = 0
    for _ in range(config.steps):
        window = ramped_batch_size(config, samples)
        if samples_per_epoch:
            window = min(window, samples_per_epoch - samples % samples_per_epoch)
        samples += window
        if by_epochs is not None and samples >= by_epochs:
            return by_epochs
    return samples
