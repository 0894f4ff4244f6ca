"""Thresholds: against brute force, by hand, under permutation; the ten-bin search against its formula."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hortus.errors import DataError
from hortus.retrieval import choose_bin_thresholds, choose_thresholds
from hortus.retrieval.thresholds import POOLED, retrieves


def brute_force(
    popularity: np.ndarray, parametric: np.ndarray, retrieved: np.ndarray, price: float = 0.0
) -> float:
    """Every cut in ascending order, the first best one."""
    values = sorted(set(popularity.tolist()))
    cuts = [-np.inf, *((a + b) / 2 for a, b in zip(values, values[1:], strict=False)), np.inf]
    scores = []
    for cut in cuts:
        below = popularity < cut
        worth = np.where(below, retrieved, parametric).sum() - price * below.sum()
        scores.append(round(float(worth), 9))
    return cuts[int(np.argmax(scores))]


def test_equals_brute_force_on_a_thousand_tables() -> None:
    draw = np.random.default_rng(633)
    for number in range(1000):
        size = int(draw.integers(1, 40))
        relation = draw.choice(["a", "b", "c"], size)
        # Few distinct values, so that popularities and accuracies tie often.
        popularity = draw.integers(0, int(draw.integers(2, 60)), size).astype(float)
        parametric, retrieved = draw.integers(0, 2, (2, size)).astype(float)
        price = float(draw.choice([0.0, 0.25, -0.25]))
        found = choose_thresholds(relation, popularity, parametric, retrieved, price=price)
        assert set(found) == set(relation.tolist())
        for name, limit in found.items():
            rows = relation == name
            expected = brute_force(popularity[rows], parametric[rows], retrieved[rows], price)
            assert limit == expected, f"table {number}, relation {name}"


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(0, 9), st.booleans(), st.booleans()),
        min_size=1,
        max_size=30,
    )
)
def test_on_its_own_rows_never_worse_than_always_or_never(rows: list[tuple[str, int, bool, bool]]) -> None:
    relation, popularity, parametric, retrieved = (np.array(column) for column in zip(*rows, strict=True))
    found = choose_thresholds(relation, popularity, parametric, retrieved)
    decided = retrieves(found, relation, popularity)
    for name in found:
        mine = relation == name
        adaptive = np.where(decided, retrieved, parametric)[mine].sum()
        assert adaptive >= max(parametric[mine].sum(), retrieved[mine].sum())


def test_order_of_rows_changes_nothing() -> None:
    draw = np.random.default_rng(1)
    relation = draw.choice(["a", "b"], 50)
    popularity, parametric, retrieved = draw.integers(0, 8, 50), *draw.integers(0, 2, (2, 50))
    order = draw.permutation(50)
    first = choose_thresholds(relation, popularity, parametric, retrieved)
    second = choose_thresholds(relation[order], popularity[order], parametric[order], retrieved[order])
    assert first == second


def test_extremes_and_ties() -> None:
    assert choose_thresholds(["a"], [5], [0], [1]) == {"a": np.inf}
    assert choose_thresholds(["a"], [5], [1], [0]) == {"a": -np.inf}
    # Retrieving for the first two and for all four is equally good: the smaller threshold.
    assert choose_thresholds(["a"] * 4, [1, 2, 3, 4], [0, 0, 1, 0], [1, 1, 0, 1]) == {"a": 2.5}
    # Equal popularities are never parted.
    assert choose_thresholds(["a"] * 2, [7, 7], [0, 1], [1, 0]) == {"a": -np.inf}


def test_neighbours_without_a_middle() -> None:
    low = 1.0
    high = float(np.nextafter(low, 2))
    (limit,) = choose_thresholds(["a"] * 2, [low, high], [0, 1], [1, 0]).values()
    assert low < limit <= high


def test_a_relation_with_three_rows_takes_the_common_threshold() -> None:
    relation = ["rare"] * 3 + ["common"] * 40
    popularity = [1, 2, 3, *range(40)]
    parametric = [1, 1, 1, *([0] * 20 + [1] * 20)]
    retrieved = [0, 0, 0, *([1] * 20 + [0] * 20)]
    alone = choose_thresholds(relation, popularity, parametric, retrieved)
    assert alone["rare"] == -np.inf
    pooled = choose_thresholds(relation, popularity, parametric, retrieved, min_rows=10)
    together = choose_thresholds([POOLED] * 43, popularity, parametric, retrieved)
    assert pooled["rare"] == together[POOLED]
    assert pooled["common"] == alone["common"] == 19.5
    shrunken = choose_thresholds(relation, popularity, parametric, retrieved, shrink=20)
    assert shrunken["rare"] == 19.5
    # A vote of next to nothing decides only where the relation's own rows have nothing to say.
    hardly = choose_thresholds(relation, popularity, parametric, retrieved, shrink=1e-6)
    assert hardly == {"rare": 0.5, "common": 19.5}


def test_ten_bins_by_hand() -> None:
    # Edges at 1, 10, ..., 10^10; bin n holds 3 * 10^n. Retrieving helps in bins 0 to 3, hurts above.
    popularity = [1.0, *(3 * 10.0**n for n in range(10)), 1e10]
    helped = [1] * 5 + [0] * 7
    found = choose_bin_thresholds(["a"] * 12, popularity, [1 - h for h in helped], helped)
    assert found["a"] == pytest.approx(1e4)
    # The exact search cuts between the neighbours themselves.
    exact = choose_thresholds(["a"] * 12, popularity, [1 - h for h in helped], helped)
    assert exact["a"] == (3e3 + 3e4) / 2
    never = choose_bin_thresholds(["a"] * 12, popularity, [1] * 12, [1] * 12)
    assert never["a"] == -np.inf
    always = choose_bin_thresholds(["a"] * 12, popularity, [0] * 12, [1] * 12)
    assert always["a"] == np.inf


def test_bin_edges_see_all_rows_and_accuracy_only_training() -> None:
    popularity, parametric, retrieved = [1.0, 3.0, 1e10], [0, 1, 1], [1, 0, 0]
    training = np.array([True, True, False])
    found = choose_bin_thresholds(["a"] * 3, popularity, parametric, retrieved, training=training)
    # Both training rows lie in the first of ten bins over all three, so no cut parts them: a tie, never.
    assert found == {"a": -np.inf}


@pytest.mark.parametrize(
    ("popularity", "scores", "words"),
    [([1, 2], [1], "rows"), ([-1], [1], "negative"), ([np.nan], [1], "not a number"), ([], [], "no rows")],
)
def test_bad_rows(popularity: list[float], scores: list[int], words: str) -> None:
    with pytest.raises(DataError, match=words):
        choose_thresholds(["a"] * len(popularity), popularity, scores, scores)


def test_relations_without_threshold() -> None:
    assert retrieves({"a": 5.0, POOLED: 2.0}, ["b", "b"], np.array([1, 3])).tolist() == [True, False]
    assert retrieves({"a": 5.0}, ["b"], np.array([1e9])).tolist() == [True]
