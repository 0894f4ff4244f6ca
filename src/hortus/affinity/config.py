"""Settings of the affinity room: how complexes are prepared, put on a grid, learnt and calibrated.

Lengths are in Å. Only the standard library and the ground are imported.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from hortus.errors import ConfigError, nearest

__all__ = [
    "NUM_FEATURES",
    "ConvolutionConfig",
    "FitConfig",
    "GraphConfig",
    "GridConfig",
    "HACNetConfig",
    "PreparationConfig",
]

NUM_FEATURES = 19


def _require(holds: bool, name: str, value: object, allowed: str) -> None:
    if not holds:
        raise ConfigError(f"{name}={value!r} is out of range", allowed=allowed)


@dataclass(frozen=True, kw_only=True)
class PreparationConfig:
    """From files to atoms with features. The preset "hacnet" repeats the published preparation.

    >>> PreparationConfig.preset("hacnet").typing
    'hacnet'
    """

    pocket_cutoff: float = 8.0
    """Keep a residue with an atom this close to a heavy atom of the ligand."""
    pocket_rule: Literal["heavy", "polar"] = "heavy"
    """Which receptor atoms count for the cut: heavy ones, or also hydrogens on N, O and S (as PDBbind)."""
    water: bool = True
    """Keep water molecules of the pocket."""
    metals: bool = True
    """Keep metal ions of the pocket."""
    cofactors: bool = True
    """Keep other molecules (cofactors, sugars, buffers) of the pocket."""
    receptor_charges: Literal["gasteiger", "eqeq", "zero"] = "gasteiger"
    """Partial charges of the pocket. EQeq needs hydrogens with places, which are added where they lack."""
    ligand_charges: Literal["gasteiger", "file", "zero"] = "gasteiger"
    """Partial charges of the ligand; "file" takes those of a MOL2 file unless they are formal charges."""
    typing: Literal["chemical", "hacnet"] = "chemical"
    """Bond orders of the pocket: chemically right, or as the published features had them (see compat)."""
    maximum_distance: float = 6.0
    """Warn when no ligand atom comes this close to the receptor."""

    def __post_init__(self) -> None:
        _require(0 < self.pocket_cutoff <= 50, "pocket_cutoff", self.pocket_cutoff, "above 0, at most 50 Å")
        _require(self.maximum_distance > 0, "maximum_distance", self.maximum_distance, "above 0 Å")

    @classmethod
    def preset(cls, name: str) -> PreparationConfig:
        """ "default", or "hacnet": what feeds the published weights.

        Raises:
            ConfigError: another name.
        """
        presets = {
            "default": cls(),
            "hacnet": cls(
                pocket_rule="polar", receptor_charges="eqeq", ligand_charges="file", typing="hacnet"
            ),
        }
        if name not in presets:
            raise ConfigError(f"preset {name!r} is not known", do=nearest(name, presets))
        return presets[name]


@dataclass(frozen=True, kw_only=True)
class GridConfig:
    """The box of voxels that the 3D-CNN reads. The defaults are the published ones."""

    size: int = 48
    """Voxels along each axis."""
    spacing: float = 1.0
    """Edge of a voxel."""
    spread: float = 0.0
    """Standard deviation of the Gaussian over which an atom is spread; 0 puts it in one voxel."""
    rotations: bool = False
    """Turn every training complex by a random rotation, a new one each epoch."""

    def __post_init__(self) -> None:
        _require(8 <= self.size <= 128, "grid.size", self.size, "8 to 128 voxels")
        _require(0 < self.spacing <= 8, "grid.spacing", self.spacing, "above 0, at most 8 Å")
        _require(0 <= self.spread <= 8, "grid.spread", self.spread, "0 to 8 Å")


@dataclass(frozen=True, kw_only=True)
class ConvolutionConfig:
    """The 3D-CNN: five convolutions, each (kernel, stride, padding). The defaults are the published ones.

    >>> ConvolutionConfig().output_sizes(48)
    (23, 23, 23, 8, 2)
    """

    channels: tuple[int, int, int] = (64, 128, 256)
    """Channels of the first three convolutions, of the fourth and of the fifth."""
    kernels: tuple[int, int, int, int, int] = (9, 7, 7, 7, 5)
    strides: tuple[int, int, int, int, int] = (2, 1, 1, 3, 2)
    paddings: tuple[int, int, int, int, int] = (3, 3, 3, 3, 2)
    head_width: int = 100
    """Width of the hidden layer of the read-out."""
    head_deviation: float = 1.0
    """Standard deviation of the read-out's first weights; with few complexes, 1 takes long to unlearn."""

    def __post_init__(self) -> None:
        for name in ("kernels", "strides"):
            _require(min(getattr(self, name)) >= 1, f"convolution.{name}", getattr(self, name), "1 and above")
        _require(min(self.channels) >= 16, "convolution.channels", self.channels, "16 and above")
        for i in (1, 2):
            same = self.strides[i] == 1 and 2 * self.paddings[i] + 1 == self.kernels[i]
            _require(
                same, "convolution.kernels", self.kernels, "a residual layer keeps the size of its input"
            )

    def output_sizes(self, grid_size: int) -> tuple[int, ...]:
        """Voxels along an axis after each convolution; the fifth follows a pooling by two.

        Raises:
            ConfigError: the grid is too small for the layers.
        """
        sizes, size = [], grid_size
        for i, (kernel, stride, padding) in enumerate(
            zip(self.kernels, self.strides, self.paddings, strict=True)
        ):
            size = (size // 2 if i == 4 else size) + 2 * padding - kernel
            if size < 0:
                raise ConfigError(f"grid.size={grid_size} is too small for convolution {i + 1}")
            size = size // stride + 1
            sizes.append(size)
        return tuple(sizes)


@dataclass(frozen=True, kw_only=True)
class GraphConfig:
    """The gated graph network. The defaults are the published ones."""

    cutoff: float = 3.5
    """Atoms this close are neighbours."""
    steps: int = 4
    """Rounds of messages."""
    gather_width: int = 128
    """Width of the read-out."""
    aggregation: Literal["sum", "attention"] = "sum"
    """How messages of neighbours join: their sum (as trained) or a softmax over them (as the paper says)."""

    def __post_init__(self) -> None:
        _require(0 < self.cutoff <= 20, "graph.cutoff", self.cutoff, "above 0, at most 20 Å")
        _require(self.steps >= 1, "graph.steps", self.steps, "1 and above")
        _require(self.gather_width >= 8, "graph.gather_width", self.gather_width, "8 and above")


_HALF = ConvolutionConfig(
    kernels=(5, 3, 3, 3, 3), strides=(2, 1, 1, 2, 2), paddings=(2, 1, 1, 1, 1), head_deviation=0.1
)


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """How an ensemble is trained on a prepared store."""

    size: Literal["full", "half", "graph"] = "half"
    """Which networks: full (48 voxels of 1 Å a side), half (24 of 2 Å), graph (no CNN)."""
    validation_share: float = 0.1
    """Share of the training complexes that chooses epochs and calibrates the error, where no split does."""
    epochs: dict[str, int] = field(default_factory=dict)
    """Epochs by part (cnn, head, gcn); what lacks is as published (100, 100, 300)."""
    batch: dict[str, int] = field(default_factory=dict)
    """Batch sizes by part; what lacks is as published (50, 50, 7)."""
    rotations: bool = False
    """Turn every training complex of the CNN at random, anew each epoch."""
    seed: int = 0
    """Seed of everything random."""


@dataclass(frozen=True, kw_only=True)
class HACNetConfig:
    """Everything that config.json of an artifact holds about a model."""

    parts: tuple[str, ...] = ("cnn", "gcn0", "gcn1")
    """Networks of the ensemble: one "cnn" and any number of "gcn0", "gcn1", ..."""
    grid: GridConfig = field(default_factory=GridConfig)
    convolution: ConvolutionConfig = field(default_factory=ConvolutionConfig)
    graph: GraphConfig = field(default_factory=GraphConfig)
    preparation: PreparationConfig = field(default_factory=PreparationConfig)
    target: str = "pK = -log10(Kd, Ki or IC50 in mol/L); higher binds tighter"
    """What the number means, its unit and direction."""
    label_mean: float = 0.0
    """Added to every output of the networks: the mean of the labels, or 0 for published weights."""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        known = all(part == "cnn" or (part[:3] == "gcn" and part[3:].isdigit()) for part in self.parts)
        unique = len(set(self.parts)) == len(self.parts)
        _require(bool(self.parts) and known and unique, "parts", self.parts, "cnn, gcn0, gcn1, ...")

    @classmethod
    def size(cls, name: str, **changes: Any) -> HACNetConfig:
        """ "full" (48³ at 1 Å), "half" (24³ at 2 Å, kernels halved: fits two cores) or "graph" (no CNN).

        Raises:
            ConfigError: another name.
        """
        sizes = {
            "full": cls(),
            "half": cls(grid=GridConfig(size=24, spacing=2.0), convolution=_HALF),
            "graph": cls(parts=("gcn0", "gcn1")),
        }
        if name not in sizes:
            raise ConfigError(f"size {name!r} is not known", do=nearest(name, sizes))
        return replace(sizes[name], **changes)
