"""Comparing methods: baselines behind the same interface, no leak, tables and cards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hortus.counterfactual import CounterNet, GradientSearch, NearestRow, VCNet, evaluate
from hortus.counterfactual.cards import changes_in_words, report_blocks
from hortus.counterfactual.comparison import parts_of
from hortus.errors import ConfigError, DataError
from hortus.report import write_report

from .conftest import people

RANDOM = np.random.default_rng(3)
FRAME = pd.DataFrame(
    {"a": RANDOM.random(150).round(3), "b": RANDOM.random(150).round(3), "k": RANDOM.choice(list("xyz"), 150)}
)
FRAME["y"] = np.where(FRAME.a + 0.4 * (FRAME.k == "x") > 0.6, "yes", "no")
SMALL = {"epochs": 40, "share_size": 16, "middle_size": 16, "latent_size": 3, "learning_rate": 5e-3}


@pytest.fixture(scope="module")
def own() -> VCNet:
    return VCNet(immutable=["b"], **SMALL).fit(FRAME.drop(columns="y"), FRAME.y)


@pytest.mark.parametrize("method", ["gradient", "nearest", "counternet"])
def test_baselines_are_honest_and_respect_what_is_fixed(method: str, own: VCNet) -> None:
    x = FRAME.drop(columns="y")
    explainer = {
        "gradient": lambda: GradientSearch(own, steps=60),
        "nearest": lambda: NearestRow(own, x),
        "counternet": lambda: CounterNet(("b",), epochs=60).fit(x, FRAME.y),
    }[method]()
    answer = explainer.explain(x)
    valid = answer.hortus_valid.to_numpy()
    assert valid.mean() > 0.6
    fresh, before = explainer.predict(answer[list(x.columns)]), explainer.predict(x)
    assert np.array_equal(fresh != before, valid)
    pd.testing.assert_series_equal(answer.b, x.b)
    bounded = explainer.explain(x, bounds={"a": (0.2, 0.9)})
    assert bounded.a[bounded.hortus_valid].between(0.2, 0.9).all()


def test_the_nearest_row_is_the_nearest(own: VCNet) -> None:
    x = FRAME.drop(columns="y")
    free = VCNet(**SMALL).fit(x, FRAME.y)
    answer = NearestRow(free, x).explain(x)
    matrix, predicted = free.encoder_.matrix(free.encoder_.read(x)), free.predict(x)
    for row in range(0, 150, 30):
        others = matrix[predicted != predicted[row]]
        assert answer.hortus_distance.iloc[row] == pytest.approx(np.abs(others - matrix[row]).sum(1).min())


def test_parts_hold_no_duplicates_across() -> None:
    doubled = pd.concat([FRAME, FRAME.iloc[:70]], ignore_index=True)
    seen = []
    for part in parts_of(doubled, "y", 3, seed=0):
        both = pd.concat([part.train, part.test])
        assert len(both) == 150
        known = set(map(tuple, part.train.to_numpy()))
        # The same features with the same label are one row; none is on both sides.
        assert not known & set(map(tuple, part.test.to_numpy()))
        seen.append(part.test)
    assert len(pd.concat(seen)) == 150


def test_comparison_report_and_cards(tmp_path: Path) -> None:
    result = evaluate(
        FRAME, "y", ("vcnet", "nearest", "posthoc"), immutable=["b"], splits=2, rows=30, options={**SMALL}
    )
    assert list(result.table.index) == ["vcnet", "nearest", "posthoc"]
    assert (result.table["violations"] == 0).all()
    assert result.table["validity"].min() > 0.7
    assert result.table.loc["vcnet", "diversity"] > 0
    by_hand = result.splits[result.splits.method == "vcnet"].validity
    assert result.table.loc["vcnet", "validity_se"] == pytest.approx(by_hand.std() / np.sqrt(2))
    write_report(tmp_path / "report.html", "Test", report_blocks(result, "y", row=3), {})
    page = (tmp_path / "report.html").read_text()
    assert "change a from" in page and "Proximity score against L1 proximity" in page


def test_cards_use_the_tables_words(table: tuple[pd.DataFrame, pd.Series], model: VCNet) -> None:
    frame = table[0]
    answer = model.explain(frame)
    row = int(np.flatnonzero(answer.hortus_valid)[0])
    words = changes_in_words(frame.iloc[row], answer.iloc[row])
    assert words.startswith("change ") and "probability of the target" in words
    assert words.count(" from ") == answer.hortus_changed.iloc[row]
    odd, _ = people(2)
    odd = odd.assign(job="astronaut")
    assert "no counterfactual: job is" in changes_in_words(odd.iloc[0], model.explain(odd).iloc[0])


def test_bad_input() -> None:
    with pytest.raises(ConfigError, match="methods names 'vcnett'.*did you mean 'vcnet'"):
        evaluate(FRAME, "y", ("vcnett",))
    with pytest.raises(DataError, match="target 'z' is no column"):
        evaluate(FRAME, "z")
    with pytest.raises(DataError, match="rarest class"):
        evaluate(FRAME, "y", splits=500)
    with pytest.raises(DataError, match="3 classes"):
        CounterNet().fit(FRAME[["a", "b"]], FRAME.k)
    with pytest.raises(ConfigError, match="not a fitted classifier"):
        GradientSearch(VCNet())
