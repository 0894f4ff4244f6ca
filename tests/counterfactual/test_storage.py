"""Save, load, explain: identical; and what is broken is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from hortus.artifact import ModelCard
from hortus.counterfactual import PostHocVCNet, VCNet, VCNetRegressor
from hortus.counterfactual.storage import load
from hortus.errors import ArtifactError

Data = tuple[pd.DataFrame, pd.Series]


def test_a_classifier_is_the_same_after_loading(model: VCNet, table: Data, tmp_path: Path) -> None:
    model.card = ModelCard(name="people", kind="vcnet", data="made up", results={"validity": 1.0})
    model.save(tmp_path / "model", recipe={"name": "test"})
    again = load(tmp_path / "model")
    frame = table[0]
    assert np.array_equal(again.predict_proba(frame), model.predict_proba(frame))
    for arguments in ({}, {"n": 2, "sample": True}, {"target": "yes", "direction": {"income": "increase"}}):
        pd.testing.assert_frame_equal(again.explain(frame, **arguments), model.explain(frame, **arguments))
    assert again.card.data == "made up"
    pd.testing.assert_frame_equal(again.columns_, model.columns_)
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
        "recipe.yaml",
    ]


def test_a_regressor_and_an_array(tmp_path: Path) -> None:
    x = np.random.default_rng(0).random((80, 3))
    model = VCNetRegressor(epochs=3, share_size=8, middle_size=8, latent_size=2).fit(x, x.sum(1))
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert isinstance(again, VCNetRegressor)
    pd.testing.assert_frame_equal(again.explain(x, target=(1.0, 2.0)), model.explain(x, target=(1.0, 2.0)))


def test_a_post_hoc_model_needs_its_predictor(table: Data, tmp_path: Path) -> None:
    x = table[0][["age", "income"]]
    predictor = LogisticRegression(max_iter=1000).fit(x, table[1])
    model = PostHocVCNet(predictor, epochs=5, middle_size=8, latent_size=2).fit(x)
    model.save(tmp_path / "model")
    with pytest.raises(ArtifactError, match="predictor that is not stored"):
        load(tmp_path / "model")
    again = load(tmp_path / "model", predictor=predictor)
    pd.testing.assert_frame_equal(again.explain(x), model.explain(x))


def test_a_config_that_does_not_fit_is_named(model: VCNet, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"estimator": "VCNett"}))
    with pytest.raises(ArtifactError, match="did you mean 'VCNet'"):
        load(tmp_path / "model")
    wide = config["network"] | {"latent_size": 5}
    path.write_text(json.dumps(config | {"network": wide}))
    with pytest.raises(ArtifactError, match=r"mean\.weight is \(4, 16\), not \(5, 16\)"):
        load(tmp_path / "model")
    del config["columns"]
    path.write_text(json.dumps(config))
    with pytest.raises(ArtifactError, match="does not describe a VCNet"):
        load(tmp_path / "model")
