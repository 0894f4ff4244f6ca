"""HACNet: the ensemble as an estimator. Fit on complexes, predict pK with its parts, spread and error.

The prediction is the plain mean of the parts (HAC-Net section 2.5). The error bar comes from the residuals of
the validation complexes, which no network was fitted to (split conformal prediction): it is as honest as
those complexes are like the user's.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hortus.affinity.complexes import Complex
from hortus.affinity.config import FitConfig, HACNetConfig, PreparationConfig
from hortus.affinity.evaluation import evaluate
from hortus.affinity.fast_convolution import FastConvolution
from hortus.affinity.fitting import fit_networks
from hortus.affinity.graph_network import graph_batch
from hortus.affinity.learning import published_training
from hortus.affinity.networks import build_networks, load_checked
from hortus.affinity.prediction import Prediction, predict_poses
from hortus.affinity.published import published_networks
from hortus.affinity.voxels import voxel_batch
from hortus.artifact import ModelCard, read_config, read_tensors, resolve_folder, write_artifact
from hortus.config import from_mapping, to_mapping
from hortus.errors import ArtifactError, ConfigError, DataError
from hortus.training import TrainingConfig

__all__ = ["HACNet", "untrained"]

_BATCH = 8


class HACNet:
    """Binding affinity from posed complexes: a 3D-CNN and graph networks, their outputs averaged.

    Args:
        config: a HACNetConfig, or its size: "full", "half" or "graph".
        training: settings by part, {"cnn": ..., "head": ..., "gcn": ...}; what lacks is as published.
        validation_share: share of the complexes set aside to choose epochs and to calibrate the error.
        seed: of the split and of all training.
        folder: where checkpoints and logs go (default: a temporary folder).
        quiet: print no progress.

    >>> model = HACNet("graph")
    >>> model.get_params()["validation_share"]
    0.1
    """

    kind = "hacnet"
    card_: ModelCard | None = None
    _fast: FastConvolution | None = None

    def __init__(
        self,
        config: HACNetConfig | str = "full",
        *,
        training: Mapping[str, TrainingConfig] | None = None,
        validation_share: float = 0.1,
        seed: int = 0,
        folder: str | Path | None = None,
        quiet: bool = True,
    ) -> None:
        self.config, self.training, self.validation_share = config, training, validation_share
        self.seed, self.folder, self.quiet = seed, folder, quiet

    # scikit-learn's form

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments."""
        names = ("config", "training", "validation_share", "seed", "folder", "quiet")
        return {name: getattr(self, name) for name in names}

    def set_params(self, **parameters: Any) -> HACNet:
        """Change the constructor's arguments."""
        for name, value in parameters.items():
            if name not in self.get_params():
                raise ConfigError(f"HACNet has no parameter {name!r}", allowed=", ".join(self.get_params()))
            setattr(self, name, value)
        return self

    def fit(
        self,
        complexes: Sequence[Complex],
        pk: Sequence[float] | np.ndarray,
        validation: Sequence[int] | None = None,
    ) -> HACNet:
        """Train every part.

        Args:
            complexes: a list or a ComplexStore.
            pk: (n,) labels; any number that is a property of a complex.
            validation: rows that choose epochs and calibrate the error; default: drawn by validation_share.

        Raises:
            DataError: fewer than two complexes to train on, other numbers of labels, a label not finite.
        """
        labels = np.asarray(pk, dtype=np.float64)
        if labels.shape != (len(complexes),) or not np.isfinite(labels).all():
            raise DataError(
                f"{labels.shape} labels for {len(complexes)} complexes", allowed="one finite number each"
            )
        held = self._validation_rows(len(labels), validation)
        rows = np.setdiff1d(np.arange(len(labels)), held)
        if len(rows) < 2:
            raise DataError(f"{len(rows)} complexes to train on", allowed="two or more")
        config = self.config if isinstance(self.config, HACNetConfig) else HACNetConfig.size(self.config)
        self.config_ = replace(config, label_mean=float(labels[rows].mean()))
        self.networks_ = build_networks(self.config_, self.seed)
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(self.folder or temporary)
            self.results_ = fit_networks(self, complexes, labels, rows, held, folder)
        self._filled(self.config_, self.networks_, domain=_domain(complexes, labels, rows))
        if len(held) >= 5:
            self.calibrate([complexes[int(row)] for row in held], labels[held])
        return self

    def _validation_rows(self, count: int, validation: Sequence[int] | None) -> np.ndarray:
        if validation is not None:
            return np.asarray(validation, dtype=np.int64)
        if not 0 <= self.validation_share < 1:
            raise ConfigError(f"validation_share={self.validation_share!r}", allowed="0 to below 1")
        number = round(self.validation_share * count)
        return np.sort(np.random.default_rng(self.seed).permutation(count)[:number])

    def calibrate(self, complexes: Sequence[Complex], pk: Sequence[float] | np.ndarray) -> HACNet:
        """Learn the error bar from complexes that no network was fitted to.

        Split conformal: the half-width that holds a share s is the ceil(s (n + 1))-th smallest residual.
        """
        residuals = np.sort(np.abs(self.predict(complexes) - np.asarray(pk, float)))
        count = len(residuals)
        self.error_ = {"n": count, "rmse": float(np.sqrt((residuals**2).mean()))}
        for share in (0.68, 0.95):
            rank = int(np.ceil(share * (count + 1)))
            # Too few complexes can't promise this share: the largest residual is the best there is.
            self.error_[f"half_width_{share:.0%}"] = float(residuals[min(rank, count) - 1])
        return self

    def predict(self, complexes: Sequence[Complex]) -> np.ndarray:
        """(n,) predictions, in the unit of the labels."""
        return np.mean(list(self.predict_parts(complexes).values()), axis=0)

    def predict_parts(
        self, complexes: Sequence[Complex], *, compat_single: bool = False
    ) -> dict[str, np.ndarray]:
        """{part: (n,)}: what each network says.

        Args:
            compat_single: repeat the official single-complex path, where a batch of one skips the last batch
                normalisation.

        Raises:
            ConfigError: the model is not fitted.
        """
        self._check_fitted()
        outputs: dict[str, list[np.ndarray]] = {part: [] for part in self.config_.parts}
        step = 1 if compat_single else _BATCH
        for start in range(0, len(complexes), step):
            batch = [complexes[i] for i in range(start, min(start + step, len(complexes)))]
            for part, values in self._outputs(batch, compat_single).items():
                outputs[part].append(values)
        mean = self.config_.label_mean
        return {part: np.concatenate([np.empty(0), *values]) + mean for part, values in outputs.items()}

    @torch.no_grad()
    def _outputs(self, batch: Sequence[Complex], compat_single: bool) -> dict[str, np.ndarray]:
        graphs = graph_batch(batch, self.config_.graph.cutoff)
        result = {}
        for part in self.config_.parts:
            if part == "cnn":
                values = self._convolve(batch, compat_single)
            else:
                network = self.networks_[part]
                device = next(network.parameters()).device
                values = network({name: tensor.to(device) for name, tensor in graphs.items()})
            result[part] = values.double().cpu().numpy()
        return result

    def _convolve(self, batch: Sequence[Complex], compat_single: bool) -> Tensor:
        grid = self.config_.grid
        network = self.networks_["cnn"]
        device = next(network.parameters()).device
        if device.type == "cpu" and grid.spread == 0:
            if self._fast is None:
                self._fast = FastConvolution(network)
            return self._fast(batch, compat_single)
        voxels = voxel_batch(batch, grid)["voxels"]
        return network({"voxels": voxels.to(device)}, compat_single)

    def score(self, complexes: Sequence[Complex], pk: Sequence[float] | np.ndarray) -> float:
        """r², the coefficient of determination."""
        return evaluate(pk, self.predict(complexes), resamples=0)["r2"]["value"]

    def predict_files(
        self, protein: str | Path, ligand: str | Path, *, compat: bool = False
    ) -> list[Prediction]:
        """One prediction for each molecule of the ligand file. A bad pose is a Prediction with a reason.

        Args:
            protein: PDB or mmCIF, whole protein or pocket.
            ligand: SDF, MOL2 or CXSMILES, posed in the protein's frame.
            compat: repeat the official single-complex behaviour.

        Raises:
            DataError: one of the files can't be read at all.
        """
        self._check_fitted()
        return list(predict_poses(self, protein, ligand, compat=compat))

    # Artifact

    @property
    def card(self) -> ModelCard:
        """The model card."""
        return self.card_ or self._make_card()

    def _make_card(self) -> ModelCard:
        results: dict[str, float | str] = {f"validation {k}": v for k, v in self.error_.items()}
        notes = [f"Predicts {self.config_.target}.", *self.config_.notes]
        count = self.domain_.get("n")
        data = f"{count} complexes; settings of their preparation are in config.json." if count else ""
        return ModelCard(name="HAC-Net", kind=self.kind, data=data, results=results, notes=" ".join(notes))

    def save(self, folder: str | Path, recipe: Mapping[str, Any] | None = None) -> None:
        """Write the artifact folder, whole or not at all."""
        self._check_fitted()
        config = {"model_type": self.kind, "hacnet": to_mapping(self.config_)}
        config |= {"error": self.error_, "domain": self.domain_}
        tensors = dict(nn.ModuleDict(self.networks_).state_dict())
        write_artifact(folder, config=config, tensors=tensors, card=self.card, recipe=recipe)

    @classmethod
    def load(cls, folder: str | Path, *, device: str = "cpu") -> HACNet:
        """Open an artifact folder.

        Raises:
            ArtifactError: not such a folder, or tensors that do not fit its config.
        """
        from hortus.device import choose_device

        folder = resolve_folder(folder)
        stored = read_config(folder)
        if stored["model_type"] != cls.kind:
            raise ArtifactError(f"{folder} is a {stored['model_type']!r} model", allowed=cls.kind)
        config = from_mapping(HACNetConfig, stored.get("hacnet"), "hacnet")
        networks = build_networks(config)
        load_checked(nn.ModuleDict(networks), read_tensors(folder), folder)
        for network in networks.values():
            network.to(choose_device(device))
        model = cls(config)._filled(config, networks, stored.get("error", {}), stored.get("domain", {}))
        model.card_ = ModelCard.read(folder)
        return model

    @classmethod
    def from_published(
        cls, graph_files: Sequence[str | Path], cnn: str | Path | None = None, mlp: str | Path | None = None
    ) -> HACNet:
        """The ensemble of the published checkpoint files that a user has.

        Args:
            graph_files: GCN0_parameters.pt, GCN1_parameters.pt.
            cnn: CNN_parameters.pt; without it the ensemble is of graph networks only, and says so.
            mlp: MLP_parameters.pt, the CNN's second read-out; of use only with the CNN.

        Raises:
            ArtifactError: a file is not the published network.
            ConfigError: no file, or the read-out without the CNN.
        """
        config, networks = published_networks(graph_files, cnn, mlp)
        return cls(config)._filled(config, networks)

    def _filled(
        self,
        config: HACNetConfig,
        networks: dict[str, Any],
        error: Mapping[str, float] | None = None,
        domain: Mapping[str, float] | None = None,
    ) -> HACNet:
        self.config_, self.networks_ = config, networks
        self.error_, self.domain_ = dict(error or {}), dict(domain or {})
        self._fast = None
        for network in networks.values():
            network.eval()
        return self

    def _check_fitted(self) -> None:
        if not hasattr(self, "networks_"):
            raise ConfigError("this HACNet is not fitted", do="call fit, or hortus.load a folder")


def untrained(
    config: FitConfig, preparation: PreparationConfig, folder: Path, target: str | None = None
) -> HACNet:
    """The model that `config` describes, for complexes prepared as `preparation` says, before its fit."""
    plan = HACNetConfig.size(config.size, preparation=preparation)
    plan = replace(plan, grid=replace(plan.grid, rotations=config.rotations), target=target or plan.target)
    training = {}
    for part in ("cnn", "head", "gcn"):
        plain = published_training(part)
        epochs, size = config.epochs.get(part, plain.epochs), config.batch.get(part, plain.batch_size)
        training[part] = replace(plain, epochs=epochs, batch_size=size)
    share, seed = config.validation_share, config.seed
    return HACNet(plan, training=training, validation_share=share, seed=seed, folder=folder, quiet=False)


def _domain(complexes: Sequence[Complex], labels: np.ndarray, rows: np.ndarray) -> dict[str, float]:
    mass = [complexes[int(row)].ligand_mass for row in rows]
    domain = {"n": len(rows), "label_low": float(labels[rows].min()), "label_high": float(labels[rows].max())}
    if np.isfinite(mass).all():
        domain |= {"mass_low": float(np.min(mass)), "mass_high": float(np.max(mass))}
    return domain
