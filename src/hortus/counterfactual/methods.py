"""The methods that are compared, by name."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from hortus.counterfactual.baselines import DiCE, GradientSearch, NearestRow
from hortus.counterfactual.config import METHODS
from hortus.counterfactual.counternet import CounterNet
from hortus.counterfactual.explainer import Explainer
from hortus.counterfactual.judges import tuned_mlp
from hortus.counterfactual.posthoc import PostHocVCNet
from hortus.counterfactual.vcnet import VCNet
from hortus.errors import ConfigError, nearest

__all__ = ["fit_method"]

_OF_POSTHOC = ("preset", "epochs", "middle_size", "latent_size", "kl_step", "kl_max", "snap_back", "attempts")


def fit_method(
    name: str,
    X: pd.DataFrame,
    y: np.ndarray,
    fitted: dict[str, Any],
    *,
    immutable: tuple[str, ...] = (),
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
) -> Explainer:
    """Fit the method `name` on a table and class numbers.

    The post-hoc VCNet and DiCE explain a tuned scikit-learn MLP; gradient search and nearest row explain the
    predictor of VCNet. What was fitted for one of them is kept in `fitted` for the other.

    Raises:
        ConfigError: no such method.
        DeviceError: dice-ml is not installed.
    """
    if name not in METHODS:
        raise ConfigError(f"method {name!r} is not known", do=nearest(name, METHODS))
    options = dict(options or {})

    def once(key: str, make: Any) -> Any:
        if key not in fitted:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                fitted[key] = make()
        return fitted[key]

    def vcnet() -> VCNet:
        return VCNet(immutable=immutable, random_state=seed, **options).fit(X, y)

    def posthoc() -> PostHocVCNet:
        predictor = once("mlp", lambda: tuned_mlp(X, y, seed))
        kept = {key: value for key, value in options.items() if key in _OF_POSTHOC}
        return PostHocVCNet(predictor, immutable=immutable, random_state=seed, **kept).fit(X)

    if name == "counternet":
        return CounterNet(immutable, epochs=_counternet_epochs(len(X)), random_state=seed).fit(X, y)
    if name in ("posthoc", "dice"):
        model = once("posthoc", posthoc)
        return model if name == "posthoc" else DiCE(model, X, y)
    own = once("vcnet", vcnet)
    return {
        "vcnet": lambda: own,
        "gradient": lambda: GradientSearch(own),
        "nearest": lambda: NearestRow(own, X),
    }[name]()


def _counternet_epochs(num_rows: int) -> int:
    """The published 100, fewer where that is more than about 6,000 steps of 128 rows."""
    return int(min(100, max(30, 6000 * 128 // num_rows)))
