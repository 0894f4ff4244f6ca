"""Settings of distillation: the student, what of it comes from the teacher, and the loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hortus.errors import ConfigError
from hortus.objectives.finetune_config import FinetuneConfig

__all__ = ["DistillationConfig"]


@dataclass(frozen=True, kw_only=True)
class DistillationConfig(FinetuneConfig):
    """How a student is made and trained. Rows of text are read as finetuning reads them.

    Optimizer settings are those of the published script (AdamW, 5e-4, linear after 5 % of warm-up, clip 5).

    Raises:
        ConfigError: a value out of range, or adapters.
    """

    task: Literal["lm", "classify", "answer", "ranked"] = "lm"
    """What is distilled: lm as the family was pretrained, or a finetuned teacher's task."""
    student: str | None = None
    """A student to go on with, a folder or hub id (default: make one from the teacher)."""
    layers: int | None = None
    """Layers of the student, of each stack of an encoder-decoder (default: half of the teacher's)."""
    layer_list: tuple[int, ...] = ()
    """The teacher's layers to copy, in order, counted from 0 (default: by layer_rule)."""
    layer_rule: Literal["published", "stride"] = "published"
    """published spreads over both ends (0, 2, 4, 7, 9, 11 of 12); stride takes every n-th from 0."""
    width: int | None = None
    """Width of the student: the first columns and heads of the teacher (default: all)."""
    initialization: Literal["teacher", "random"] = "teacher"
    """Copy the teacher's weights, or draw fresh ones."""
    copy_head_transform: bool = True
    """Also copy the masked-LM head's dense layer and LayerNorm."""
    trim_vocabulary: bool = False
    """First drop the tokens that the data never use, of teacher and student alike."""
    freeze_positions: bool = False
    """Keep learned positions as the teacher has them; the published checkpoint was probably trained so."""

    temperature: float = 2.0
    """Teacher and student logits are divided by it in the soft loss."""
    weight_soft: float | None = None
    """Weight of the soft loss, KL(teacher ‖ student) × temperature² (default: 5, of tasks 0.5)."""
    weight_hard: float | None = None
    """Weight of the loss on the data's own tokens or labels (default: 2, of tasks 0.5)."""
    weight_cosine: float | None = None
    """Weight of 1 - cosine of the last hidden states (default: 1, of tasks and from stored logits 0)."""
    soft_over: Literal["all", "hidden"] = "all"
    """Tokens of the soft loss: all real ones, or an encoder's hidden ones only."""
    mask_smoothing: float | None = None
    """Tokens are hidden with weight count^-smoothing; encoders only (default: 0.7)."""
    bucket_width: int = 4
    """Texts whose lengths fall into the same bucket of this many tokens make a batch."""
    store_top: int = 0
    """Run the teacher once and keep its best so many logits a token on disk; 0 runs it every time."""

    learning_rate: float = 5e-4
    """Peak learning rate."""
    betas: tuple[float, float] = (0.9, 0.98)
    """Decay of the running mean and the running square of the gradient (rmsprop uses only the second)."""
    eps: float = 1e-6
    """Term that keeps the update finite where the running square is zero (adafactor has its own)."""
    weight_decay: float = 0.0
    """Decay of weight matrices; biases and normalisations are exempt."""
    clip_norm: float | None = 5.0
    """Largest total gradient norm; larger gradients are scaled down (null: never)."""
    warmup_share: float = 0.05
    """Share of all samples over which the rate rises, where warmup_samples is 0 and the end is known."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("temperature", self.temperature > 0, "above 0")
        for name in ("weight_soft", "weight_hard", "weight_cosine"):
            value = getattr(self, name)
            self._check(name, value is None or value >= 0, "0 (off) or more")
        weights = self.weights
        self._check("weight_soft", any(weights), "a loss: one of the three weights above 0")
        self._check("warmup_share", 0 <= self.warmup_share < 1, "0 to below 1")
        self._check("bucket_width", self.bucket_width > 0, "1 or more")
        self._check("store_top", self.store_top >= 0, "0 (off) or more")
        self._check("lora_rank", not self.lora_rank, "0: a student has no adapters")
        if self.store_top and weights[2]:
            raise ConfigError(
                f"weight_cosine={weights[2]} with stored logits",
                allowed="0: hidden states are not stored",
                do="set weight_cosine to 0, or store_top to 0",
            )
        if self.trim_vocabulary and self.student is not None:
            raise ConfigError(
                f"trim_vocabulary with the student {self.student}", allowed="a student made from the teacher"
            )
        if self.store_top and self.task != "lm":
            raise ConfigError(f"store_top={self.store_top} with task={self.task}", allowed="task lm")

    @property
    def weights(self) -> tuple[float, float, float]:
        """Weights of the soft loss, the hard loss and the cosine."""
        of_tasks = (0.5, 0.5, 0.0)
        of_text = (5.0, 2.0, 0.0 if self.store_top else 1.0)
        usual = of_text if self.task == "lm" else of_tasks
        given = (self.weight_soft, self.weight_hard, self.weight_cosine)
        first, second, third = (
            one if value is None else value for value, one in zip(given, usual, strict=True)
        )
        return first, second, third
