"""What `explain` promises, on a model with every kind of column, and for random tables."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hortus.counterfactual import VCNet, VCNetRegressor
from hortus.errors import ConfigError, DataError

from .conftest import people
from .test_encoding import tables

RESULTS = ["hortus_valid", "hortus_probability", "hortus_distance", "hortus_changed", "hortus_reason"]
Data = tuple[pd.DataFrame, pd.Series]


def assert_honest(model: VCNet, frame: pd.DataFrame, answer: pd.DataFrame) -> None:
    """The flags say what a fresh prediction of the returned rows says."""
    assert list(answer.columns) == [*frame.columns, *RESULTS]
    assert answer.index.equals(frame.index)
    fresh = model.predict(answer[list(frame.columns)])
    before = model.predict(frame)
    valid = answer.hortus_valid.to_numpy()
    if len(model.classes_) == 2:
        assert np.array_equal(valid, fresh != before)
    else:
        assert (fresh[valid] != before[valid]).all()
    assert (answer.hortus_reason[valid] == "").all()
    assert (answer.hortus_reason[~valid] != "").all()
    same = (answer[frame.columns] == frame) | (answer[frame.columns].isna() & frame.isna())
    assert np.array_equal((~same).sum(axis=1), answer.hortus_changed)
    assert (answer.hortus_changed[~valid] == 0).all()


def test_layout_order_dtype_and_honesty(model: VCNet, table: Data) -> None:
    frame = table[0].iloc[::-1]
    answer = model.explain(frame)
    assert_honest(model, frame, answer)
    assert (answer[frame.columns].dtypes == frame.dtypes).all()
    assert answer.hortus_valid.mean() > 0.9
    assert answer.age.equals(frame.age) and answer.unit.equals(frame.unit)
    assert set(answer.job) <= set(frame.job)
    # Values are such as the table could hold: two decimals, inside of what training saw.
    assert np.array_equal(answer.income.round(2), answer.income)
    assert answer.income.between(frame.income.min(), frame.income.max()).all()
    # What is not known is not acted on.
    assert np.array_equal(answer.debt.isna(), frame.debt.isna())


def test_columns_in_any_order(model: VCNet, table: Data) -> None:
    frame = table[0]
    turned = frame[frame.columns[::-1]]
    answer = model.explain(turned)
    assert list(answer.columns[: frame.shape[1]]) == list(turned.columns)
    pd.testing.assert_frame_equal(answer[[*frame.columns, *RESULTS]], model.explain(frame))


def test_the_same_for_one_row_and_many(model: VCNet, table: Data) -> None:
    frame = table[0]
    together = model.explain(frame)
    done = together.index[together.hortus_valid][:5]
    for row in done:
        alone = model.explain(frame.loc[[row]])
        if alone.hortus_changed.iloc[0] == together.hortus_changed[row]:
            assert alone.hortus_probability.iloc[0] == pytest.approx(
                together.hortus_probability[row], abs=1e-9
            )
        assert alone.hortus_valid.iloc[0]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    immutable=st.sets(st.sampled_from(["job", "level", "owner", "debt"])),
    low=st.one_of(st.none(), st.integers(0, 3000)),
    way=st.sampled_from([None, "increase", "decrease"]),
    level_way=st.sampled_from([None, "increase", "decrease"]),
    jobs=st.one_of(st.none(), st.sets(st.sampled_from(["clerk", "nurse", "smith", "none"]), min_size=1)),
    seed=st.integers(0, 5),
)
def test_limits_hold_bit_for_bit(
    model: VCNet,
    immutable: set[str],
    low: int | None,
    way: str | None,
    level_way: str | None,
    jobs: set[str] | None,
    seed: int,
) -> None:
    frame, _ = people(40, seed)
    bounds = {"income": (low, 6000)} | ({"job": sorted(jobs)} if jobs else {})
    direction = {k: w for k, w in (("income", way), ("level", level_way)) if w}
    answer = model.explain(frame, immutable=immutable, bounds=bounds, direction=direction)
    for name in immutable | {"age", "unit"}:
        pd.testing.assert_series_equal(answer[name], frame[name])
    done = answer.hortus_valid
    assert answer.income[done].between(low if low is not None else 0, 6000).all()
    if jobs and "job" not in immutable:
        assert answer.job[done].isin(jobs).all()
    if way == "increase":
        assert (answer.income >= frame.income).all()
    if way == "decrease":
        assert (answer.income <= frame.income).all()
    if level_way == "increase":
        assert (answer.level.cat.codes >= frame.level.cat.codes).all()
    if level_way == "decrease":
        assert (answer.level.cat.codes <= frame.level.cat.codes).all()
    assert (model.predict(answer[frame.columns][done]) != model.predict(frame[done])).all()
    assert len(answer) == len(frame)
    assert ((answer.hortus_reason == "") == done).all()


@settings(max_examples=12, deadline=None)
@given(tables(), st.integers(0, 3))
def test_random_tables(frame: pd.DataFrame, seed: int) -> None:
    """Any table with two classes: fitted, explained, honest, first column fixed bit for bit."""
    frame = pd.concat([frame] * 3, ignore_index=True)
    y = np.arange(len(frame)) % 2
    immutable = [frame.columns[0]] if frame.shape[1] > 1 else []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            fitted = VCNet(
                immutable=immutable, epochs=1, share_size=4, middle_size=4, latent_size=2, random_state=seed
            ).fit(frame, y)
        except (DataError, ConfigError) as error:
            assert "varies" in str(error)
            return
    answer = fitted.explain(frame)
    assert_honest(fitted, frame, answer)
    for name in immutable:
        pd.testing.assert_series_equal(answer[name], frame[name])
    for column in fitted.encoder_.categories:
        assert set(answer[column.name].dropna()) <= set(column.categories)


def test_more_than_one(model: VCNet, table: Data) -> None:
    frame = table[0].iloc[:20]
    answer = model.explain(frame, n=3, sample=True)
    assert answer.index.names[-1] == "candidate" and len(answer) == 60
    values = answer.drop(columns=RESULTS).map(str).agg("|".join, axis=1)
    for row, group in answer.groupby(level=0):
        done = group.index[group.hortus_valid]
        assert values[done].is_unique
        assert group[~group.hortus_valid].hortus_reason.str.contains("only|no candidate").all(), row
    assert answer.hortus_valid.mean() > 0.8
    pd.testing.assert_frame_equal(answer, model.explain(frame, n=3, sample=True))


def test_a_target_that_is_already_there(model: VCNet, table: Data) -> None:
    frame = table[0]
    answer = model.explain(frame, target="yes")
    already = model.predict(frame) == "yes"
    assert answer.hortus_valid[already].all()
    assert (answer.hortus_changed[already] == 0).all() and (answer.hortus_distance[already] == 0).all()
    assert answer.hortus_reason[already].str.contains("already").all()
    mixed = model.explain(frame, target=np.where(already, "no", "yes"))
    assert (mixed.hortus_changed[mixed.hortus_valid] > 0).all()


def test_rows_that_cannot_be_explained_stay_with_a_reason(model: VCNet, table: Data) -> None:
    frame = table[0].iloc[:4].copy()
    frame["job"] = frame["job"].astype(object)
    frame.iloc[0, 0] = "astronaut"
    frame["age"] = frame["age"].astype(float)
    frame.iloc[1, 1] = np.nan
    answer = model.explain(frame)
    assert answer.hortus_valid.tolist()[:2] == [False, False]
    assert "job is 'astronaut', which training never saw" in answer.hortus_reason.iloc[0]
    assert "age is empty" in answer.hortus_reason.iloc[1]
    with pytest.raises(DataError, match="'astronaut'"):
        model.predict(frame)
    assert len(model.explain(frame.iloc[:0])) == 0


def test_contradictions_of_one_row_are_its_reason(model: VCNet, table: Data) -> None:
    frame = table[0]
    answer = model.explain(frame, bounds={"income": (None, 2000)}, direction={"income": "increase"})
    above = (frame.income > 2000).to_numpy()
    assert answer.hortus_reason[above].str.contains("no value is left for income").all()
    assert not answer.hortus_valid[above].any()
    fixed = model.explain(frame, bounds={"age": (18, 30)})
    assert fixed.hortus_reason[(frame.age > 30).to_numpy()].str.contains("immutable and outside").all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": "maybe"}, "target='maybe' is no class"),
        ({"target": ["yes"]}, "target has shape"),
        ({"immutable": ["jbo"]}, "immutable names 'jbo'.*did you mean 'job'"),
        ({"immutable": "job"}, "is a text"),
        ({"immutable": ["job", "level", "income", "owner", "debt"]}, "every column is immutable"),
        ({"bounds": {"income": (9, 2)}}, "contradict each other"),
        ({"bounds": {"income": (1e9, None)}}, "no value of the training range"),
        ({"bounds": {"income": 3}}, "a pair"),
        ({"bounds": {"job": ["pilot"]}}, "'pilot', which is no category"),
        ({"bounds": {"job": "nurse"}}, "a list of its categories"),
        ({"direction": {"income": "up"}}, "increase, decrease"),
        ({"direction": {"job": "increase"}}, "no order"),
        ({"n": 0}, "whole numbers from 1"),
    ],
)
def test_wrong_arguments_are_named(model: VCNet, table: Data, arguments: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        model.explain(table[0], **arguments)


def test_several_classes() -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"a": random.random(300), "b": random.random(300), "k": random.choice(list("xyz"), 300)}
    )
    y = np.array(["low", "mid", "top"])[np.digitize(frame.a + 0.2 * frame.b, [0.4, 0.8])]
    model = VCNet(epochs=60, share_size=32, middle_size=16, latent_size=4, learning_rate=3e-3).fit(frame, y)
    assert model.predict_proba(frame).shape == (300, 3)
    assert model.score(frame, y) > 0.9
    answer = model.explain(frame)
    assert_honest(model, frame, answer)
    to_top = model.explain(frame, target="top")
    assert to_top.hortus_valid.mean() > 0.9
    assert (model.predict(to_top[frame.columns][to_top.hortus_valid]) == "top").all()
    # Rows do not depend on one another.
    few = model.explain(frame.iloc[[5, 200]], target="top")
    pd.testing.assert_series_equal(few.hortus_valid, to_top.hortus_valid.iloc[[5, 200]])


def test_regression_reaches_values_and_ranges() -> None:
    random = np.random.default_rng(1)
    frame = pd.DataFrame({"rooms": random.integers(1, 9, 300), "town": random.choice(list("abc"), 300)})
    y = 100.0 * frame.rooms + 50 * (frame.town == "a")
    model = VCNetRegressor(epochs=80, share_size=32, middle_size=16, latent_size=4, learning_rate=3e-3)
    model.fit(frame, y)
    assert model.score(frame, y) > 0.95
    for target in [(500.0, 700.0), (600.0, None), 450.0, np.linspace(200, 700, 300)]:
        answer = model.explain(frame, target=target)
        fresh = model.predict(answer[frame.columns])
        assert np.allclose(fresh, answer.hortus_prediction, rtol=0, atol=1e-9)
        assert answer.hortus_valid.mean() > 0.9
    done = model.explain(frame, target=(500.0, 700.0))
    assert done.hortus_prediction[done.hortus_valid].between(500, 700).all()
    with pytest.raises(ConfigError, match="target=None does not say"):
        model.explain(frame)
    with pytest.raises(ConfigError, match="outside of what training saw"):
        model.explain(frame, target=(5000.0, None))
    with pytest.raises(ConfigError, match="contradicts itself"):
        model.explain(frame, target=(700.0, 500.0))
