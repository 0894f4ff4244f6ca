"""The network of VCNet: a predictor and a class-conditional VAE on one pre-encoder.

Guyomard et al., "VCNet: A self-explaining model for realistic counterfactual generation" (ECML-PKDD 2022), as
in the authors' code, with ELU throughout. What differs: several classes use a softmax where the authors'
library fits independent sigmoids, and categories are hardened by arg-max outside the network unless sampling.

    B rows, D columns of the matrix, F of them fixed, U = D - F that may change (without marks of absence)
    S shared width, M middle width, L latent width, C width of the condition
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

__all__ = ["NetworkShape", "VCNetNetwork"]


@dataclass(frozen=True, kw_only=True)
class NetworkShape:
    """Everything that fixes the tensors of the network.

    Args:
        width: columns of the matrix (D).
        numbers: positions of the number columns that may change, which the decoder writes first.
        groups: (start, end) of the one-hot groups that may change, which it writes next.
        head: "binary" (one logit), "classes" (`outcomes` logits) or "number" (one value).
        outcomes: number of classes, or 1.
        predictor: whether the network predicts; without it (post-hoc) the condition comes from outside and,
            as in the authors' library, there is no pre-encoder.
        shared: one pre-encoder for predictor and encoder, or one each; the encoder's own sees only what may
            change.
        condition_encoder, condition_decoder: which of the two are given the condition.
    """

    width: int
    numbers: tuple[int, ...]
    groups: tuple[tuple[int, int], ...]
    head: Literal["binary", "classes", "number"]
    outcomes: int = 1
    share_size: int
    middle_size: int
    latent_size: int
    predictor: bool = True
    shared: bool = True
    condition_encoder: bool = False
    condition_decoder: bool = True

    @property
    def outputs(self) -> tuple[int, ...]:
        """Positions in the matrix that the decoder writes (U)."""
        return self.numbers + tuple(place for start, end in self.groups for place in range(start, end))

    @property
    def fixed(self) -> tuple[int, ...]:
        """Positions that it does not write and is conditioned on (F)."""
        written = set(self.outputs)
        return tuple(place for place in range(self.width) if place not in written)

    def to_mapping(self) -> dict[str, Any]:
        """The shape as plain values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_mapping(cls, value: Mapping[str, Any]) -> NetworkShape:
        """The inverse of `to_mapping`, lists allowed for tuples."""
        values = dict(value)
        values["numbers"] = tuple(values["numbers"])
        values["groups"] = tuple((int(start), int(end)) for start, end in values["groups"])
        return cls(**values)


class VCNetNetwork(nn.Module):
    """Predictor, encoder and decoder.

    >>> shape = NetworkShape(width=4, numbers=(0,), groups=((1, 4),), head="binary", share_size=8,
    ...                      middle_size=4, latent_size=2)
    >>> network = VCNetNetwork(shape)
    >>> x = torch.tensor([[0.5, 1.0, 0.0, 0.0]])
    >>> mean, log_variance = network.encode(x, network.condition(network.logits(x)))
    >>> network.activate(network.decode(mean, torch.ones(1, 1), x)).shape
    torch.Size([1, 4])
    """

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self.shape = shape
        outputs, fixed = len(shape.outputs), len(shape.fixed)
        share, middle, latent = shape.share_size, shape.middle_size, shape.latent_size
        if shape.predictor:
            pre_encoder = nn.Sequential(nn.Linear(shape.width, share), nn.ELU())
            self.predictor = nn.Sequential(
                pre_encoder, nn.Linear(share, share), nn.ELU(), nn.Linear(share, shape.outcomes)
            )
        if not shape.predictor:
            share = shape.width
        elif not shape.shared:
            self.own_encoder = nn.Sequential(nn.Linear(outputs, share), nn.ELU())
        encoder_condition = shape.outcomes * shape.condition_encoder
        decoder_condition = shape.outcomes * shape.condition_decoder
        self.encoder = nn.Sequential(nn.Linear(share + encoder_condition, middle), nn.ELU())
        self.mean = nn.Linear(middle, latent)
        self.log_variance = nn.Linear(middle, latent)
        self.decoder = nn.Sequential(
            nn.Linear(latent + decoder_condition + fixed, middle),
            nn.ELU(),
            nn.Linear(middle, share),
            nn.ELU(),
            nn.Linear(share, outputs),
        )
        self._outputs, self._fixed = list(shape.outputs), list(shape.fixed)
        self._group_table = _group_table(len(shape.numbers), shape.groups)

    def logits(self, x: Tensor) -> Tensor:
        """Logits, or scaled values, (B, C) of the matrix (B, D)."""
        result: Tensor = self.predictor(x)
        return result

    def condition(self, logits: Tensor) -> Tensor:
        """The soft condition (B, C) of training: probabilities, or the predicted scaled value."""
        if self.shape.head == "binary":
            return logits.sigmoid()
        return logits.softmax(-1) if self.shape.head == "classes" else logits

    def encode(self, x: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance (B, L) of the latent code."""
        if not self.shape.predictor:
            hidden = x
        elif self.shape.shared:
            hidden = self.predictor[0](x)
        else:
            hidden = self.own_encoder(x[:, self._outputs])
        if self.shape.condition_encoder:
            hidden = torch.cat([hidden, condition], -1)
        hidden = self.encoder(hidden)
        return self.mean(hidden), self.log_variance(hidden)

    def decode(self, latent: Tensor, condition: Tensor, x: Tensor) -> Tensor:
        """Raw outputs (B, U), for the latent code (B, L), the condition and the fixed columns of x (B, D)."""
        parts = [latent]
        if self.shape.condition_decoder:
            parts.append(condition)
        result: Tensor = self.decoder(torch.cat([*parts, x[:, self._fixed]], -1))
        return result

    def activate(self, raw: Tensor) -> Tensor:
        """Sigmoid of the numbers and softmax inside each group, (B, U)."""
        numbers = raw[:, : len(self.shape.numbers)].sigmoid()
        if not self.shape.groups:
            return numbers
        # All groups at once: gathered into a padded (B, groups, longest), where padding has weight 0.
        table = self._group_table.to(raw.device)
        padded = raw[:, table.clamp(min=0)].masked_fill(table < 0, -torch.inf).softmax(-1)
        return torch.cat([numbers, padded[:, table >= 0]], -1)

    def place(self, outputs: Tensor, x: Tensor) -> Tensor:
        """The matrix (B, D) of x with the decoder's columns replaced by `outputs` (B, U)."""
        result = x.clone()
        result[:, self._outputs] = outputs
        return result


def _group_table(start: int, groups: Sequence[tuple[int, int]]) -> Tensor:
    """(groups, longest) positions in the decoder's output, -1 where a group is shorter."""
    widths = [end - begin for begin, end in groups]
    table = torch.full((len(groups), max(widths, default=0)), -1, dtype=torch.long)
    for row, width in enumerate(widths):
        table[row, :width] = torch.arange(start, start + width)
        start += width
    return table
