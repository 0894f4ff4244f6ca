"""What the configurations of BERT and DistilBERT share: sizes, dropout, and the head."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar

from hortus.errors import ConfigError
from hortus.models.keys import (
    Spellings,
    check_heads_divide,
    check_probabilities,
    check_sizes,
    read_architecture,
    read_fields,
)

__all__ = ["HEADS", "EncoderConfig", "Head", "fit_to_tensors"]

Head = Literal["masked_lm", "classify", "answer", "none"]

# What the head is -> the end of the class name in config.json.
HEADS: dict[Head, str] = {
    "masked_lm": "ForMaskedLM",
    "classify": "ForSequenceClassification",
    "answer": "ForQuestionAnswering",
    "none": "Model",
}
_SIZES = ("vocab_size", "hidden_size", "num_layers", "num_heads", "intermediate_size", "max_positions")
Own = TypeVar("Own", bound="EncoderConfig")


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """The shape of an encoder and what stands on it.

    head: "masked_lm" predicts hidden words, "classify" a label of the text, "answer" the span of an answer;
        None leaves it to the tensors of the file that is being read.
    labels: names of the classes, for "classify".
    """

    vocab_size: int = 30522
    hidden_size: int = 768
    num_layers: int = 12
    num_heads: int = 12
    intermediate_size: int = 3072
    activation: str = "gelu"
    hidden_dropout: float = 0.1
    attention_dropout: float = 0.1
    max_positions: int = 512
    initializer_range: float = 0.02
    pad_token_id: int | None = 0
    head: Head | None = "masked_lm"
    labels: tuple[str, ...] = ()

    family: ClassVar[str]
    class_prefix: ClassVar[str]
    spellings: ClassVar[Spellings]

    def __post_init__(self) -> None:
        check_sizes(self, _SIZES)
        check_heads_divide(self.hidden_size, self.num_heads)
        check_probabilities(self, ("hidden_dropout", "attention_dropout"))
        if self.head == "classify" and len(self.labels) < 1:
            raise ConfigError("a classification head without labels", allowed="labels or num_labels")

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.num_heads

    @property
    def num_block_parameters(self) -> int:
        """L(4h² + 4h + 2hf + f + h + 4h): projections, feed-forward, two LayerNorms."""
        width, inner = self.hidden_size, self.intermediate_size
        return self.num_layers * (4 * width * width + 9 * width + 2 * width * inner + inner)

    @property
    def num_masked_head_parameters(self) -> int:
        """h² + 3h + V; its projection is tied to the embedding."""
        return self.hidden_size**2 + 3 * self.hidden_size + self.vocab_size

    @classmethod
    def from_hugging_face(cls: type[Own], mapping: Mapping[str, Any]) -> Own:
        """Read the content of a config.json. Keys that do not change the function are ignored.

        Raises:
            ConfigError: a size is missing, two spellings disagree, or a class or activation is not known.
        """
        known: dict[str, str] = {cls.class_prefix + end: head for head, end in HEADS.items()}
        known[f"{cls.class_prefix}ForPreTraining"] = "masked_lm"
        required = [name for name in _SIZES if name not in ("intermediate_size", "max_positions")]
        values = read_fields(mapping, cls.spellings, required)
        values["head"] = read_architecture(mapping, known)
        if values["head"] in ("classify", None):
            values["labels"] = _labels(mapping)
        return cls(**values)

    def to_hugging_face(self) -> dict[str, Any]:
        """The content of config.json, as transformers reads it."""
        written: dict[str, Any] = {
            "model_type": self.family,
            "architectures": [self.class_prefix + HEADS[self.head or "none"]],
        }
        written |= {keys[0]: getattr(self, field) for field, keys in self.spellings.items()}
        if self.head == "classify":
            written["id2label"] = {str(index): label for index, label in enumerate(self.labels)}
            written["label2id"] = {label: index for index, label in enumerate(self.labels)}
        return written


def _labels(mapping: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the classes in order; transformers leaves out the two that it gives by default."""
    names = mapping.get("id2label")
    if not isinstance(names, Mapping):
        return tuple(f"LABEL_{index}" for index in range(int(mapping.get("num_labels", 2))))
    try:
        return tuple(str(names[key]) for key in sorted(names, key=int))
    except ValueError as error:
        raise ConfigError(f"id2label={dict(names)!r}", allowed="numbers to names") from error


def fit_to_tensors(config: Own, stored: Mapping[str, Any]) -> Own:
    """Choose the head by the tensors of the file where config.json names none; masked_lm without a file."""
    if config.head is not None:
        return config
    head: Head = "none"
    if "qa_outputs.weight" in stored:
        head = "answer"
    elif "classifier.weight" in stored:
        head = "classify"
    elif not stored or any(name.startswith(("cls.predictions.", "vocab_transform.")) for name in stored):
        head = "masked_lm"
    return dataclasses.replace(config, head=head, labels=config.labels if head == "classify" else ())
