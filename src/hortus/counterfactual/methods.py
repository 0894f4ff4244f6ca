"""The methods that are compared, by name."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import fields
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
    shared: dict[str, Any] = {"immutable": immutable, "random_state": seed}
    with warnings.catch_warnings():
        # Of constant columns and few rows: said once is enough, and `evaluate` fits many times.
        warnings.simplefilter("ignore")
        if name == "counternet":
            return CounterNet(epochs=_counternet_epochs(len(X)), **shared).fit(X, y)
        if name in ("posthoc", "dice"):
            if "posthoc" not in fitted:
                known = {field.name for field in fields(PostHocVCNet)}
                shared |= {key: value for key, value in options.items() if key in known}
                fitted["posthoc"] = PostHocVCNet(tuned_mlp(X, y, seed), **shared).fit(X)
            return fitted["posthoc"] if name == "posthoc" else DiCE(fitted["posthoc"], X, y)
        if "vcnet" not in fitted:
            fitted["vcnet"] = VCNet(**shared, **options).fit(X, y)
    model = fitted["vcnet"]
    if name == "vcnet":
        return model
    return GradientSearch(model) if name == "gradient" else NearestRow(model, X)


def _counternet_epochs(num_rows: int) -> int:
    """The published 100, fewer where that is more than about 6,000 steps of 128 rows."""
    return int(min(100, max(30, 6000 * 128 // num_rows)))
