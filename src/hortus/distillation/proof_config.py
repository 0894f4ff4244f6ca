"""Settings of the proof: how teacher and student are finetuned, and how they are timed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hortus.config import from_mapping
from hortus.distillation.config import DistillationConfig
from hortus.errors import ConfigError
from hortus.objectives.finetune_config import FinetuneConfig

__all__ = ["AblationConfig", "OnDeviceConfig", "ProofConfig"]


@dataclass(frozen=True, kw_only=True)
class ProofConfig(FinetuneConfig):
    """Teacher, student and the teacher's shape with fresh weights are finetuned alike, once a seed."""

    seeds: tuple[int, ...] = (0, 1, 2)
    """Each seed is one finetuning of every model on every task."""
    fresh: bool = True
    """Also finetune the teacher's shape from fresh weights, which tells what pretraining was worth."""
    latency_tokens: int = 64
    """Length of the texts that are timed."""
    latency_batches: tuple[int, ...] = (1, 32)
    """Texts at once."""
    latency_repeats: int = 20
    """Timed runs of each; their median counts."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("seeds", len(set(self.seeds)) == len(self.seeds) > 0, "one or more, each once")
        for name in ("latency_tokens", "latency_repeats"):
            self._check(name, getattr(self, name) > 0, "1 or more")
        self._check("latency_batches", all(size > 0 for size in self.latency_batches), "1 or more each")


@dataclass(frozen=True, kw_only=True)
class AblationConfig(DistillationConfig):
    """One distillation for each variant: the settings of the stage with some of them changed."""

    variants: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Name -> settings that differ; null or empty is the whole method."""
    finetuning: ProofConfig = field(default_factory=lambda: ProofConfig(epochs=1))
    """How each student is finetuned on the task."""
    scored_on: str | None = None
    """The task that students are scored on (default: the first)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.variants:
            raise ConfigError("variants is empty", allowed="names with settings that differ")
        for name in self.variants:
            self.variant(name)

    def variant(self, name: str) -> DistillationConfig:
        """The settings of one variant.

        Raises:
            ConfigError: it changes what is no setting of distillation.
        """
        own = {key: getattr(self, key) for key in DistillationConfig.__dataclass_fields__}
        return from_mapping(DistillationConfig, own | (self.variants[name] or {}), f"variants.{name}")


@dataclass(frozen=True, kw_only=True)
class OnDeviceConfig:
    """The page that runs the finetuned teacher and student in a browser."""

    task: str | None = None
    """The proof's task whose classifiers it runs (default: the first)."""
    runtime: Path | None = None
    """The folder of onnxruntime-web (default: HORTUS_ONNXRUNTIME_WEB, or node_modules); may be missing."""
