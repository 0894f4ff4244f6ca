"""The BERT network (Devlin et al. 2019).

Beside what it shares with DistilBERT (`hortus.models.layers.encoder`): token types, which say first or second
text of a pair, dropout after the attention's output, and a pooler (dense and tanh on the first token), which
the classifier reads.

Legend: B batch, T tokens, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hortus.models.bert.config import BertConfig
from hortus.models.layers.encoder import Encoder

__all__ = ["Bert"]


class Bert(Encoder):
    """An encoder with token types.

    >>> network = Bert(BertConfig(vocab_size=32, hidden_size=16, num_layers=2, num_heads=4)).eval()
    >>> network(torch.tensor([[5, 6, 7]])).shape
    torch.Size([1, 3, 32])
    """

    model_type = "bert"

    def __init__(self, config: BertConfig):
        super().__init__(config, epsilon=config.layer_norm_epsilon, attention_output_dropout=True)
        self.token_type_embedding = nn.Embedding(config.num_token_types, config.hidden_size)
        self.pooler = nn.Linear(config.hidden_size, config.hidden_size) if config.pooler else None
        self.classifier_dropout = (
            config.hidden_dropout if config.classifier_dropout is None else config.classifier_dropout
        )
        self.reset_parameters()

    def add_token_types(self, states: Tensor, token_type_ids: Tensor | None) -> Tensor:
        """(B, T, D) embeddings with those of the token types; all 0 where none are given."""
        if token_type_ids is None:
            return states + self.token_type_embedding.weight[0]
        return states + self.token_type_embedding(token_type_ids)

    def summary(self, first: Tensor) -> Tensor:
        """The pooled state."""
        assert self.pooler is not None
        return F.dropout(torch.tanh(self.pooler(first)), self.classifier_dropout, self.training)
