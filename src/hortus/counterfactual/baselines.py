"""What VCNet is compared with, behind the same `explain`: CounterNet, gradient search, nearest row, DiCE.

Gradient search and nearest row explain a fitted VCNet's predictor; DiCE (the library dice-ml) explains any
scikit-learn classifier; CounterNet, next door, has a predictor of its own. All return
the table of `Explainer`.

    M rows of an attempt, D columns of the matrix
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.neighbors import NearestNeighbors

from hortus.counterfactual.encoding import Rows, TableEncoder
from hortus.counterfactual.explainer import Explainer
from hortus.counterfactual.goals import Goal
from hortus.counterfactual.posthoc import PostHocVCNet
from hortus.counterfactual.search import Proposal, Table
from hortus.counterfactual.vcnet import VCNet
from hortus.errors import ConfigError
from hortus.registry import require

__all__ = ["DiCE", "GradientSearch", "NearestRow", "split_matrix"]


def split_matrix(matrix: np.ndarray, encoder: TableEncoder) -> Proposal:
    """Numbers and category scores of a matrix (M, D); marks and levels of absence are left out."""
    scores = [
        matrix[:, start : start + len(category.categories)]
        for (start, _), category in zip(encoder.groups, encoder.categories, strict=True)
    ]
    return Proposal(matrix[:, : len(encoder.numbers)].copy(), scores)


class _OfModel(Explainer):
    """A method that explains a fitted model's predictor, in the model's own encoding."""

    attempts, unseen, random_state = 1, "error", 0
    snap_back = 0.0

    def __init__(self, model: VCNet | PostHocVCNet) -> None:
        if not hasattr(model, "classes_"):
            raise ConfigError("the model is not a fitted classifier", do="fit a VCNet first")
        self.model = model
        self.encoder_, self.classes_ = model.encoder_, model.classes_
        self.immutable_ = model.immutable_

    def _check_ready(self) -> None:
        self.model._check_ready()

    def _outcome(self, candidate: Rows, table: Table) -> np.ndarray:
        return self.model._outcome(candidate, table)

    def predict(self, X: Any) -> np.ndarray:
        """The model's classes."""
        return self.model.predict(X)


class GradientSearch(_OfModel):
    """Wachter et al. (2017): Adam on the encoded row itself, all rows at once.

    Minimises weight * (f(x') - t)^2 + sum_j |x_j - x'_j|; the weight grows tenfold with each
    attempt that fails.

    Args:
        model: a fitted `VCNet`, whose predictor has gradients.
        steps: of Adam in one attempt.
        learning_rate: of Adam, in the scaled space.
    """

    attempts = 4

    def __init__(self, model: VCNet, steps: int = 200, learning_rate: float = 0.05) -> None:
        super().__init__(model)
        self.steps, self.learning_rate = steps, learning_rate

    def _propose(
        self, table: Table, rows: np.ndarray, goal: Goal, attempt: int, generator: np.random.Generator
    ) -> Proposal:
        network = self.model.network_
        origin = torch.from_numpy(self.encoder_.matrix(table.rows))
        wanted = torch.from_numpy(goal.condition[rows])
        # Immutable columns and marks of absence.
        free = self.encoder_.places(set(self.encoder_.names) - set(self.immutable_))
        frozen = np.setdiff1d(np.arange(self.encoder_.width), free)
        moved = origin.clone().requires_grad_(True)
        optimizer = torch.optim.Adam([moved], self.learning_rate)
        for _ in range(self.steps):
            optimizer.zero_grad()
            miss = (network.condition(network.logits(moved)) - wanted).square().sum()
            (10.0 ** (attempt + 1) * miss + (moved - origin).abs().sum()).backward()
            optimizer.step()
            with torch.no_grad():
                moved.clamp_(0, 1)
                moved[:, frozen] = origin[:, frozen]
        return split_matrix(moved.detach().numpy(), self.encoder_)


