"""Settings of the evaluation stages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hortus.errors import ConfigError

__all__ = ["HeldOutConfig", "SamplesConfig", "ZeroShotConfig"]


@dataclass(frozen=True, kw_only=True)
class HeldOutConfig:
    """Bits per byte on held-out documents, by language, beside xz -9 on the same text."""

    max_bytes: int = 60_000
    """Text scored in each language, in UTF-8 bytes; whole documents."""
    floor_bytes: int = 2_000
    """A language with less held-out text than this is pooled with the others of its kind."""

    def __post_init__(self) -> None:
        if self.max_bytes < 1:
            raise ConfigError(f"held_out.max_bytes={self.max_bytes}", allowed="1 or more")


@dataclass(frozen=True, kw_only=True)
class SamplesConfig:
    """Texts that the model continues, for the report."""

    prompts: tuple[str, ...] = ("Hello",)
    """Beginnings of texts."""
    max_new_tokens: int = 60
    """Length of each continuation."""
    temperature: float = 0.8
    """0 takes the likeliest token each time."""
    top_p: float = 0.95
    """Draw among the likeliest tokens that hold this share of the probability."""
    seed: int = 0
    """Seed of the draws."""


@dataclass(frozen=True, kw_only=True)
class ZeroShotConfig:
    """Prompted models on the tasks that their mixture holds out, beside the base model."""

    limit: int | None = None
    """The first rows of each held-out dataset only."""
    metric: Literal["acc", "acc_norm", "acc_bytes", "acc_tokens"] = "acc"
    """How choices are compared; T0 sums their log-probabilities."""
    draws: int = 2000
    """Resamplings of documents behind each standard error."""
    device: str = "auto"
    """Where to evaluate: auto, cpu, cuda, cuda:1, mps."""
