"""Settings of finetuning: those of the Trainer, how rows are read, and adapters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hortus.errors import ConfigError
from hortus.training.config import TrainingConfig

__all__ = ["FinetuneConfig"]


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig(TrainingConfig):
    """How a finished model is trained further. The Trainer's settings stand beside these."""

    epochs: int | None = 3
    """End after this many passes over the data."""
    learning_rate: float = 5e-5
    """Peak learning rate; adapters and small models take ten times as much."""
    schedule: Literal["constant", "linear", "cosine", "wsd"] = "linear"
    """Shape of the learning rate after warm-up; wsd is warm-up, stable, decay."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay of the running mean and the running square of the gradient (rmsprop uses only the second)."""
    weight_decay: float = 0.01
    """Decay of weight matrices; biases and normalisations are exempt."""

    columns: tuple[str, ...] = ()
    """Names of the columns of a csv or tsv file without a header."""
    encoding: str = "utf-8"
    """Encoding of csv, tsv and jsonl files."""
    text_column: str = "text"
    """The column of texts (task classify and lm)."""
    second_text_column: str | None = None
    """The column of second texts where a pair is classified."""
    label_column: str = "label"
    """The column of labels (task classify)."""
    target_column: str = "target"
    """The column of what an encoder-decoder is to write (task lm)."""
    validation_share: float = 0.1
    """Share of the rows kept for validation where no validation file is given."""
    max_length: int | None = None
    """Tokens of one example (default: what the model allows, at most 512)."""
    truncate: bool = False
    """Cut longer texts instead of refusing them."""
    class_weights: Literal["none", "balanced"] = "none"
    """Weigh the loss of a class by the inverse of its frequency."""
    stride: int = 128
    """Tokens by which the windows of a long context overlap (task answer)."""
    mask_share: float = 0.15
    """Share of the tokens that an encoder is to restore (task lm)."""

    lora_rank: int = 0
    """Train adapters of this rank instead of all weights; 0 trains all."""
    lora_alpha: float = 16.0
    """The adapters' output is scaled by lora_alpha / lora_rank."""
    lora_dropout: float = 0.0
    """Dropout before the adapters."""
    lora_targets: tuple[str, ...] = ()
    """Linear layers with adapters, by the end of their published names (default: queries and values)."""
    name: str = ""
    """The model's name on its card (default: that of the model it came from)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("validation_share", 0 <= self.validation_share < 1, "0 to below 1")
        self._check("mask_share", 0 < self.mask_share < 1, "between 0 and 1")
        self._check("lora_rank", self.lora_rank >= 0, "0 (off) or more")
        self._check("lora_dropout", 0 <= self.lora_dropout < 1, "0 to below 1")
        self._check("stride", self.stride >= 0, "0 or more")
        if self.max_length is not None and self.max_length < 8:
            raise ConfigError(f"training.max_length={self.max_length}", allowed="8 or more")
