"""Settings of pretraining: those of the Trainer, and the shape of the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal  # noqa: F401  (annotations of the inherited fields are read in this module)

from hortus.errors import ConfigError
from hortus.training.config import TrainingConfig

__all__ = ["PretrainConfig"]


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(TrainingConfig):
    """A BLOOM to train from nothing. The Trainer's settings stand beside these.

    Defaults give 6.8 million parameters with a vocabulary of 8,192.
    """

    hidden_size: int = 256
    """Width of the model; a multiple of num_heads."""
    num_layers: int = 6
    """Number of blocks."""
    num_heads: int = 4
    """Attention heads in a block; 64 columns or more a head compute best."""
    sequence_length: int = 512
    """Tokens in one training sequence."""
    document_boundaries: bool = True
    """Keep attention inside a document where several are packed into one sequence."""
    hidden_dropout: float = 0.0
    """Dropout after attention and after the MLP; worth 0.1 when text is seen more than a few times."""
    checkpoint_activations: bool = False
    """Recompute activations in the backward pass: less memory for a third more time."""
    alpha: float = 0.5
    """Languages are sampled with p proportional to size^alpha: 1 as they are, 0 all alike."""
    code_share: float = 0.5
    """The largest share of the sampled tokens that code may take."""
    name: str = "bloom"
    """The model's name on its card."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sequence_length < 2:
            raise ConfigError(
                f"training.sequence_length={self.sequence_length}",
                allowed="2 or more",
                do="set it to, say, 512",
            )
