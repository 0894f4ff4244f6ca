"""Settings of an encoder that is trained from nothing."""

from __future__ import annotations

from dataclasses import dataclass

from hortus.errors import ConfigError
from hortus.objectives.finetune_config import FinetuneConfig

__all__ = ["EncoderPretrainConfig"]


@dataclass(frozen=True, kw_only=True)
class EncoderPretrainConfig(FinetuneConfig):
    """A BERT to train from nothing by restoring hidden words. The Trainer's settings stand beside these."""

    vocab_size: int = 8000
    """Most entries of the WordPiece vocabulary, which is trained on the same texts."""
    hidden_size: int = 256
    """Width of the model; a multiple of num_heads."""
    num_layers: int = 6
    """Number of blocks."""
    num_heads: int = 4
    """Attention heads in a block."""
    languages: tuple[str, ...] = ("en",)
    """Documents of the stage `corpus` in these languages are read too."""
    piece_characters: int = 400
    """Documents are cut into pieces of about this length, at a line's end where there is one."""
    most_corpus_bytes: int | None = None
    """Text taken from the corpus, in UTF-8 bytes (null: all)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.vocab_size < 300:
            raise ConfigError(f"training.vocab_size={self.vocab_size}", allowed="300 or more")
