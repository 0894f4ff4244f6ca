"""The DistilBERT network (Sanh et al. 2019).

Beside what it shares with BERT (`hortus.models.layers.encoder`): no token types and no pooler; the classifier
has a dense layer with ReLU of its own; LayerNorm's epsilon is 1e-12 whatever config.json says; positions may
be sines that are not trained.

Legend: B batch, T tokens, D width, P positions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hortus.models.distilbert.config import DistilBertConfig
from hortus.models.layers.encoder import Encoder

__all__ = ["DistilBert"]

_EPSILON = 1e-12


class DistilBert(Encoder):
    """An encoder of half the depth.

    >>> network = DistilBert(DistilBertConfig(vocab_size=32, hidden_size=16, num_layers=2, num_heads=4))
    >>> network.eval()(torch.tensor([[5, 6, 7]])).shape
    torch.Size([1, 3, 32])
    """

    model_type = "distilbert"

    def __init__(self, config: DistilBertConfig):
        super().__init__(config, epsilon=_EPSILON, attention_output_dropout=False)
        width = config.hidden_size
        self.pre_classifier = nn.Linear(width, width) if config.head == "classify" else None
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw weights as BERT's; sinusoidal positions are written and left out of training."""
        super().reset_parameters()
        if self.config.sinusoidal_positions:
            positions = self.position_embedding.weight
            positions.requires_grad_(False)
            num_positions, width = positions.shape
            positions.copy_(_sines(num_positions, width, positions.device))

    def summary(self, first: Tensor) -> Tensor:
        """relu(W h) of the first token."""
        assert self.pre_classifier is not None
        return F.dropout(F.relu(self.pre_classifier(first)), self.config.classifier_dropout, self.training)

    def span_states(self, hidden: Tensor) -> Tensor:
        """The states with dropout."""
        return F.dropout(hidden, self.config.answer_dropout, self.training)


def _sines(num_positions: int, width: int, device: torch.device) -> Tensor:
    """(P, D): sin(p / 10000^(2i/D)) in column 2i, the cosine in column 2i + 1."""
    places = torch.arange(num_positions, dtype=torch.float64, device=device)[:, None]
    columns = torch.arange(width, dtype=torch.float64, device=device)
    angles = places / 10000 ** (2 * (columns // 2) / width)
    return torch.where(columns % 2 == 0, angles.sin(), angles.cos()).float()
