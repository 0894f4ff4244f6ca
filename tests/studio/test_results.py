"""Numbers of results against plain statements of their formulas, and what a large run stops."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hortus.errors import DataError
from hortus.evaluation.statistics import wilson_interval
from hortus.studio.large import held_out_rows, measured_at
from hortus.studio.results import compare, curve, interval, marginal_means, pairwise_tests, summarize

LABELS = ["a", "b", "c"]


def tiles_of(scores: list[float], confidences: list[float] | None = None) -> list[list[Any]]:
    sure = confidences or [0.5] * len(scores)
    return [
        [row, "right" if score >= 0.5 else "wrong", "a", "a" if score else "b", confidence, score]
        for row, (score, confidence) in enumerate(zip(scores, sure, strict=True))
    ]


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_bounds_are_where_the_score_test_is_two_sided_five_percent(pair: tuple[int, int]) -> None:
    right, total = pair
    share = right / total
    low, high = wilson_interval(right, total)
    assert 0 <= low <= share + 1e-12 and share - 1e-12 <= high <= 1
    for bound in (low, high):
        if 1e-9 < bound < 1 - 1e-9:
            distance = abs(share - bound) / math.sqrt(bound * (1 - bound) / total)
            assert distance == pytest.approx(1.959964, rel=1e-4)


def test_graded_scores_have_a_normal_interval_and_shares_have_wilsons() -> None:
    mean, low, high, error = interval([0.2, 0.4, 0.9, 0.5])
    assert (mean, error) == (pytest.approx(0.5), pytest.approx(np.std([0.2, 0.4, 0.9, 0.5], ddof=1) / 2))
    assert high - low == pytest.approx(2 * 1.959964 * error)
    assert interval([1.0, 1.0, 1.0])[1:3] == wilson_interval(3, 3)
    assert interval([0.7])[3] is None


def test_a_summary_without_answers_has_no_numbers() -> None:
    summary = summarize([[0, "none", "a", None, 0.4, None]], LABELS)
    assert (summary["count"], summary["none"], summary["accuracy"], summary["confusion"]) == (
        0,
        1,
        None,
        None,
    )


def test_calibration_and_coverage_are_the_plain_counts() -> None:
    confidences = [0.95, 0.9, 0.85, 0.3, 0.25, 0.25]
    scores = [1.0, 1.0, 0.0, 0.0, 1.0, 0.0]
    summary = summarize(tiles_of(scores, confidences), LABELS)
    high, low = (0.9, 2 / 3), (np.mean([0.3, 0.25, 0.25]), 1 / 3)
    error = 0.5 * abs(high[0] - high[1]) + 0.5 * abs(low[0] - low[1])
    assert summary["calibration"]["error"] == pytest.approx(error)
    assert [one["count"] for one in summary["calibration"]["bins"]] == [3, 3]
    for threshold, share, accuracy in summary["coverage"]:
        kept = [score for score, sure in zip(scores, confidences, strict=True) if sure >= threshold]
        assert (share, accuracy) == (pytest.approx(len(kept) / 6), pytest.approx(np.mean(kept)))


def test_confusion_has_gold_in_rows() -> None:
    tiles = [
        [0, "wrong", "b", "a", 0.5, 0.0],
        [1, "right", "c", "c", 0.5, 1.0],
        [2, "wrong", "x", "a", 0.5, 0.0],
    ]
    assert summarize(tiles, LABELS)["confusion"]["counts"] == [[0, 1, 0], [0, 0, 0], [0, 0, 1]]


def test_marginal_means_average_cards_and_their_error_is_over_rows() -> None:
    scores = {"p": [1.0, 0, 1, 1], "q": [1.0, 0, 0, 0], "r": [0.0, 0, 0, 1]}
    prompts = [
        {"id": "p", "wordings": {"ask": 0}},
        {"id": "q", "wordings": {"ask": 0}},
        {"id": "r", "wordings": {"ask": 1}},
    ]
    tiles = {name: tiles_of(mine) for name, mine in scores.items()}
    (marginal,) = marginal_means(prompts, tiles, {"ask": ["Topic:", "About:"]})
    first, second = marginal["wordings"]
    by_row = np.mean([scores["p"], scores["q"]], axis=0)
    centred = by_row - np.mean([np.mean(scores["p"]), np.mean(scores["q"])])
    assert (first["mean"], first["text"], first["cards"]) == (0.5, "Topic:", 2)
    assert first["error"] == pytest.approx(centred.std(ddof=1) / 2)
    assert second["mean"] == 0.25


def test_paired_tests_use_common_rows_and_holm() -> None:
    draw = np.random.default_rng(0)
    base = draw.random(200) < 0.5
    tiles = {
        "same": tiles_of(base.astype(float).tolist()),
        "also": tiles_of(base.astype(float).tolist()),
        "better": tiles_of((base | (draw.random(200) < 0.4)).astype(float).tolist()),
    }
    tests = {(test["first"], test["second"]): test for test in pairwise_tests(tiles)}
    assert tests["same", "also"]["difference"] == 0 and tests["same", "also"]["adjusted"] == 1
    assert tests["same", "better"]["low"] > 0 and tests["same", "better"]["adjusted"] < 0.05
    assert compare(tiles["same"][:10], tiles["also"][10:]) is None


def test_a_curve_reads_rows_in_order() -> None:
    points = curve(tiles_of([1.0, 0.0, 1.0, 1.0]), [2, 4])
    assert [(number, accuracy) for number, accuracy, *_ in points] == [(2, 0.5), (4, 0.75)]


@given(st.integers(1, 300), st.sets(st.integers(0, 299)), st.integers(1, 400), st.integers(0, 5))
def test_held_out_rows_are_new_random_and_repeatable(
    total: int, seen: set[int], wanted: int, seed: int
) -> None:
    seen = {row for row in seen if row < total}
    if len(seen) == total:
        with pytest.raises(DataError, match="all rows"):
            held_out_rows(total, sorted(seen), wanted, seed, False)
        return
    rows, warnings = held_out_rows(total, sorted(seen), wanted, seed, False)
    assert len(set(rows)) == len(rows) == min(wanted, total - len(seen)) and not seen & set(rows)
    assert bool(seen) == any("left out" in warning for warning in warnings)
    assert rows == held_out_rows(total, sorted(seen), wanted, seed, False)[0]
    every, warnings = held_out_rows(total, sorted(seen), total, seed, True)
    assert sorted(every) == list(range(total)) and bool(seen) == bool(warnings)


@given(st.integers(1, 20_000))
def test_points_of_a_curve_rise_to_the_end(num_rows: int) -> None:
    points = measured_at(num_rows)
    assert points[-1] == num_rows and points == sorted(set(points)) and len(points) <= 56
