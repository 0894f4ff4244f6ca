"""Errors against their formulas and against resampling written out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hortus.evaluation.statistics import mean_and_error, paired_bootstrap, score_table, spread_of


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=40))
def test_error_of_a_mean(values: list[float]) -> None:
    mean, error = mean_and_error(values)
    n = len(values)
    plain = sum(values) / n
    assert mean == pytest.approx(plain, abs=1e-9)
    assert error == pytest.approx((sum((v - plain) ** 2 for v in values) / (n - 1) / n) ** 0.5, abs=1e-9)


def test_prompts_that_agree_do_not_shrink_the_error() -> None:
    one = np.random.default_rng(0).integers(2, size=(1, 200)).astype(float)
    assert spread_of(np.repeat(one, 5, axis=0)).standard_error == pytest.approx(spread_of(one).standard_error)


def test_spread_is_of_prompt_means() -> None:
    table = np.array([[1.0, 1, 1, 1], [0, 0, 0, 0], [1, 0, np.nan, np.nan], [1, 1, 1, 0]])
    spread = spread_of(table)
    means = [1.0, 0.0, 0.5, 0.75]
    assert spread.mean == np.mean(means) and spread.median == np.median(means)
    assert spread.interquartile_range == pytest.approx(np.subtract(*np.percentile(means, [75, 25])))


@pytest.mark.parametrize("over", ["mean", "median"])
def test_paired_bootstrap_is_resampling_of_documents(over: str) -> None:
    draw = np.random.default_rng(1)
    first = draw.integers(2, size=(3, 80)).astype(float)
    second = np.maximum(first[:2], draw.integers(2, size=(2, 80)))
    second[0, 5] = np.nan
    found = paired_bootstrap(first, second, over=over, draws=4000)
    statistic = np.mean if over == "mean" else np.median
    plain = []
    for _ in range(4000):
        rows = draw.integers(80, size=80)
        plain.append(
            statistic(np.nanmean(second[:, rows], axis=1)) - statistic(np.nanmean(first[:, rows], axis=1))
        )
    observed = statistic(np.nanmean(second, axis=1)) - statistic(np.nanmean(first, axis=1))
    assert found.difference == pytest.approx(observed)
    assert found.standard_error == pytest.approx(np.std(plain), rel=0.06)
    assert found.low == pytest.approx(np.percentile(plain, 2.5), abs=0.02)


def test_paired_errors_are_those_of_the_differences() -> None:
    draw = np.random.default_rng(2)
    first = draw.integers(2, size=(1, 500)).astype(float)
    second = first.copy()
    second[0, :25] = 1 - second[0, :25]
    found = paired_bootstrap(first, second)
    assert found.standard_error == pytest.approx(mean_and_error((second - first)[0])[1], rel=0.06)


def test_no_difference_is_not_significant() -> None:
    same = np.random.default_rng(3).integers(2, size=(2, 60)).astype(float)
    found = paired_bootstrap(same, same)
    assert found.difference == 0 and found.probability == 1 and not found.beyond_two_errors


def test_tables_align_documents_by_number() -> None:
    assert np.isnan(score_table([{1: 1.0}, {2: 0.0}])).sum() == 2
