"""What VCNet for classes, for values and post-hoc share: hyper-parameters, training, proposals, saving."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from hortus.artifact import ModelCard
from hortus.counterfactual.columns import check_names, describe_columns
from hortus.counterfactual.config import Reconstruction, VCNetSettings, resolve_settings
from hortus.counterfactual.encoding import Rows, TableEncoder
from hortus.counterfactual.explainer import Explainer
from hortus.counterfactual.goals import Goal
from hortus.counterfactual.network import NetworkShape, VCNetNetwork
from hortus.counterfactual.search import Proposal, Table
from hortus.counterfactual.tables import as_frame, match_frame, warn_about
from hortus.counterfactual.task import VCNetTask, train_task
from hortus.device import choose_device
from hortus.errors import ConfigError, DataError
from hortus.training.randomness import preserved

__all__ = ["VCNetBase"]

_PRIOR_SHARE = 0.5  # of the attempts, after which codes are drawn from the prior as well


@dataclass(kw_only=True, eq=False, repr=False)
class VCNetBase(Explainer, BaseEstimator):
    """The hyper-parameters that all share; `VCNet`, `VCNetRegressor` and `PostHocVCNet` are what is used."""

    preset: str = "default"
    """"default", or a published set: "adult", "compas", "give_me_some_credit", "demo"."""
    immutable: Collection[str] = ()
    """Columns that never change: the decoder is conditioned on them and does not write them."""
    categorical: Collection[str] = ()
    """Columns to take as categories whatever they hold."""
    numeric: Collection[str] = ()
    """Columns to take as numbers."""
    # In place of the preset's; see `VCNetSettings`.
    epochs: int | None = None
    learning_rate: float | None = None
    batch_size: int | None = None
    middle_size: int | None = None
    latent_size: int | None = None
    reconstruction_weight: float | None = None
    kl_step: float | None = None
    kl_max: float | None = None
    reconstruction: Reconstruction = "cross_entropy"
    clamp_kl: bool = True
    condition_encoder: bool = False
    """Give the encoder the condition (ablation)."""
    condition_decoder: bool = True
    """Give the decoder the condition (ablation)."""
    flip: Literal["decoder", "encoder", "both"] = "decoder"
    """Where the wanted condition replaces the predicted (ablation)."""
    snap_back: float = 0.01
    """Undo changes below this share of a column's training range, where the outcome allows."""
    attempts: int = 32
    """Candidates tried for a row before it is given up; most rows need one."""
    unseen: Literal["error", "ignore"] = "error"
    """Whether to refuse to predict rows with categories or empty cells that training never saw."""
    device: str = "auto"
    """Where to train: auto, cpu, cuda."""
    random_state: Any = 0
    """Seed of training and of drawing."""
    verbose: bool = False
    """Show the progress of training."""

    kind: ClassVar[str] = "vcnet"
    _most_epochs: ClassVar[int] = 60

    # Fitting

    def _check_parameters(self) -> None:
        choices = {"flip": ("decoder", "encoder", "both"), "unseen": ("error", "ignore")}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ConfigError(f"{name}={getattr(self, name)!r} is not known", allowed=", ".join(allowed))
        if self.attempts < 1 or self.snap_back < 0:
            raise ConfigError(
                f"attempts={self.attempts!r}, snap_back={self.snap_back!r}",
                allowed="attempts from 1, snap_back from 0",
            )
        reached = {"decoder": self.condition_decoder, "encoder": self.condition_encoder}
        if not all(reached[part] for part in (reached if self.flip == "both" else (self.flip,))):
            raise ConfigError(
                f"flip={self.flip!r}, but that part is not conditioned",
                do="set condition_encoder or condition_decoder to True to match",
            )

    def _read_training_table(self, X: Any) -> Table:
        """Learn the columns of the training table, and what is to be said about them."""
        self._check_parameters()
        frame = as_frame(X)
        if isinstance(X, pd.DataFrame) and all(isinstance(name, str) for name in frame.columns):
            self.feature_names_in_ = np.asarray(frame.columns, dtype=object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        self.n_features_in_ = frame.shape[1]
        if len(frame) < 2:
            raise DataError(f"the table has {len(frame)} sample", allowed="2 rows and more")
        check_names(self.immutable, frame.columns, "immutable")
        self.immutable_ = tuple(self.immutable)
        self.encoder_ = TableEncoder.fit(frame, categorical=self.categorical, numeric=self.numeric)
        varying = set(self.encoder_.names) - set(self.encoder_.constants)
        if varying <= set(self.immutable_):
            raise ConfigError(
                "every column that varies is immutable",
                allowed="at least one that may change",
                do="shorten immutable",
            )
        warn_about(frame, self.encoder_)
        return Table(frame, self.encoder_.read(frame))

    @property
    def columns_(self) -> pd.DataFrame:
        """What each column was taken as: number, category or constant, its range, whether it may change."""
        check_is_fitted(self, "encoder_")
        return describe_columns(self.encoder_.columns, self.immutable_)

    def _shape(self, outcomes: int, *, predictor: bool) -> NetworkShape:
        settings, encoder = self.settings_, self.encoder_
        head: Literal["binary", "classes", "number"] = self._head
        if head == "classes" and outcomes == 2:
            head, outcomes = "binary", 1
        return NetworkShape(
            width=encoder.width,
            numbers=tuple(
                p for p, column in enumerate(encoder.numbers) if column.name not in self.immutable_
            ),
            groups=tuple(
                group
                for group, column in zip(encoder.groups, encoder.categories, strict=True)
                if column.name not in self.immutable_
            ),
            head=head,
            outcomes=outcomes,
            share_size=settings.share_size,
            middle_size=settings.middle_size,
            latent_size=settings.latent_size,
            predictor=predictor,
            shared=getattr(self, "shared_encoder", True),
            condition_encoder=self.condition_encoder,
            condition_decoder=self.condition_decoder,
        )

    def _train(self, table: Table, outcomes: int, targets: Mapping[str, np.ndarray]) -> None:
        """Build and train the network on the table and `y` or `condition`; sets network_ and training_."""
        names = [field.name for field in fields(VCNetSettings)]
        settings = resolve_settings(self.preset, **{n: getattr(self, n, None) for n in names})
        self.settings_ = replace(settings, epochs=settings.epochs_for(len(table.rows), self._most_epochs))
        shape = self._shape(outcomes, predictor="y" in targets)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        tensors = {name: torch.as_tensor(value, dtype=torch.float32) for name, value in targets.items()}
        tensors["x"] = torch.as_tensor(self.encoder_.matrix(table.rows), dtype=torch.float32)
        tensors["known"] = torch.as_tensor(self._known(table.rows, shape), dtype=torch.float32)
        with preserved(choose_device(self.device)):
            torch.manual_seed(seed)
            network = VCNetNetwork(shape)
            task = VCNetTask(network, self.settings_, len(table.rows))
            self.training_ = train_task(
                task, tensors, settings=self.settings_, seed=seed, device=self.device, verbose=self.verbose
            )
        self._set_network(network)

    def _set_network(self, network: VCNetNetwork) -> None:
        # In float64 a row's outcome does not depend on the rows beside it (to 1e-15), so that a flag of
        # validity is the same for one row and for a million.
        self.network_ = network.double().eval().requires_grad_(False)

    def _known(self, rows: Rows, shape: NetworkShape) -> np.ndarray:
        """(N, U) 0 at numbers whose cell is empty; an empty category is a level of its own, and known."""
        known = np.ones((len(rows), len(shape.outputs)))
        known[:, : len(shape.numbers)] = ~np.isnan(rows.numbers[:, list(shape.numbers)])
        return known

    # Proposing

    def _matrix(self, rows: Rows) -> Tensor:
        return torch.from_numpy(self.encoder_.matrix(rows))

    @torch.inference_mode()
    def _propose(
        self, table: Table, rows: np.ndarray, goal: Goal, attempt: int, generator: np.random.Generator
    ) -> Proposal | None:
        network, x = self.network_, self._matrix(table.rows)
        wanted = torch.from_numpy(goal.condition[rows])
        now = wanted
        if self.flip != "both" and self.condition_encoder:
            now = self._condition_now(table, x)
        mean, log_variance = network.encode(x, now if self.flip == "decoder" else wanted)
        latent = mean
        if attempt >= goal.mean_attempts:
            latent = self._draw(mean, log_variance, attempt, generator)
        raw = network.decode(latent, now if self.flip == "encoder" else wanted, x)
        return self._read_proposal(raw, x, attempt >= goal.mean_attempts, generator)

    def _condition_now(self, table: Table, x: Tensor) -> Tensor:
        """The soft condition (M, C) of rows as they are."""
        return self.network_.condition(self.network_.logits(x))

    def _draw(
        self, mean: Tensor, log_variance: Tensor, attempt: int, generator: np.random.Generator
    ) -> Tensor:
        noise = torch.from_numpy(generator.standard_normal(mean.shape))
        if attempt > self.attempts * _PRIOR_SHARE and attempt % 2:
            # A row that is hard from where it stands: anywhere the model of the target's rows reaches.
            return noise
        return mean + (0.5 * log_variance).exp() * noise

    def _read_proposal(self, raw: Tensor, x: Tensor, draw: bool, generator: np.random.Generator) -> Proposal:
        shape, encoder = self.network_.shape, self.encoder_
        numbers = x[:, : len(encoder.numbers)].clone()
        numbers[:, list(shape.numbers)] = raw[:, : len(shape.numbers)].sigmoid()
        # A column that the network does not write keeps its one-hot values as scores, and so its category.
        written = {place: at for at, place in enumerate(shape.outputs)}
        scores = []
        for (start, _), category in zip(encoder.groups, encoder.categories, strict=True):
            source, begin = (raw, written[start]) if start in written else (x, start)
            part = source[:, begin : begin + len(category.categories)].numpy()
            if draw and start in written:
                part = part + generator.gumbel(size=part.shape)
            scores.append(part)
        return Proposal(numbers.numpy(), scores)

    # Artifacts

    def _check_ready(self) -> None:
        check_is_fitted(self, "network_")

    def _read(self, X: Any) -> Table:
        self._check_ready()
        frame = match_frame(X, self.encoder_.names, type(self).__name__)
        return Table(frame, self.encoder_.read(frame, unseen=self.unseen))

    @property
    def card(self) -> ModelCard:
        """The model card; assign another to describe the data."""
        default = ModelCard(name=type(self).__name__, kind=self.kind)
        return self.__dict__.get("card_", default)

    @card.setter
    def card(self, card: ModelCard) -> None:
        self.card_ = card

    def save(self, folder: str | Path, recipe: Mapping[str, Any] | None = None) -> None:
        """Write the model as an artifact folder that `hortus.load` opens, whole or not at all."""
        from hortus.counterfactual.storage import save_model

        save_model(self, folder, recipe)
