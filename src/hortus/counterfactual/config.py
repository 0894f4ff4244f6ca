"""Hyper-parameters of VCNet, those published for it, and the settings of its recipe stage.

The published values are of the authors' port of VCNet to CARLA; "demo" is the default of their research
code. `default` is ours: the published learning rates are so low that small tables would not be learned.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from hortus.errors import ConfigError, nearest

__all__ = ["METHODS", "PRESETS", "Reconstruction", "StageConfig", "VCNetSettings", "resolve_settings"]

Reconstruction = Literal["cross_entropy", "squared_error"]
METHODS = ("vcnet", "posthoc", "counternet", "gradient", "nearest", "dice")

_AUTOMATIC_STEPS = 2500
# With more than 60 the predictor learns small tables by heart (breast cancer: -1 point of accuracy).
_FEWEST_EPOCHS, _MOST_EPOCHS = 20, 60


@dataclass(frozen=True, kw_only=True)
class VCNetSettings:
    """Sizes, losses and length of training.

    >>> PRESETS["adult"].latent_size
    19
    """

    learning_rate: float = 1e-3
    """Learning rate of Adam, constant."""
    batch_size: int = 128
    """Rows in one step."""
    epochs: int | None = None
    """Passes over the table (default: as many as make about 2,500 steps, from 20 to 60)."""
    share_size: int = 128
    """Width of the layer that predictor and encoder share (S)."""
    middle_size: int = 64
    """Width of the hidden layer of encoder and decoder (M)."""
    latent_size: int = 16
    """Dimensions of the latent code (L)."""
    prediction_weight: float = 10.0
    """Weight of the prediction loss."""
    reconstruction_weight: float = 1.0
    """Weight of the reconstruction loss."""
    kl_step: float = 0.1
    """What is added to the weight of the Kullback-Leibler term after each epoch; it starts at 0."""
    kl_max: float = 1.0
    """Largest weight of the Kullback-Leibler term."""
    reconstruction: Reconstruction = "cross_entropy"
    """Loss of the decoder."""
    clamp_kl: bool = True
    """Hold the weight at kl_max; the published code overshoots it."""
    detach_condition: bool = True
    """Keep the reconstruction from shaping the predictor through the condition; published: not so."""
    validity_weight: float = 1.0
    """Weight of a loss that teaches the decoder to reach the target (ours; published: none)."""

    def __post_init__(self) -> None:
        for name in ("learning_rate", "batch_size", "share_size", "middle_size", "latent_size", "epochs"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise ConfigError(f"{name}={value!r} is out of range", allowed="numbers above 0")
        for name in ("prediction_weight", "reconstruction_weight", "kl_step", "kl_max", "validity_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"{name}={getattr(self, name)!r} is out of range", allowed="0 and above")
        if self.reconstruction not in get_args(Reconstruction):
            raise ConfigError(
                f"reconstruction={self.reconstruction!r}", allowed=" or ".join(get_args(Reconstruction))
            )

    def epochs_for(self, num_rows: int, most: int = _MOST_EPOCHS) -> int:
        """Passes over a table of so many rows, at most `most` where the number is automatic.

        >>> VCNetSettings().epochs_for(32_000), VCNetSettings().epochs_for(500)
        (20, 60)
        """
        if self.epochs is not None:
            return self.epochs
        wanted = math.ceil(_AUTOMATIC_STEPS * self.batch_size / num_rows)
        return min(max(wanted, _FEWEST_EPOCHS), most)


_COLUMNS: tuple[str, ...] = (
    "learning_rate",
    "batch_size",
    "epochs",
    "prediction_weight",
    "reconstruction_weight",
)
_COLUMNS += ("latent_size", "share_size", "middle_size", "kl_step", "kl_max")
_PUBLISHED: dict[str, tuple[Any, ...]] = {
    "adult": (1.14e-5, 91, 176, 0.93, 1.0, 19, 304, 152, 0.112, 0.034),
    "compas": (2.47e-5, 54, 99, 0.86, 1.0, 4, 356, 178, 0.369, 0.12),
    "give_me_some_credit": (6.4e-4, 33, 178, 0.67, 0.1, 21, 296, 148, 0.27, 0.20),
    "demo": (9e-4, 40, 5, 0.20, 1e-4, 7, 284, 142, 0.38, 0.38),
}
PRESETS = {"default": VCNetSettings()} | {
    name: VCNetSettings(
        **dict(zip(_COLUMNS, values, strict=True)), detach_condition=False, validity_weight=0.0
    )
    for name, values in _PUBLISHED.items()
}


def resolve_settings(preset: str, **overrides: Any) -> VCNetSettings:
    """A preset with some of its values replaced; None keeps the preset's.

    Raises:
        ConfigError: no such preset; a value out of range.

    >>> resolve_settings("compas", epochs=3).epochs
    3
    """
    if preset not in PRESETS:
        raise ConfigError(f"preset={preset!r} is not known", do=nearest(str(preset), PRESETS))
    return replace(PRESETS[preset], **{n: value for n, value in overrides.items() if value is not None})


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """The recipe stage `counterfactual`: fit on a table, compare methods, write the model and cards."""

    data: str = "breast-cancer"
    """A CSV file, or breast-cancer: the table that scikit-learn brings."""
    target: str = "diagnosis"
    """Column that is predicted."""
    immutable: tuple[str, ...] = ()
    """Columns that never change."""
    preset: str = "default"
    """Name of the hyper-parameters."""
    epochs: int | None = None
    """Passes over the table (default: the preset's)."""
    methods: tuple[str, ...] = ("vcnet", "gradient", "nearest")
    """What is compared: vcnet, posthoc, counternet, gradient, nearest, dice."""
    splits: int = 3
    """Parts of the cross-validation."""
    rows: int = 100
    """At most so many rows of each held-out part are explained."""
    cards: int = 3
    """Counterfactuals shown in words."""
    seed: int = 0
    """Seed of the splits and of training."""

    def files(self) -> list[Path]:
        """The user's files that the result depends on."""
        return [] if self.data == "breast-cancer" else [Path(self.data)]
