"""Settings of prompted finetuning: a mixture, how its examples are laid out, and what is validated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hortus.errors import ConfigError
from hortus.objectives.finetune_config import FinetuneConfig
from hortus.prompts.config import MixtureConfig

__all__ = ["PromptedConfig", "PromptedMixtureConfig"]


@dataclass(frozen=True, kw_only=True)
class PromptedMixtureConfig(MixtureConfig):
    """A mixture and how a model reads it: the file that `hortus finetune --task prompted --data` takes."""

    sequence_length: int = 2048
    """Tokens of a decoder's packed row; an encoder-decoder's rows have the two lengths below."""
    input_length: int = 1024
    """Longest input in tokens; more is cut and counted."""
    target_length: int = 256
    """Longest target in tokens; more is cut and counted."""
    by_example: bool = False
    """Divide each example's loss by the length of its target (BLOOMZ); else every target token weighs 1."""
    validation_split: str | None = None
    """The training datasets' own split to validate with; null holds rows of the training split out."""
    validation_examples: int = 500
    """Examples to validate with, drawn as the training ones are."""
    overlap_words: int = 13
    """Report n-grams of this length that held-out and training rows share; 0 leaves it out."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.validation_examples < 1:
            raise ConfigError(f"validation_examples={self.validation_examples}", allowed="1 or more")


@dataclass(frozen=True, kw_only=True)
class PromptedConfig(FinetuneConfig):
    """The recipe stage `prompted`: one model for each way of prompting and each seed."""

    mixture: PromptedMixtureConfig
    """What to train on, what is held out."""
    model: str | None = None
    """The base model, a folder or hub id; null takes that of the recipe's stage `pretrain`."""
    prompts: tuple[Literal["all", "one"], ...] = ("all",)
    """`all` templates of each dataset, or `one` of its original task, drawn by the seed."""
    seeds: tuple[int, ...] = (42,)
    """Each seed is a model: of its draws, order and dropout."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("prompts", "seeds"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise ConfigError(f"{name}={values}", allowed="one or more, each once")
