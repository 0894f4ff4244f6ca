"""How like real rows counterfactuals are: distances to training rows, outlier factor, autoencoders.

All in the encoded space, against the distinct training rows. "Predicted" is by the predictor being explained.

    N counterfactuals, T training rows, D columns of the matrix
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from scipy.spatial.distance import pdist
from sklearn.exceptions import ConvergenceWarning
from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors
from sklearn.neural_network import MLPRegressor

__all__ = [
    "AutoencoderScores",
    "laugel_proximity",
    "local_outlier_factor",
    "neighbour_share",
    "proximity_score",
]

_MOST_FOR_PAIRS = 2000  # rows of a class whose mean pairwise distance is taken


def _nearest(rows: np.ndarray, queries: np.ndarray, num: int) -> tuple[np.ndarray, np.ndarray]:
    finder = NearestNeighbors(n_neighbors=min(num, len(rows)), algorithm="brute").fit(rows)
    return finder.kneighbors(queries)


def proximity_score(
    counterfactuals: np.ndarray, target: np.ndarray, train: np.ndarray, predicted: np.ndarray
) -> float:
    """VCNet's realism: distance to the nearest training row predicted as the target, over the class's spread.

    mean_i min_a d2(x'_i, a) / mean_{a, b} d2(a, b), a, b distinct training rows predicted t_i; low is good.
    Rows whose target no training row is predicted as are left out; NaN when that is all.

    >>> train = np.array([[0.0], [1.0], [5.0]])
    >>> proximity_score(np.array([[0.5]]), np.array([1]), train, np.array([1, 1, 0]))
    0.5
    """
    scores = []
    for wanted in np.unique(target):
        rows = np.unique(train[predicted == wanted], axis=0)
        if len(rows) < 2:
            continue
        distances, _ = _nearest(rows, counterfactuals[target == wanted], 1)
        scores.append(distances[:, 0] / pdist(_sample(rows)).mean())
    return float(np.concatenate(scores).mean()) if scores else float("nan")


def laugel_proximity(
    counterfactuals: np.ndarray, target: np.ndarray, train: np.ndarray, predicted: np.ndarray
) -> float:
    """Laugel et al. (2019): the same distance over that of its nearest row's own nearest neighbour.

    mean_i d2(x'_i, a_i) / min_{b != a_i} d2(a_i, b), a_i the nearest training row predicted t_i; low is good.
    """
    scores = []
    for wanted in np.unique(target):
        rows = np.unique(train[predicted == wanted], axis=0)
        if len(rows) < 2:
            continue
        distances, anchors = _nearest(rows, counterfactuals[target == wanted], 1)
        around, _ = _nearest(rows, rows[anchors[:, 0]], 2)
        scores.append(distances[:, 0] / around[:, 1])
    return float(np.concatenate(scores).mean()) if scores else float("nan")


def neighbour_share(
    counterfactuals: np.ndarray, target: np.ndarray, train: np.ndarray, predicted: np.ndarray, num: int = 5
) -> float:
    """y-NN: share of the `num` nearest distinct training rows that are predicted as the target."""
    rows, first = np.unique(train, axis=0, return_index=True)
    _, neighbours = _nearest(rows, counterfactuals, num)
    return float((predicted[first][neighbours] == target[:, None]).mean())


def local_outlier_factor(
    counterfactuals: np.ndarray, target: np.ndarray, train: np.ndarray, predicted: np.ndarray, num: int = 20
) -> float:
    """Median local outlier factor among the rows predicted as the target; near 1 is like them."""
    factors = []
    for wanted in np.unique(target):
        rows = np.unique(train[predicted == wanted], axis=0)
        if len(rows) <= num:
            continue
        judge = LocalOutlierFactor(n_neighbors=num, novelty=True, algorithm="brute").fit(_sample(rows))
        factors.append(-judge.score_samples(counterfactuals[target == wanted]))
    return float(np.median(np.concatenate(factors))) if factors else float("nan")


def _sample(rows: np.ndarray) -> np.ndarray:
    if len(rows) <= _MOST_FOR_PAIRS:
        return rows
    return rows[np.random.default_rng(0).choice(len(rows), _MOST_FOR_PAIRS, replace=False)]


class AutoencoderScores:
    """IM1 and IM2 (Van Looveren and Klaise), by one small autoencoder for each class and one for all rows.

    IM1 = |x' - AE_t(x')|^2 / |x' - AE_o(x')|^2 with t the target and o the class before; below 1 is more like
    the target's rows. IM2 = |AE_t(x') - AE(x')|^2 / |x'|_1; low is like rows in general.
    """

    def __init__(self, train: np.ndarray, predicted: np.ndarray, seed: int = 0) -> None:
        self._everyone = _autoencoder(train, seed)
        self._of_class: dict[Any, MLPRegressor] = {
            wanted: _autoencoder(train[predicted == wanted], seed) for wanted in np.unique(predicted)
        }

    def score(
        self, counterfactuals: np.ndarray, target: np.ndarray, before: np.ndarray
    ) -> tuple[float, float]:
        """Mean IM1 and IM2 over rows whose two classes both have an autoencoder; NaN when none has."""
        first, second = [], []
        for wanted in np.unique(target):
            for source in np.unique(before[target == wanted]):
                if wanted not in self._of_class or source not in self._of_class:
                    continue
                rows = counterfactuals[(target == wanted) & (before == source)]
                rebuilt = self._of_class[wanted].predict(rows).reshape(rows.shape)
                other = self._of_class[source].predict(rows).reshape(rows.shape)
                everyone = self._everyone.predict(rows).reshape(rows.shape)
                first.append(_square(rows - rebuilt) / np.maximum(_square(rows - other), 1e-12))
                second.append(_square(rebuilt - everyone) / np.maximum(np.abs(rows).sum(1), 1e-12))
        if not first:
            return float("nan"), float("nan")
        return float(np.concatenate(first).mean()), float(np.concatenate(second).mean())


def _square(rows: np.ndarray) -> np.ndarray:
    squares: np.ndarray = np.square(rows).sum(1)
    return squares


def _autoencoder(rows: np.ndarray, seed: int) -> MLPRegressor:
    width = rows.shape[1]
    layers = (max(width // 2, 4), max(width // 4, 2), max(width // 2, 4))
    # About as many steps whatever the number of rows; early stopping needs a held-out tenth.
    network = MLPRegressor(
        hidden_layer_sizes=layers,
        batch_size=min(64, len(rows)),
        max_iter=int(np.clip(100_000 // len(rows), 10, 100)),
        learning_rate_init=3e-3,
        random_state=seed,
        early_stopping=len(rows) >= 1000,
        n_iter_no_change=5 if len(rows) >= 1000 else 100,
        tol=1e-5,
    )
    with warnings.catch_warnings():
        # A fixed number of passes is what is wanted.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return network.fit(rows, rows if width > 1 else rows[:, 0])