class NearestRow(_OfModel):
    """The nearest training row (L1) predicted as the target; its immutable cells become the row's own.

    Attempt k proposes the k-th nearest, so rows whose immutable cells undo the outcome get another chance.
    """

    attempts = 8

    def __init__(self, model: VCNet | PostHocVCNet, X: Any) -> None:
        super().__init__(model)
        table = model._read(X)
        self._matrix = self.encoder_.matrix(table.rows)
        self._predicted = model._outcomes(table.rows, table).argmax(1)

    def _propose(
        self, table: Table, rows: np.ndarray, goal: Goal, attempt: int, generator: np.random.Generator
    ) -> Proposal | None:
        matrix = self.encoder_.matrix(table.rows)
        target = goal.condition[rows]
        wanted = target[:, 0].astype(int) if target.shape[1] == 1 else target.argmax(1)
        proposed = matrix.copy()
        for kind in np.unique(wanted):
            pool = self._matrix[self._predicted == kind]
            if len(pool) <= attempt:
                continue
            finder = NearestNeighbors(n_neighbors=attempt + 1, metric="manhattan", algorithm="brute").fit(
                pool
            )
            here = np.flatnonzero(wanted == kind)
            proposed[here] = pool[finder.kneighbors(matrix[here], return_distance=False)[:, attempt]]
        return split_matrix(proposed, self.encoder_)


class DiCE(_OfModel):
    """DiCE (Mothilal et al., 2020) through its own library, a query at a time.

    Args:
        model: a fitted `PostHocVCNet` around the classifier to explain; its own network isn't used.
        X: the training table.
        y: its classes.
        method: "random", "genetic" or "kdtree".
    """

    def __init__(self, model: PostHocVCNet, X: Any, y: Any, method: str = "random") -> None:
        super().__init__(model)
        dice_ml = require("dice_ml", extra="counterfactual")
        table = model._read(X)
        self._template = table.take(np.zeros(1, dtype=np.int64))
        data = dice_ml.Data(
            dataframe=self._plain(table.rows).assign(hortus_outcome=np.searchsorted(self.classes_, y)),
            continuous_features=[column.name for column in self.encoder_.numbers],
            outcome_name="hortus_outcome",
        )
        self._dice = dice_ml.Dice(
            data, dice_ml.Model(model=_Numbered(self._probabilities), backend="sklearn"), method=method
        )

    def _plain(self, rows: Rows) -> pd.DataFrame:
        """What dice-ml can take: whole numbers as such, and categories as text, here of their position."""
        columns: dict[str, np.ndarray] = {}
        for place, column in enumerate(self.encoder_.numbers):
            values = rows.numbers[:, place]
            columns[column.name] = values.astype(np.int64) if column.decimals == 0 else values
        for place, category in enumerate(self.encoder_.categories):
            columns[category.name] = rows.codes[:, place].astype(str).astype(object)
        return pd.DataFrame(columns)

    def _rows(self, plain: pd.DataFrame) -> Rows:
        numbers = plain[[column.name for column in self.encoder_.numbers]].to_numpy(dtype=np.float64)
        codes = plain[[column.name for column in self.encoder_.categories]].astype(np.int32).to_numpy()
        return Rows(numbers, codes)

    def _probabilities(self, plain: pd.DataFrame) -> np.ndarray:
        rows = self._rows(plain)
        return self._outcome(rows, self._template.take(np.zeros(len(rows), dtype=np.int64)))

    def _propose(
        self, table: Table, rows: np.ndarray, goal: Goal, attempt: int, generator: np.random.Generator
    ) -> Proposal:
        target = goal.condition[rows]
        wanted = target[:, 0].astype(int) if target.shape[1] == 1 else target.argmax(1)
        queries = self._plain(table.rows)
        answers = [
            self._ask(queries.iloc[[place]], int(kind), int(generator.integers(2**31)))
            for place, kind in enumerate(wanted)
        ]
        return split_matrix(self.encoder_.matrix(self._rows(pd.concat(answers))), self.encoder_)

    def _ask(self, query: pd.DataFrame, wanted: int, seed: int) -> pd.DataFrame:
        from raiutils.exceptions import UserConfigValidationException

        vary = [name for name in query.columns if name not in self.immutable_]
        options: dict[str, Any] = {"total_CFs": 1, "desired_class": wanted, "features_to_vary": vary}
        if "random" in type(self._dice).__name__.lower():
            options["random_seed"] = seed
        try:
            answer = self._dice.generate_counterfactuals(query, verbose=False, **options)
        except UserConfigValidationException:  # how the library says that it found none
            return query
        found = answer.cf_examples_list[0].final_cfs_df
        return query if found is None or not len(found) else found[list(query.columns)].iloc[[0]]


class _Numbered:
    """A classifier as dice-ml wants it: of rows in its form, with classes 0, 1, ..."""

    def __init__(self, predict_proba: Callable[[pd.DataFrame], np.ndarray]) -> None:
        self.predict_proba = predict_proba

    def predict(self, frame: pd.DataFrame) -> np.ndarray:
        classes: np.ndarray = self.predict_proba(frame).argmax(1)
        return classes
