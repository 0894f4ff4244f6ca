"""Predictors that judge counterfactuals from outside: a tuned MLP and gradient boosting, of scikit-learn."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline

from hortus.counterfactual.encoding import TableEncoder

__all__ = ["Judges", "TableMatrix", "tuned_mlp"]

# Hidden layers and L2 penalties that the held-out fifth of the training part chooses from.
_CHOICES = [((64,), 1e-4), ((64,), 1e-1), ((64, 32), 1e-2)]


class TableMatrix(TransformerMixin, BaseEstimator):
    """`TableEncoder` as the first step of a scikit-learn pipeline."""

    def fit(self, X: pd.DataFrame, y: Any = None) -> TableMatrix:
        """Learn the encoding."""
        self.encoder_ = TableEncoder.fit(X)
        return self

    def transform(self, X: pd.DataFrame) -> np.ndarray:
        """The matrix (N, D)."""
        return self.encoder_.matrix(self.encoder_.read(X, unseen="ignore"))


def tuned_mlp(frame: pd.DataFrame, classes: np.ndarray, seed: int) -> Pipeline:
    """A pipeline of the encoding and the MLP that did best on a held-out fifth, fitted again on all rows."""
    fit_x, hold_x, fit_y, hold_y = train_test_split(
        frame, classes, test_size=0.2, random_state=seed, stratify=classes
    )
    scores = [_mlp(choice, fit_y, seed).fit(fit_x, fit_y).score(hold_x, hold_y) for choice in _CHOICES]
    return _mlp(_CHOICES[int(np.argmax(scores))], classes, seed).fit(frame, classes)


def _mlp(choice: tuple[tuple[int, ...], float], classes: np.ndarray, seed: int) -> Pipeline:
    layers, penalty = choice
    network = MLPClassifier(
        hidden_layer_sizes=layers,
        alpha=penalty,
        random_state=seed,
        early_stopping=len(classes) >= 2000,
        max_iter=30 if len(classes) >= 2000 else 120,
        learning_rate_init=2e-3,
        n_iter_no_change=5 if len(classes) >= 2000 else 120,
    )
    return make_pipeline(TableMatrix(), network)


@dataclass(frozen=True)
class Judges:
    """The two, fitted on a training part, and the encoding of that part."""

    encoder: TableEncoder
    mlp: Pipeline
    boosting: Pipeline

    @classmethod
    def fit(cls, frame: pd.DataFrame, classes: np.ndarray, seed: int) -> Judges:
        """Fit both on class numbers (N,)."""
        boosting = make_pipeline(TableMatrix(), HistGradientBoostingClassifier(random_state=seed))
        with warnings.catch_warnings():
            # A fixed number of passes is what is wanted.
            warnings.simplefilter("ignore", ConvergenceWarning)
            mlp = tuned_mlp(frame, classes, seed)
        return cls(TableEncoder.fit(frame), mlp, boosting.fit(frame, classes))

    def predict(self, frame: pd.DataFrame) -> dict[str, np.ndarray]:
        """Class numbers (N,) by both."""
        return {"mlp": self.mlp.predict(frame), "boosting": self.boosting.predict(frame)}

    def mlp_accuracy(self, frame: pd.DataFrame, classes: np.ndarray) -> float:
        """Share of rows that the tuned MLP gets right."""
        return float((self.mlp.predict(frame) == classes).mean())
