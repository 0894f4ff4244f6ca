"""The counterfactual room: VCNet, a predictor for tables that explains itself with realistic counterfactuals.

`VCNet` and `VCNetRegressor` predict and explain; `PostHocVCNet` explains any fitted predictor; `evaluate`
compares methods. All but the settings need PyTorch and scikit-learn, and are imported when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from hortus.counterfactual.config import PRESETS, VCNetSettings
from hortus.registry import require

if TYPE_CHECKING:
    from hortus.counterfactual.baselines import DiCE, GradientSearch, NearestRow
    from hortus.counterfactual.comparison import evaluate
    from hortus.counterfactual.counternet import CounterNet
    from hortus.counterfactual.posthoc import PostHocVCNet
    from hortus.counterfactual.vcnet import VCNet, VCNetRegressor

__all__ = [
    "CounterNet",
    "DiCE",
    "GradientSearch",
    "NearestRow",
    "PRESETS",
    "PostHocVCNet",
    "VCNet",
    "VCNetRegressor",
    "VCNetSettings",
    "evaluate",
]

_HOMES = {"VCNet": "vcnet", "VCNetRegressor": "vcnet", "PostHocVCNet": "posthoc", "evaluate": "comparison"}
_HOMES |= dict.fromkeys(("DiCE", "GradientSearch", "NearestRow"), "baselines") | {"CounterNet": "counternet"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    require("sklearn", extra="counterfactual")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
