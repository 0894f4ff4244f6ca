"""Every measure against its formula, written out plainly."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from hortus.counterfactual import metrics, realism
from hortus.counterfactual.encoding import Rows, TableEncoder

FRAME = pd.DataFrame({"x": [0.0, 2.0, 10.0, 4.0], "k": ["a", "b", "c", "a"]})
ENCODER = TableEncoder.fit(FRAME)
BEFORE = ENCODER.read(FRAME)
AFTER = Rows(np.array([[5.0], [2.0], [10.0], [4.5]]), np.array([[1], [2], [2], [0]]))


def test_distances_and_counts() -> None:
    x, moved = ENCODER.matrix(BEFORE), ENCODER.matrix(AFTER)
    assert metrics.proximity_l1(x, moved) == pytest.approx((0.5 + 2 + 2 + 0 + 0.05) / 4)
    assert metrics.proximity_l0(x, moved) == pytest.approx((3 + 2 + 0 + 1) / 4)
    assert metrics.sparsity(BEFORE, AFTER) == pytest.approx((2 + 1 + 0 + 1) / 4)
    assert metrics.violations(BEFORE, AFTER, ENCODER, ("k",)) == 0.5
    assert metrics.violations(BEFORE, AFTER, ENCODER, ("x",)) == 0.5
    assert metrics.violations(BEFORE, AFTER, ENCODER, ()) == 0.0
    assert metrics.prediction_gain(np.array([0.2, 0.4]), np.array([0.8, 0.6])) == pytest.approx(0.4)
    assert metrics.validity(np.array([1, 0, 1]), np.array([1, 1, 1])) == pytest.approx(2 / 3)


def test_diversity_is_the_mean_of_all_pairs() -> None:
    random = np.random.default_rng(0)
    many = random.random((5, 3, 4))
    plain = np.mean(
        [
            np.mean([np.abs(row[i] - row[j]).sum() for i in range(3) for j in range(3) if i != j])
            for row in many
        ]
    )
    assert metrics.diversity(many) == pytest.approx(plain)
    assert metrics.diversity(many[:, :1]) == 0.0


def test_redundancy_sensitivity_robustness() -> None:
    def reached(rows: Rows) -> np.ndarray:
        return rows.numbers[:, 0] > 4.2

    before = Rows(np.array([[0.0], [4.0]]), np.array([[0], [1]]))
    after = Rows(np.array([[9.0], [4.5]]), np.array([[1], [1]]))
    # Row 0: x is needed, k is not. Row 1: x is needed.
    assert metrics.redundancy(before, after, reached) == 0.5
    assert metrics.sensitivity(before, after, reached) == 0.5
    assert metrics.robustness(after, ENCODER, reached, deviation=0.0) == 0.0
    lost = metrics.robustness(after, ENCODER, reached, deviation=0.2, draws=2000)
    # Row 1 is lost where 2 * normal < -0.3, row 0 where 2 * normal < -4.8.
    assert lost == pytest.approx((0.4404 + 0.0082) / 2, abs=0.02)


def plain_proximity(points: np.ndarray, rows: np.ndarray) -> tuple[float, float]:
    pairs = [np.linalg.norm(a - b) for i, a in enumerate(rows) for b in rows[i + 1 :]]
    ours, laugel = [], []
    for point in points:
        distances = np.linalg.norm(rows - point, axis=1)
        anchor = rows[distances.argmin()]
        around = sorted(np.linalg.norm(rows - anchor, axis=1))[1]
        ours.append(distances.min() / np.mean(pairs))
        laugel.append(distances.min() / around)
    return float(np.mean(ours)), float(np.mean(laugel))


def test_realism_against_the_plain_formulas() -> None:
    random = np.random.default_rng(1)
    train, points = random.random((60, 3)), random.random((7, 3))
    predicted = (train[:, 0] > 0.5).astype(int)
    target = np.ones(7, dtype=int)
    ours, laugel = plain_proximity(points, train[predicted == 1])
    repeated = np.vstack([train, train[:20]])  # duplicates must not count
    labels = np.concatenate([predicted, predicted[:20]])
    assert realism.proximity_score(points, target, repeated, labels) == pytest.approx(ours)
    assert realism.laugel_proximity(points, target, repeated, labels) == pytest.approx(laugel)
    nearest = np.argsort(np.linalg.norm(train[None] - points[:, None], axis=2), axis=1)[:, :5]
    share = (predicted[nearest] == 1).mean()
    assert realism.neighbour_share(points, target, repeated, labels) == pytest.approx(share)
    assert np.isnan(realism.proximity_score(points, np.full(7, 9), train, predicted))


def test_outliers_stand_out() -> None:
    random = np.random.default_rng(2)
    train = np.vstack([random.normal(0.3, 0.05, (150, 4)), random.normal(0.7, 0.05, (150, 4))])
    predicted = np.repeat([0, 1], 150)
    inside, outside = random.normal(0.7, 0.05, (30, 4)), random.random((30, 4))
    ones = np.ones(30, dtype=int)
    near = realism.local_outlier_factor(inside, ones, train, predicted)
    far = realism.local_outlier_factor(outside, ones, train, predicted)
    assert near < 1.5 < far
    scores = realism.AutoencoderScores(train, predicted)
    like_target, _ = scores.score(inside, ones, 1 - ones)
    like_source, _ = scores.score(random.normal(0.3, 0.05, (30, 4)), ones, 1 - ones)
    assert like_target < like_source
