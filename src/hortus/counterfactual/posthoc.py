"""The post-hoc VCNet: the same explainer under a predictor that is already there and stays as it is.

As in the authors' library: the VAE alone is trained, conditioned on the predictor's own outputs, without a
pre-encoder. Any predictor will do: it is only called.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from sklearn.base import is_regressor
from torch import Tensor, nn

from hortus.counterfactual.encoding import Rows
from hortus.counterfactual.estimator import VCNetBase
from hortus.counterfactual.search import Table
from hortus.errors import ConfigError, DataError

__all__ = ["PostHocVCNet"]


@dataclass(eq=False, repr=False)
class PostHocVCNet(VCNetBase):
    """Explains a fitted predictor.

    Args:
        predictor: one of
            an object with `predict_proba` (scikit-learn pipelines, XGBoost, LightGBM, ...), whose `classes_`
            are used where it has them;
            a regressor with `predict`;
            a `torch.nn.Module` that takes all columns, numbers in the table's order, as a float32 tensor
            (N, columns) and returns logits (N, K), one logit (N,) or (N, 1), or for regression values;
            a function that takes a frame and returns probabilities (N, K), the probability of the second
            class (N,), or for regression values (N,).
        task: "classification" or "regression"; "auto" asks the predictor, and takes functions and modules to
            classify.
        classes: labels of the columns of the probabilities, where the predictor has none (default: 0, 1, …).
        **options: the arguments of `VCNetBase`.

    >>> from sklearn.linear_model import LogisticRegression
    >>> x = pd.DataFrame({"a": np.linspace(0, 1, 80), "b": np.tile([0.0, 1.0, 2.5, 4.0], 20)})
    >>> model = LogisticRegression(C=100).fit(x, x.a > 0.5)
    >>> explainer = PostHocVCNet(model, epochs=150, learning_rate=0.01).fit(x)
    >>> bool(explainer.explain(x).hortus_valid.mean() > 0.9)
    True
    """

    predictor: Any
    task: Literal["auto", "classification", "regression"] = field(default="auto", kw_only=True)
    classes: Collection[Any] | None = field(default=None, kw_only=True)

    _most_epochs: ClassVar[int] = 200  # nothing here can learn the labels by heart

    def fit(self, X: Any, y: Any = None) -> PostHocVCNet:
        """Learn what rows of each outcome look like, from a table and the predictor's outputs for it.

        Args:
            y: not used; outcomes are the predictor's.

        Raises:
            DataError: the predictor's outputs are not what it is said to return.
            ConfigError: an argument that is not allowed.
        """
        table = self._read_training_table(X)
        if self.task not in ("auto", "classification", "regression"):
            raise ConfigError(f"task={self.task!r}", allowed="auto, classification, regression")
        regression = self.task == "regression" or (self.task == "auto" and self._regresses())
        self._head = "number" if regression else "classes"
        outcome = self._ask(table.frame)
        if regression:
            lowest, highest = float(outcome.min()), float(outcome.max())
            self.target_range_ = (lowest, highest)
            condition = ((outcome - lowest) / ((highest - lowest) or 1.0))[:, None]
        else:
            self._set_classes(outcome.shape[1])
            condition = outcome[:, 1:] if outcome.shape[1] == 2 else outcome
        outcomes = 1 if regression else outcome.shape[1]
        self._train(table, outcomes, {"condition": condition})
        return self

    def _regresses(self) -> bool:
        known = hasattr(self.predictor, "predict") and not hasattr(self.predictor, "predict_proba")
        return known and is_regressor(self.predictor)

    def _set_classes(self, num_classes: int) -> None:
        given = self.classes if self.classes is not None else getattr(self.predictor, "classes_", None)
        self.classes_ = np.asarray(list(given) if given is not None else range(num_classes))
        if len(self.classes_) != num_classes:
            raise DataError(
                f"the predictor gives {num_classes} probabilities for {len(self.classes_)} classes",
                do="pass classes in the order of its columns",
            )

    def _ask(self, frame: pd.DataFrame) -> np.ndarray:
        """The predictor's probabilities (N, K) or values (N,) for a frame."""
        # The columns in the order of training: what the predictor was fitted on may be an array.
        frame = frame[self.encoder_.names]
        if isinstance(self.predictor, nn.Module):
            outcome = self._ask_module(frame)
        elif self._head == "number":
            ask = getattr(self.predictor, "predict", self.predictor)
            outcome = np.asarray(ask(frame), dtype=np.float64).reshape(-1)
        else:
            ask = getattr(self.predictor, "predict_proba", self.predictor)
            outcome = np.asarray(ask(frame), dtype=np.float64)
            if outcome.ndim == 2 and outcome.shape[1] == 1:
                outcome = outcome[:, 0]
            if outcome.ndim == 1:
                outcome = np.stack([1 - outcome, outcome], 1)
        if len(outcome) != len(frame) or not np.isfinite(outcome).all():
            raise DataError(
                f"the predictor returned {outcome.shape} for {len(frame)} rows, or what is not finite",
                allowed="one finite outcome a row",
            )
        if self._head == "classes" and ((outcome < -1e-6) | (outcome > 1 + 1e-6)).any():
            raise DataError(
                "the predictor returned values outside of 0 to 1",
                allowed="probabilities",
                do="pass task='regression' if it predicts values",
            )
        return outcome

    @torch.inference_mode()
    def _ask_module(self, frame: pd.DataFrame) -> np.ndarray:
        try:
            inputs = torch.as_tensor(frame.to_numpy(dtype=np.float32))
        except (TypeError, ValueError) as error:
            raise DataError(
                "a torch module takes number columns only", do="pass a function that encodes the frame"
            ) from error
        self.predictor.eval()
        raw: Tensor = self.predictor(inputs).double()
        if self._head == "number":
            return raw.reshape(-1).numpy()
        if raw.ndim == 2 and raw.shape[1] > 1:
            return raw.softmax(-1).numpy()
        probability = raw.reshape(-1).sigmoid()
        return torch.stack([1 - probability, probability], 1).numpy()

    def _outcome(self, candidate: Rows, table: Table) -> np.ndarray:
        if not len(candidate):
            return np.empty(0) if self._head == "number" else np.empty((0, len(self.classes_)))
        return self._ask(self.encoder_.write(candidate, table.frame, table.rows))

    def _condition_now(self, table: Table, x: Tensor) -> Tensor:
        outcome = self._ask(table.frame)
        if self._head == "number":
            lowest, highest = self.target_range_
            return torch.from_numpy((outcome - lowest) / ((highest - lowest) or 1.0))[:, None]
        return torch.from_numpy(outcome[:, 1:] if outcome.shape[1] == 2 else outcome)

    def predict_proba(self, X: Any) -> np.ndarray:
        """The predictor's probabilities (N, K).

        Raises:
            ConfigError: it predicts values.
        """
        if self._head == "number":
            raise ConfigError("the predictor gives values, not probabilities", do="use predict")
        return self._ask(self._read(X).frame)

    def predict(self, X: Any) -> np.ndarray:
        """The predictor's classes or values (N,)."""
        frame = self._read(X).frame
        outcome = self._ask(frame)
        return outcome if self._head == "number" else self.classes_[outcome.argmax(1)]

    def score(self, X: Any, y: Any) -> float:
        """Accuracy, or R squared."""
        from sklearn.metrics import accuracy_score, r2_score

        measure = r2_score if self._head == "number" else accuracy_score
        return float(measure(y, self.predict(X)))
