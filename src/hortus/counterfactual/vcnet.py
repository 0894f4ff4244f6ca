"""VCNet: predictors for tables that explain themselves with realistic counterfactuals.

Guyomard, Fessant, Guyet, Bouadi, Termier, "VCNet: A self-explaining model for realistic counterfactual
generation" (ECML-PKDD 2022). One network predicts and models how the rows of each outcome look; a
counterfactual is the row's own latent code decoded under the other outcome, in one pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.base import ClassifierMixin, RegressorMixin

from hortus.counterfactual.encoding import Rows
from hortus.counterfactual.estimator import VCNetBase
from hortus.counterfactual.search import Table
from hortus.counterfactual.tables import read_labels, read_values

__all__ = ["VCNet", "VCNetRegressor"]


@dataclass(kw_only=True, eq=False, repr=False)
class _Joint(VCNetBase):
    """What training the predictor with the VAE adds."""

    share_size: int | None = None
    prediction_weight: float | None = None
    detach_condition: bool | None = None
    validity_weight: float | None = None
    shared_encoder: bool = True
    """One pre-encoder for predictor and encoder, or one each (ablation)."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        return tags


class VCNet(ClassifierMixin, _Joint):
    """A classifier, of two or more classes, that explains itself.

    See `VCNetBase` and `VCNetSettings` for the arguments.

    >>> import numpy as np, pandas as pd
    >>> age = np.arange(20, 80)
    >>> table = pd.DataFrame({"age": age, "smokes": ["yes", "no"] * 30})
    >>> risk = np.where(age > 50, "high", "low")
    >>> model = VCNet(epochs=60, learning_rate=0.01, random_state=0).fit(table, risk)
    >>> model.predict(table.iloc[[0, 59]]).tolist()
    ['low', 'high']
    >>> other = model.explain(table.iloc[[59]], direction={"age": "decrease"}).iloc[0]
    >>> bool(other.hortus_valid), bool(other.age <= 51)
    (True, True)
    """

    _head = "classes"

    def fit(self, X: Any, y: Any) -> VCNet:
        """Train on a table (N, columns) and its classes (N,).

        Raises:
            DataError: NaN or one class only in y; infinity, dates or nested values in X; nothing varies.
            ConfigError: an argument that is not allowed; every column immutable.
        """
        table = self._read_training_table(X)
        self.classes_, numbers = read_labels(y, len(table.rows), type(self).__name__)
        self._train(table, len(self.classes_), {"y": numbers})
        return self

    @torch.inference_mode()
    def _outcome(self, candidate: Rows, table: Table) -> np.ndarray:
        probabilities = self.network_.condition(self.network_.logits(self._matrix(candidate))).numpy()
        if probabilities.shape[1] == 1:
            return np.hstack([1 - probabilities, probabilities])
        return probabilities

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities (N, K) in the order of `classes_`."""
        table = self._read(X)
        return self._outcomes(table.rows, table)

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class (N,) of each row."""
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(1)]


class VCNetRegressor(RegressorMixin, _Joint):
    """A regressor that explains itself: what would bring the prediction to a value, or into a range.

    The target is scaled to [0, 1] over its training range; the decoder is conditioned on the scaled value.

    >>> import numpy as np, pandas as pd
    >>> rooms = np.tile(np.arange(1.0, 9.0), 20)
    >>> table = pd.DataFrame({"rooms": rooms, "town": ["a", "b"] * 80})
    >>> model = VCNetRegressor(epochs=60, learning_rate=0.005).fit(table, 100 * rooms)
    >>> way = model.explain(table.iloc[[0]], target=(500, 700), immutable=["town"]).iloc[0]
    >>> bool(way.hortus_valid), way.town, bool(500 <= way.hortus_prediction <= 700)
    (True, 'a', True)
    """

    _head = "number"

    def fit(self, X: Any, y: Any) -> VCNetRegressor:
        """Train on a table (N, columns) and its values (N,).

        Raises:
            DataError: NaN or text in y; infinity, dates or nested values in X; nothing varies.
            ConfigError: an argument that is not allowed; every column immutable.
        """
        table = self._read_training_table(X)
        values = read_values(y, len(table.rows), type(self).__name__)
        lowest, highest = float(values.min()), float(values.max())
        self.target_range_ = (lowest, highest)
        self._train(table, 1, {"y": (values - lowest) / ((highest - lowest) or 1.0)})
        return self

    @torch.inference_mode()
    def _outcome(self, candidate: Rows, table: Table) -> np.ndarray:
        lowest, highest = self.target_range_
        scaled = self.network_.logits(self._matrix(candidate))[:, 0].numpy()
        return lowest + scaled * ((highest - lowest) or 1.0)

    def predict(self, X: Any) -> np.ndarray:
        """The predicted value (N,) of each row, in the units of y."""
        table = self._read(X)
        return self._outcomes(table.rows, table)
