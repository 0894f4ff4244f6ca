"""Settings of the room's recipe stages, and of probing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hortus.errors import ConfigError

__all__ = ["AdaptConfig", "ModelProbeConfig", "ProbeConfig", "WorldConfig"]


@dataclass(frozen=True, kw_only=True)
class WorldConfig:
    """An invented world.

    entities: how many there are, of six kinds.
    exponent: of Zipf's law of mentions.
    mentions: notes about the most famous entity; the one of rank r has mentions / r^exponent.
    namesakes: chance that an entity bears the name of a more famous one of its kind.
    lessons: documents that teach reading, about things of which nothing else is ever heard.
    seed: another seed is another world.
    """

    entities: int = 200
    exponent: float = 1.0
    mentions: int = 1500
    namesakes: float = 0.3
    lessons: int = 4000
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("entities", "mentions", "lessons"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}", allowed="1 or more")
        if self.entities > 600:
            raise ConfigError(f"entities={self.entities}", allowed="1 to 600, for want of names")
        if self.exponent <= 0 or not 0 <= self.namesakes < 1:
            raise ConfigError(
                f"exponent={self.exponent}, namesakes={self.namesakes}", allowed="above 0; 0 to below 1"
            )


@dataclass(frozen=True, kw_only=True)
class ProbeConfig:
    """How questions are put to a model.

    shots: answered examples before the question; 0 is zero-shot.
    drawing: "fresh" draws them anew for each question, "fixed" once for all questions of a relation, which
        then share the reading of them.
    source: "others" draws as many from each relation other than the question's, "sample" from all rows.
    max_new_tokens: length of an answer, before it is cut at its first line's end.
    seed: of the drawing.
    batch_size: questions run together.
    confidence: also ask for the log-probability of the model's own answer.
    """

    shots: int = 0
    drawing: Literal["fresh", "fixed"] = "fresh"
    source: Literal["others", "sample"] = "others"
    max_new_tokens: int = 15
    seed: int = 633
    batch_size: int = 64
    confidence: bool = False

    def __post_init__(self) -> None:
        if self.shots < 0 or self.max_new_tokens < 1 or self.batch_size < 1:
            raise ConfigError(
                f"shots={self.shots}, max_new_tokens={self.max_new_tokens}, batch_size={self.batch_size}",
                allowed="0 or more; 1 or more; 1 or more",
            )


@dataclass(frozen=True, kw_only=True)
class ModelProbeConfig(ProbeConfig):
    """The recipe's stage `probe`: the model trained last, on the world made last.

    size: the model's name among the sizes.
    """

    size: str = "model"


@dataclass(frozen=True, kw_only=True)
class AdaptConfig:
    """The recipe's stage `adapt`: gates over all models probed before it.

    exponent: worlds of this exponent count for the findings; others are reported beside them.
    price: what a retrieval costs, in right answers.
    tail, head: shares of a world's questions that are its least and its most popular.
    splits, train_share, seed: of the comparison of gates.
    """

    exponent: float = 1.0
    price: float = 0.0
    tail: float = 0.333
    head: float = 0.1
    splits: int = 100
    train_share: float = 0.75
    seed: int = 633

    def __post_init__(self) -> None:
        for name in ("tail", "head", "train_share"):
            if not 0 < getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}", allowed="between 0 and 1")
        if self.splits < 2:
            raise ConfigError(f"splits={self.splits}", allowed="2 or more")
