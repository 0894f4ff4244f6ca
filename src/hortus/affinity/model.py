"""HACNet: the ensemble as an estimator. Fit on complexes, predict pK with its parts, spread and error.

The prediction is the plain mean of the parts (HAC-Net section 2.5). The error bar comes from the residuals of
the validation complexes, which no network was fitted to (split conformal prediction): it is as honest as
those complexes are like the user's.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hortus.affinity.complexes import Complex, PreparedReceptor
from hortus.affinity.config import HACNetConfig
from hortus.affinity.convolution import ConvolutionNetwork
from hortus.affinity.evaluation import evaluate
from hortus.affinity.fast_convolution import FastConvolution
from hortus.affinity.fitting import fit_networks
from hortus.affinity.graph_network import GraphNetwork, graph_batch
from hortus.affinity.ligand import BadLigand, read_ligands
from hortus.affinity.published import (
    CONVOLUTION_NAMES,
    GRAPH_NAMES,
    HEAD_NAMES,
    from_published,
    read_checkpoint,
)
from hortus.affinity.receptor import read_receptor
from hortus.affinity.voxels import voxelize
from hortus.artifact import (
    ModelCard,
    check_tensors,
    read_config,
    read_tensors,
    resolve_folder,
    write_artifact,
)
from hortus.config import from_mapping, to_mapping
from hortus.errors import ArtifactError, ConfigError, DataError, HortusError
from hortus.training import TrainingConfig

__all__ = ["HACNet", "Prediction", "complex_or_reason"]

_BATCH = 8
_GUARD = 50.0  # the official single-complex path drops a CNN output this far off


@dataclass(frozen=True)
class Prediction:
    """What is said about one pose.

    Args:
        value: the mean of the parts, NaN where `reason` says why there is none.
        parts: output of each network.
        spread: standard deviation of the parts.
        low, high: the interval that held 95 % of the validation complexes; NaN when never calibrated.
    """

    name: str
    value: float = float("nan")
    parts: Mapping[str, float] = field(default_factory=dict)
    spread: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    warnings: tuple[str, ...] = ()
    reason: str = ""


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
        self.networks_ = _build(self.config_, self.seed)
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(self.folder or temporary)
            self.results_ = fit_networks(self, complexes, labels, rows, held, folder)
        self._arrange()
        self.domain_ = _domain(complexes, labels, rows)
        self.error_: dict[str, float] = {}
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
        voxels = torch.from_numpy(np.stack([voxelize(one, grid) for one in batch])).to(device)
        return network({"voxels": voxels}, compat_single)

    def score(self, complexes: Sequence[Complex], pk: Sequence[float] | np.ndarray) -> float:
        """r², the coefficient of determination."""
        return evaluate(pk, self.predict(complexes), resamples=0)["r2"]["value"]

    # Files in, answers out

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
        return list(self.iterate_files(protein, ligand, compat=compat))

    def iterate_files(
        self, protein: str | Path, ligand: str | Path, *, compat: bool = False
    ) -> Iterator[Prediction]:
        """As `predict_files`, one after another: the receptor is prepared once, memory stays flat."""
        self._check_fitted()
        receptor = PreparedReceptor(read_receptor(protein), self.config_.preparation)
        waiting: list[Complex | Prediction] = []
        for entry in read_ligands(ligand):
            waiting.append(complex_or_reason(receptor, entry))
            if len(waiting) == _BATCH:
                yield from self.describe(waiting, compat=compat)
                waiting = []
        yield from self.describe(waiting, compat=compat)

    def describe(self, entries: Sequence[Complex | Prediction], *, compat: bool = False) -> list[Prediction]:
        """Predictions for complexes; entries that are predictions already (failures) pass through."""
        complexes = [entry for entry in entries if isinstance(entry, Complex)]
        if not complexes:
            return [entry for entry in entries if isinstance(entry, Prediction)]
        parts = self.predict_parts(complexes, compat_single=compat)
        rows = iter(range(len(complexes)))
        return [
            entry if isinstance(entry, Prediction) else self._one(entry, parts, next(rows), compat)
            for entry in entries
        ]

    def _one(self, one: Complex, parts: Mapping[str, np.ndarray], row: int, compat: bool) -> Prediction:
        values = {part: float(outputs[row]) for part, outputs in parts.items()}
        used, notes = list(values.values()), [*one.warnings, *self._outside(one)]
        if compat and abs(values.get("cnn", 0.0)) >= _GUARD and len(values) > 1:
            used = [value for part, value in values.items() if part != "cnn"]
            notes.append("the CNN's output is out of range and was left out (compat)")
        value, reach = float(np.mean(used)), self.error_.get("half_width_95%", float("nan"))
        spread = float(np.std(used)) if len(used) > 1 else float("nan")
        return Prediction(one.name, value, values, spread, value - reach, value + reach, tuple(notes))

    def _outside(self, one: Complex) -> list[str]:
        low, high = self.domain_.get("mass_low"), self.domain_.get("mass_high")
        if low is not None and high is not None and not 0.9 * low <= one.ligand_mass <= 1.1 * high:
            return [
                f"ligand mass {one.ligand_mass:.0f} is outside the training range {low:.0f}-{high:.0f} g/mol"
            ]
        return []

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
        tensors = {
            f"{part}.{name}": t
            for part, net in self.networks_.items()
            for name, t in net.state_dict().items()
        }
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
        model = cls(from_mapping(HACNetConfig, stored.get("hacnet"), "hacnet"))
        model.config_ = model.config  # type: ignore[assignment]
        model.error_, model.domain_ = dict(stored.get("error", {})), dict(stored.get("domain", {}))
        model.networks_ = _build(model.config_, seed=0)
        tensors = read_tensors(folder)
        expected = {
            f"{part}.{name}": tuple(t.shape)
            for part, net in model.networks_.items()
            for name, t in net.state_dict().items()
        }
        check_tensors(expected, {name: tuple(t.shape) for name, t in tensors.items()}, folder)
        for part, network in model.networks_.items():
            network.load_state_dict(
                {n.removeprefix(f"{part}."): t for n, t in tensors.items() if n.startswith(f"{part}.")}
            )
            network.to(choose_device(device))
        model._arrange()
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
        from hortus.affinity.config import PreparationConfig

        if mlp is not None and cnn is None:
            raise ConfigError(
                "the MLP file is the CNN's read-out", do="give the CNN file too, or leave it out"
            )
        parts = (["cnn"] if cnn else []) + [f"gcn{i}" for i in range(len(graph_files))]
        if not parts:
            raise ConfigError("no checkpoint is named", allowed="--gcn FILE (twice), --cnn FILE, --mlp FILE")
        notes = ["Converted from the published checkpoints (MIT licence)."]
        if graph_files:
            notes.append("The GCN checkpoints were selected on the 2016 core set itself.")
        if cnn is None:
            notes.append("GCN only; its checkpoint was selected on the core set.")
        model = cls(
            HACNetConfig(
                parts=tuple(parts), preparation=PreparationConfig.preset("hacnet"), notes=tuple(notes)
            )
        )
        model.config_, model.error_, model.domain_ = model.config, {}, {}  # type: ignore[assignment]
        model.networks_ = _build(model.config_, seed=0)
        for number, path in enumerate(graph_files):
            found = from_published(read_checkpoint(path), GRAPH_NAMES, str(path))
            _load_checked(model.networks_[f"gcn{number}"], found, path)
        if cnn is not None:
            _load_checked(
                model.networks_["cnn"], from_published(read_checkpoint(cnn), CONVOLUTION_NAMES, str(cnn)), cnn
            )
        if mlp is not None:
            _load_checked(
                model.networks_["cnn"].head, from_published(read_checkpoint(mlp), HEAD_NAMES, str(mlp)), mlp
            )
        model._arrange()
        return model

    def _arrange(self) -> None:
        self._fast = None
        for network in self.networks_.values():
            network.eval()

    def _check_fitted(self) -> None:
        if not hasattr(self, "networks_"):
            raise ConfigError("this HACNet is not fitted", do="call fit, or hortus.load a folder")


def _build(config: HACNetConfig, seed: int) -> dict[str, Any]:
    networks: dict[str, Any] = {}
    with torch.random.fork_rng(devices=[]):
        for number, part in enumerate(config.parts):
            torch.manual_seed(seed + number)
            if part == "cnn":
                networks[part] = ConvolutionNetwork(config.convolution, config.grid)
            else:
                networks[part] = GraphNetwork(config.graph)
    return networks


def _load_checked(network: nn.Module, found: Mapping[str, Tensor], path: str | Path) -> None:
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    check_tensors(expected, {name: tuple(tensor.shape) for name, tensor in found.items()}, path)
    network.load_state_dict(dict(found))


def complex_or_reason(receptor: PreparedReceptor, entry: Any) -> Complex | Prediction:
    """The complex of a pose, or a prediction that says why there is none."""
    if isinstance(entry, BadLigand):
        return Prediction(entry.name, reason=entry.reason)
    try:
        return receptor.complex_with(entry)
    except HortusError as error:
        return Prediction(entry.name, reason=str(error))


def _domain(complexes: Sequence[Complex], labels: np.ndarray, rows: np.ndarray) -> dict[str, float]:
    mass = [complexes[int(row)].ligand_mass for row in rows]
    domain = {"n": len(rows), "label_low": float(labels[rows].min()), "label_high": float(labels[rows].max())}
    if np.isfinite(mass).all():
        domain |= {"mass_low": float(np.min(mass)), "mass_high": float(np.max(mass))}
    return domain
