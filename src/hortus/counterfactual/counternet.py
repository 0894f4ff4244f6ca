"""CounterNet (Guo, Nguyen, Yadav, 2023), small and ours: a baseline that predicts and writes counterfactuals.

Encoder d-50-10, predictor 10-10-1, and an explainer from both hidden layers, 20-50-d, with LeakyReLU and
dropout 0.3. Two losses take turns in the authors' code: the prediction loss trains encoder and predictor,
the loss of the counterfactuals then trains the explainer. Here both are in one step, kept apart by
detaching; Adam treats each weight on its own, so the updates are the same but for the predictor's lead of
one step.

    B rows, D columns of the matrix
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hortus.counterfactual.baselines import split_matrix
from hortus.counterfactual.config import VCNetSettings
from hortus.counterfactual.encoding import Rows, TableEncoder
from hortus.counterfactual.explainer import Explainer
from hortus.counterfactual.goals import Goal
from hortus.counterfactual.search import Proposal, Table
from hortus.counterfactual.tables import as_frame, match_frame, read_labels
from hortus.counterfactual.task import train_task
from hortus.device import choose_device
from hortus.errors import ConfigError, DataError
from hortus.training import Batch, Metrics
from hortus.training.randomness import preserved

__all__ = ["CounterNet"]

_PREDICTION, _PROXIMITY, _VALIDITY = 1.0, 0.01, 0.2  # the published weights for Adult
_FLIP_TARGETS = {1: (0.8, 0.95), 0: (0.05, 0.2)}  # labels are smoothed to a draw from these


class _Network(nn.Module):
    def __init__(self, width: int, outputs: list[int], groups: list[tuple[int, int]]) -> None:
        super().__init__()
        self.encoder = nn.Sequential(_layer(width, 50), _layer(50, 10))
        self.hidden = _layer(10, 10)
        self.head = nn.Linear(10, 1)
        self.explainer = nn.Sequential(_layer(20, 50), nn.Linear(50, width))
        self._outputs, self._groups = outputs, groups

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Probability (B,), latent (B, 10) and hidden (B, 10)."""
        latent = self.encoder(x)
        hidden = self.hidden(latent)
        return self.head(hidden)[:, 0].sigmoid(), latent, hidden

    def counterfactual(self, x: Tensor, latent: Tensor, hidden: Tensor) -> Tensor:
        """(B, D): sigmoid numbers, softmax groups, and x itself in the immutable columns."""
        raw = self.explainer(torch.cat([latent, hidden], -1))
        first = self._groups[0][0] if self._groups else raw.shape[1]
        groups = [raw[:, start:end].softmax(-1) for start, end in self._groups]
        activated = torch.cat([raw[:, :first].sigmoid(), *groups], -1)
        moved = x.clone()
        moved[:, self._outputs] = activated[:, self._outputs]
        return moved


def _layer(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, outputs), nn.LeakyReLU(), nn.Dropout(0.3))


class _Task:
    def __init__(self, network: _Network) -> None:
        self.network = network

    def loss(self, batch: Batch) -> tuple[Tensor, Tensor, Metrics]:
        x, y = batch["x"], batch["y"]
        low = torch.where(y > 0.5, _FLIP_TARGETS[1][0], _FLIP_TARGETS[0][0])
        high = torch.where(y > 0.5, _FLIP_TARGETS[1][1], _FLIP_TARGETS[0][1])
        probability, latent, hidden = self.network(x)
        prediction = F.mse_loss(probability, low + (high - low) * torch.rand_like(y), reduction="sum")
        moved = self.network.counterfactual(x, latent.detach(), hidden.detach())
        frozen = {name: value.detach() for name, value in self.network.named_parameters()}
        reached, _, _ = torch.func.functional_call(self.network, frozen, (moved,))
        validity = F.mse_loss(reached, 1 - probability.detach().round(), reduction="sum")
        proximity = (moved - x).square().mean(1).sum()
        total = _PREDICTION * prediction + _VALIDITY * validity + _PROXIMITY * proximity
        return total, torch.tensor(len(x)), {}

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        return [{"params": list(self.network.parameters()), "weight_decay": weight_decay}]


class CounterNet(Explainer):
    """A binary classifier that writes one counterfactual a row, without regard to what is realistic.

    Args:
        immutable: columns that the explainer does not write (the published one has none).
        epochs: passes over the table.
        learning_rate: of Adam.
    """

    attempts, unseen = 1, "error"
    snap_back = 0.0

    def __init__(
        self,
        immutable: tuple[str, ...] = (),
        epochs: int = 100,
        learning_rate: float = 0.003,
        device: str = "auto",
        random_state: int = 0,
    ) -> None:
        self.immutable, self.epochs, self.learning_rate = immutable, epochs, learning_rate
        self.device, self.random_state = device, random_state

    def fit(self, X: Any, y: Any) -> CounterNet:
        """Train on a table and two classes.

        Raises:
            DataError: not exactly two classes; see `VCNet.fit`.
        """
        frame = as_frame(X)
        self.encoder_ = TableEncoder.fit(frame)
        self.immutable_ = tuple(self.immutable)
        self.classes_, numbers = read_labels(y, len(frame), type(self).__name__)
        if len(self.classes_) != 2:
            raise DataError(
                f"CounterNet met {len(self.classes_)} classes", allowed="two classes", do="use VCNet"
            )
        encoder = self.encoder_
        outputs = encoder.places(set(encoder.names) - set(self.immutable_))
        if not outputs:
            raise ConfigError("every column that varies is immutable", do="shorten immutable")
        settings = VCNetSettings(learning_rate=self.learning_rate, batch_size=128, epochs=self.epochs)
        tensors = {
            "x": torch.as_tensor(encoder.matrix(encoder.read(frame)), dtype=torch.float32),
            "y": torch.as_tensor(numbers, dtype=torch.float32),
        }
        with preserved(choose_device(self.device)):
            torch.manual_seed(self.random_state)
            network = _Network(encoder.width, outputs, encoder.groups)
            train_task(
                _Task(network),
                tensors,
                settings=settings,
                seed=self.random_state,
                device=self.device,
                verbose=False,
            )
        self.network_ = network.double().eval().requires_grad_(False)
        return self

    def _check_ready(self) -> None:
        if not hasattr(self, "network_"):
            raise ConfigError("CounterNet is not fitted", do="call fit first")

    @torch.inference_mode()
    def _outcome(self, candidate: Rows, table: Table) -> np.ndarray:
        probability, _, _ = self.network_(torch.from_numpy(self.encoder_.matrix(candidate)))
        return torch.stack([1 - probability, probability], 1).numpy()

    @torch.inference_mode()
    def _propose(
        self, table: Table, rows: np.ndarray, goal: Goal, attempt: int, generator: np.random.Generator
    ) -> Proposal:
        x = torch.from_numpy(self.encoder_.matrix(table.rows))
        _, latent, hidden = self.network_(x)
        return split_matrix(self.network_.counterfactual(x, latent, hidden).numpy(), self.encoder_)

    def predict(self, X: Any) -> np.ndarray:
        """Classes (N,)."""
        self._check_ready()
        frame = match_frame(X, self.encoder_.names, type(self).__name__)
        table = Table(frame, self.encoder_.read(frame))
        return self.classes_[self._outcomes(table.rows, table).argmax(1)]
