"""Settings of the budget room: a plan, a fit of scaling laws, an ablation."""

from __future__ import annotations

from dataclasses import dataclass

from hortus.errors import ConfigError

__all__ = ["FitConfig", "PlanConfig"]


@dataclass(frozen=True, kw_only=True)
class PlanConfig:
    """What a plan may spend, on which machines, and what it must respect.

    Raises:
        ConfigError: a value is out of range.
    """

    gpu_hours: float
    """Hours of one device that training (and, with serving_tokens, serving) may take in all."""
    gpu: str = "a100-80gb"
    """Kind of device: a name of the table, or "this" for the machine it runs on, measured."""
    gpus: int | None = None
    """Devices that work together (default: as many as end the run in about `weeks`)."""
    weeks: float = 18.0
    """Length that a run should have where gpus is not given."""
    reserve: float = 0.05
    """Share of the hours kept back for trials, evaluation and accidents."""
    law: str = "chinchilla"
    """Scaling law: chinchilla, kaplan, or a file that `hortus budget fit` wrote."""
    tokens: float | None = None
    """Tokens that the model must see at least; the largest shape that does is taken (default: by the law)."""
    serving_tokens: float = 0.0
    """Tokens to be served over the model's life; their cost comes out of the same hours."""
    languages: tuple[str, ...] = ()
    """Text there is: codes of ROOTS's languages, "roots" for all, or CODE=TOKENS (default: no limit)."""
    alpha: float = 1.0
    """Languages are sampled with p proportional to size^alpha."""
    max_epochs: float = 4.0
    """Passes over the text that are allowed at most, in the mean over the languages."""
    vocab_size: int = 250_880
    """Rows of the embedding."""
    sequence_length: int = 2048
    """Tokens in one training sequence."""
    batch_size: int | None = None
    """Sequences in a step (default: what the published BLOOMs of that size took)."""
    micro_batch: int | None = None
    """Sequences in one forward and backward pass on a device (default: the fastest that fits)."""
    head_width: int = 128
    """Columns of an attention head aimed at."""
    head_tolerance: float = 0.25
    """How far from head_width a head may be, as a share of it."""
    depth_tolerance: float = 0.15
    """How far from the depth-width rule the number of layers may be, as a share of it."""
    tensor_parallel: int | None = None
    """Devices that share a layer (default: the fastest that fits)."""
    pipeline_parallel: int | None = None
    """Stages that the layers are spread over (default: 1, or more where nothing else fits)."""
    checkpointing: bool | None = None
    """Recompute activations in the backward pass (default: where it is faster or nothing else fits)."""
    flash_attention: bool = True
    """Whether attention runs in one kernel that never writes its scores."""
    failures_per_year: float = 0.2
    """Failures of a device in a year; BLOOM's 384 lost one or two a week."""
    overhead: float = 1.2
    """Energy of the site (idle machines, network, cooling) over that of the devices; BLOOM's was 1.59."""
    country: str = "world"
    """Where the electricity comes from: a country's three letters, or grams of CO2e per kWh."""
    price: float | None = None
    """US dollars an hour of one device (default: the table's)."""

    def __post_init__(self) -> None:
        positive = ["gpu_hours", "gpus", "weeks", "tokens", "vocab_size", "sequence_length", "batch_size"]
        positive += ("head_width", "head_tolerance", "depth_tolerance", "tensor_parallel")
        positive += ("pipeline_parallel", "max_epochs", "overhead", "micro_batch")
        for name in positive:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name}={value}", allowed="numbers above 0", do=f"change {name}")
        for name in ("serving_tokens", "alpha", "price", "failures_per_year"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise ConfigError(f"{name}={value}", allowed="0 and above", do=f"change {name}")
        if not 0 <= self.reserve < 1:
            raise ConfigError(f"reserve={self.reserve}", allowed="from 0 to below 1")


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """How a scaling law is fitted.

    Raises:
        ConfigError: a value is out of range.
    """

    loss: str = "validation_loss"
    """Which loss of the records is fitted; where a run has none of it, its training loss."""
    huber_delta: float = 1e-3
    """Residual of log loss from which errors count linearly."""
    bootstrap: int = 200
    """Resamples of the runs for the intervals."""
    confidence: float = 0.9
    """Share of the resamples that an interval holds."""
    seed: int = 0
    """Seed of the resampling."""
    extrapolate: float | None = None
    """FLOP for which size, tokens and loss are predicted."""

    def __post_init__(self) -> None:
        if self.bootstrap < 20:
            raise ConfigError(f"bootstrap={self.bootstrap}", allowed="20 and more")
        if not 0 < self.confidence < 1:
            raise ConfigError(f"confidence={self.confidence}", allowed="between 0 and 1")
        if self.huber_delta <= 0:
            raise ConfigError(f"huber_delta={self.huber_delta}", allowed="above 0")
