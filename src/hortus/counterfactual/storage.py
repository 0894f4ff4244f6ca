"""VCNet as an artifact folder: config.json (columns, sizes, classes), model.safetensors, README.md.

A post-hoc model's predictor is someone else's object and isn't stored; it is passed again to `load`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from hortus.artifact import ModelCard, check_tensors, read_config, read_tensors, write_artifact
from hortus.config import to_mapping
from hortus.counterfactual.config import VCNetSettings
from hortus.counterfactual.encoding import TableEncoder
from hortus.counterfactual.network import NetworkShape, VCNetNetwork
from hortus.counterfactual.posthoc import PostHocVCNet
from hortus.counterfactual.vcnet import VCNet, VCNetRegressor
from hortus.errors import ArtifactError, nearest

if TYPE_CHECKING:
    from hortus.counterfactual.estimator import VCNetBase

__all__ = ["load", "save_model"]

_CLASSES: dict[str, type[VCNetBase]] = {
    "VCNet": VCNet,
    "VCNetRegressor": VCNetRegressor,
    "PostHocVCNet": PostHocVCNet,
}


def save_model(model: VCNetBase, folder: str | Path, recipe: Mapping[str, Any] | None = None) -> None:
    """Write a fitted model, whole or not at all."""
    check_is_fitted(model, "network_")
    parameters = {name: value for name, value in model.get_params(deep=False).items() if name != "predictor"}
    seed = parameters["random_state"]
    parameters["random_state"] = int(seed) if isinstance(seed, int | np.integer) else None
    config = {
        "model_type": model.kind,
        "estimator": type(model).__name__,
        "parameters": {name: _plain(value) for name, value in parameters.items()},
        "settings": to_mapping(model.settings_),
        "columns": model.encoder_.to_json(),
        "named": hasattr(model, "feature_names_in_"),
        "network": to_mapping(model.network_.shape),
        "classes": _plain(model.classes_) if hasattr(model, "classes_") else None,
        "target_range": _plain(getattr(model, "target_range_", None)),
    }
    # Trained in float32 and only widened for use, so this loses nothing.
    tensors = {name: tensor.float() for name, tensor in model.network_.state_dict().items()}
    write_artifact(folder, config=config, tensors=tensors, card=model.card, recipe=recipe)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, tuple | list | set | frozenset):
        return [_plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def load(folder: str | Path, *, predictor: Any = None) -> VCNetBase:
    """Open what `save` wrote; `hortus.load` comes here.

    Args:
        predictor: for a post-hoc model, the predictor that it explains.

    Raises:
        ArtifactError: the folder is not whole or does not fit together; a post-hoc model without predictor.
    """
    folder = Path(folder)
    config = read_config(folder)
    try:
        name, parameters = config["estimator"], config["parameters"]
        if name not in _CLASSES:
            raise ArtifactError(f"{folder}: estimator {name!r} is not known", do=nearest(name, _CLASSES))
        if name == "PostHocVCNet":
            if predictor is None:
                raise ArtifactError(
                    f"{folder} explains a predictor that is not stored in it",
                    do="pass it: hortus.load(folder, predictor=...)",
                )
            parameters = {"predictor": predictor, **parameters}
        model = _CLASSES[name](**parameters)
        model.settings_ = VCNetSettings(**config["settings"])
        model.encoder_ = TableEncoder.from_json(config["columns"])
        network = VCNetNetwork(NetworkShape.from_mapping(config["network"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{folder}/config.json does not describe a VCNet: {error}") from error
    tensors = read_tensors(folder)
    expected = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    check_tensors(expected, {key: tuple(value.shape) for key, value in tensors.items()}, folder)
    network.load_state_dict(tensors)
    model._set_network(network)
    _restore(model, config)
    model.card = ModelCard.read(folder)
    return model


def _restore(model: VCNetBase, config: Mapping[str, Any]) -> None:
    model.immutable_ = tuple(model.immutable)
    model._head = "number" if config["target_range"] is not None else "classes"
    model.n_features_in_ = len(model.encoder_.columns)
    if config["named"]:
        model.feature_names_in_ = np.asarray(model.encoder_.names, dtype=object)
    if config["classes"] is not None:
        model.classes_ = np.asarray(config["classes"])
    if config["target_range"] is not None:
        low, high = config["target_range"]
        model.target_range_ = (low, high)
