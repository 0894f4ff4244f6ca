"""Settings of an ablation: factors and their levels, and everything that stays the same."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from hortus.errors import ConfigError

__all__ = ["AblateConfig", "label"]


@dataclass(frozen=True, kw_only=True)
class AblateConfig:
    """Many small models that differ in what is asked, trained on an equal budget and compared.

    A factor is a field of the decoder (position, activation, embedding_norm, norm_placement, num_kv_heads,
    objective, ...), of training (learning_rate, batch_size, ...), or of the data: sources, vocab_size, alpha,
    code_share, languages. The first level of each is what the others are compared with.

    Raises:
        ConfigError: no factor, a factor of one level, or a number out of range.
    """

    factors: dict[str, list[Any]] = field(default_factory=dict)
    """Levels of each factor, the one to compare with first."""
    design: Literal["grid", "single"] = "grid"
    """Every combination of levels, or one factor changed at a time from the first levels."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Each setting is trained once with each: initial weights and order of the text."""
    budget: Literal["tokens", "flops"] = "tokens"
    """What is equal: training.steps as they are, or scaled to the arithmetic of the first setting."""

    sources: tuple[str, ...] = ("chatterbot", "stdlib")
    """Text, as in a corpus stage; held-out documents of these score every model."""
    corpus: dict[str, Any] = field(default_factory=dict)
    """Further settings of the corpus."""
    vocab_size: int = 2048
    """Entries of the tokenizer, which is trained on the same text."""
    alpha: float = 0.5
    """Languages are sampled with p proportional to size^alpha."""
    code_share: float = 0.5
    """The largest share of the sampled tokens that code may take."""
    languages: tuple[str, ...] | None = None
    """Languages to train on (default: all there are)."""
    sequence_length: int = 256
    """Tokens in a training sequence."""

    model: dict[str, Any] = field(default_factory=dict)
    """The decoder: hidden_size, num_layers, num_heads and what differs from BLOOM's parts."""
    training: dict[str, Any] = field(default_factory=dict)
    """Settings of the Trainer."""
    learning_rates: tuple[float, ...] = ()
    """Swept for each setting with the first seed, the best taken for the others (default: no sweep)."""
    reference_width: int | None = None
    """Width that training.learning_rate was found at: it is transferred as rate * reference_width / width."""
    adapt_share: float = 0.2
    """Share of the steps, at the end, in which a model with objective masked is adapted to causal."""
    mask_share: float = 0.15
    """Share of the tokens that objective masked hides."""

    score: Literal["bits_per_byte", "loss"] = "bits_per_byte"
    """What decides: bits per byte, mean over languages, or nats a token, for one tokenizer only."""
    floor_bytes: int = 4_000
    """Languages with less held-out text are scored as one."""
    tasks: tuple[str, ...] = ()
    """Files of tasks on which the trained models are also scored zero-shot."""
    processes: int = 2
    """Models trained at a time, one thread each."""
    address: str | None = None
    """Ray cluster to train on instead, such as "auto" or ray://host:10001; it shares the run's folder."""
    published: dict[str, dict[str, float]] = field(default_factory=dict)
    """Published scores of levels, to stand beside: factor, level, score (higher is better)."""
    published_metric: str = "published"
    """What the published scores are."""

    def __post_init__(self) -> None:
        if not self.factors:
            raise ConfigError(
                "no factors to vary", do="name one with its levels, as in recipes/ablations.yaml"
            )
        for name, levels in self.factors.items():
            labels = [label(level) for level in levels]
            if len(levels) < 2 or len(set(labels)) < len(labels):
                raise ConfigError(f"factors.{name}: {labels}", allowed="two or more different levels")
        if len(self.seeds) < 2:
            raise ConfigError(
                f"seeds={list(self.seeds)}", allowed="two or more: one has no error to judge by"
            )
        for name in ("adapt_share", "mask_share"):
            if not 0 < getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}", allowed="between 0 and 1")
        for name in ("processes", "vocab_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}", allowed="1 or more")


def label(level: Any) -> str:
    """A level as it is written in tables.

    >>> label(True), label(["a", "b"]), label(0.5)
    ('true', 'a+b', '0.5')
    """
    if isinstance(level, bool):
        return str(level).lower()
    if isinstance(level, list | tuple):
        return "+".join(map(label, level))
    return "all" if level is None else str(level)
