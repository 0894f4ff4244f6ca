"""The post-hoc VCNet around every kind of predictor."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression

from hortus.counterfactual import PostHocVCNet
from hortus.errors import ConfigError, DataError

RANDOM = np.random.default_rng(0)
X = pd.DataFrame(
    {"a": RANDOM.random(200).round(3), "b": RANDOM.random(200).round(3), "c": RANDOM.integers(0, 9, 200)}
)
Y = np.where(X.a + 0.3 * X.b > 0.65, "up", "down")
SMALL: dict[str, Any] = {"epochs": 60, "middle_size": 16, "latent_size": 3, "learning_rate": 5e-3}


class Line(torch.nn.Module):
    """One logit, steep in a."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 20 * (x[:, :1] - 0.5)


PREDICTORS = {
    "boosting": HistGradientBoostingClassifier(max_iter=20).fit(X, Y),
    "fitted on an array": LogisticRegression(C=100).fit(X.to_numpy(), Y),
    "module": Line(),
    "function of one probability": lambda frame: 1 / (1 + np.exp(-20 * (frame.a - 0.5))),
    "function of three": lambda frame: np.eye(3)[np.digitize(frame.a, [0.3, 0.7])] * 0.9 + 1 / 30,
}


@pytest.mark.filterwarnings("ignore:X has feature names")
@pytest.mark.parametrize("name", PREDICTORS)
def test_any_classifier(name: str) -> None:
    explainer = PostHocVCNet(PREDICTORS[name], immutable=["b"], **SMALL).fit(X)
    answer = explainer.explain(X)
    fresh, before = explainer.predict(answer[list(X.columns)]), explainer.predict(X)
    valid = answer.hortus_valid.to_numpy()
    assert valid.mean() > 0.9
    assert (fresh[valid] != before[valid]).all() and (fresh[~valid] == before[~valid]).all()
    pd.testing.assert_series_equal(answer.b, X.b)
    assert explainer.predict_proba(X).shape == (200, len(explainer.classes_))


def test_a_regressor() -> None:
    predictor = HistGradientBoostingRegressor(max_iter=30).fit(X, 10 * X.a + X.b)
    explainer = PostHocVCNet(predictor, **SMALL).fit(X)
    answer = explainer.explain(X, target=(4.0, 7.0))
    assert answer.hortus_valid.mean() > 0.9
    assert predictor.predict(answer[list(X.columns)])[answer.hortus_valid].min() >= 4.0
    with pytest.raises(ConfigError, match="not probabilities"):
        explainer.predict_proba(X)
    assert explainer.score(X, 10 * X.a + X.b) > 0.9


@pytest.mark.parametrize(
    ("predictor", "options", "error", "message"),
    [
        (lambda frame: frame.a * 100, {}, DataError, "outside of 0 to 1"),
        (lambda frame: np.full(3, 0.5), {}, DataError, "for 200 rows"),
        (lambda frame: np.full(200, np.nan), {}, DataError, "not finite"),
        (PREDICTORS["boosting"], {"classes": ["x"]}, DataError, "2 probabilities for 1 classes"),
        (PREDICTORS["boosting"], {"task": "ranking"}, ConfigError, "task='ranking'"),
    ],
)
def test_wrong_predictors_are_named(predictor: Any, options: dict, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        PostHocVCNet(predictor, epochs=1, **options).fit(X)


def test_a_module_takes_numbers_only() -> None:
    with pytest.raises(DataError, match="number columns only"):
        PostHocVCNet(Line(), epochs=1).fit(X.assign(k="a").where(X.a > 0.1, other="b"))
