"""The shape of a DistilBERT (Sanh et al. 2019) and its two-way reading of Hugging Face's config.json."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hortus.models.encoder_config import EncoderConfig
from hortus.models.keys import Spellings, check_probabilities, release

__all__ = ["PUBLISHED", "DistilBertConfig", "published"]


@dataclass(frozen=True, kw_only=True)
class DistilBertConfig(EncoderConfig):
    """The shape and settings of a DistilBERT. Defaults are those of the base release.

    sinusoidal_positions: positions drawn as sines that are not trained, rather than learned ones.
    classifier_dropout, answer_dropout: before the classifier and before the answer head.

    >>> DistilBertConfig(head="none").num_parameters
    66362880
    """

    num_layers: int = 6
    sinusoidal_positions: bool = False
    classifier_dropout: float = 0.2
    answer_dropout: float = 0.1

    family: ClassVar[str] = "distilbert"
    class_prefix: ClassVar[str] = "DistilBert"
    spellings: ClassVar[Spellings] = {
        "vocab_size": ("vocab_size",),
        "hidden_size": ("dim", "hidden_size"),
        "num_layers": ("n_layers", "num_hidden_layers"),
        "num_heads": ("n_heads", "num_attention_heads"),
        "intermediate_size": ("hidden_dim",),
        "activation": ("activation",),
        "hidden_dropout": ("dropout",),
        "attention_dropout": ("attention_dropout",),
        "max_positions": ("max_position_embeddings",),
        "sinusoidal_positions": ("sinusoidal_pos_embds",),
        "initializer_range": ("initializer_range",),
        "answer_dropout": ("qa_dropout",),
        "classifier_dropout": ("seq_classif_dropout",),
        "pad_token_id": ("pad_token_id",),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        check_probabilities(self, ("classifier_dropout", "answer_dropout"))

    @property
    def num_parameters(self) -> int:
        """Of the encoder and the head; a tied projection counts once."""
        width = self.hidden_size
        tables = (self.vocab_size + self.max_positions + 2) * width
        heads = {
            "masked_lm": self.num_masked_head_parameters,
            "classify": width * (width + 1) + len(self.labels) * (width + 1),
            "answer": 2 * (width + 1),
        }
        return tables + self.num_block_parameters + heads.get(self.head or "none", 0)


# With the masked-LM head.
PUBLISHED: dict[str, DistilBertConfig] = {
    "base-uncased": DistilBertConfig(),
    "base-cased": DistilBertConfig(vocab_size=28996),
    "base-german-cased": DistilBertConfig(vocab_size=31102),
    "base-multilingual-cased": DistilBertConfig(vocab_size=119547),
}


def published(name: str) -> DistilBertConfig:
    """The shape of a release; a ConfigError where there is none of that name.

    >>> published("base-uncased").num_parameters
    66985530
    """
    return release("DistilBERT", PUBLISHED, name)
