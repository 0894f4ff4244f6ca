"""Frame to matrix and back: nothing is lost, nothing is invented."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hortus.counterfactual.columns import CategoryColumn, ConstantColumn, NumberColumn, infer_columns
from hortus.counterfactual.encoding import MISSING, UNSEEN, Rows, TableEncoder
from hortus.errors import ConfigError, DataError

NAMES = st.sampled_from(["a", "b", "c", "some text", "Ünïcode"])
CELLS = {
    "int": st.integers(-1000, 1000),
    "float": st.floats(-1e6, 1e6, allow_nan=False, width=64),
    "text": NAMES,
    "bool": st.booleans(),
    "gap": st.one_of(st.none(), st.floats(0, 10, width=32)),
    "text_gap": st.one_of(st.none(), NAMES),
}


@st.composite
def tables(draw: st.DrawFn) -> pd.DataFrame:
    """Random tables with columns of every kind."""
    num_rows = draw(st.integers(2, 12))
    kinds = draw(st.lists(st.sampled_from(sorted(CELLS)), min_size=1, max_size=5))
    columns = {
        f"{kind}{place}": draw(st.lists(CELLS[kind], min_size=num_rows, max_size=num_rows))
        for place, kind in enumerate(kinds)
    }
    return pd.DataFrame(columns)


@settings(max_examples=60, deadline=None)
@given(tables())
def test_matrix_and_rows_agree_for_any_table(frame: pd.DataFrame) -> None:
    try:
        encoder = TableEncoder.fit(frame)
    except DataError as error:
        assert "no column varies" in str(error)
        return
    rows = encoder.read(frame)
    matrix = encoder.matrix(rows)
    assert matrix.shape == (len(frame), encoder.width)
    assert ((matrix >= 0) & (matrix <= 1)).all()
    for start, end in encoder.groups:
        assert (matrix[:, start:end].sum(1) == 1).all()
        assert set(np.unique(matrix[:, start:end])) <= {0.0, 1.0}
    # Scaled numbers come back: rounding to the column's own decimals restores the very value.
    back = encoder.unscale(matrix[:, : len(encoder.numbers)])
    for place, column in enumerate(encoder.numbers):
        known = ~np.isnan(rows.numbers[:, place])
        tolerance = 0.0 if column.decimals is not None else 1e-9 * max(1.0, column.span)
        assert np.allclose(back[known, place], rows.numbers[known, place], rtol=0, atol=tolerance)


@settings(max_examples=60, deadline=None)
@given(tables(), st.randoms(use_true_random=False))
def test_written_rows_are_read_back(frame: pd.DataFrame, random: object) -> None:
    """Rows shuffled among themselves, written into the frame, are what is read from it; dtypes stay."""
    try:
        encoder = TableEncoder.fit(frame)
    except DataError:
        return
    original = encoder.read(frame)
    order = np.array(random.sample(range(len(frame)), len(frame)))  # type: ignore[attr-defined]
    other = original.take(order)
    written = encoder.write(other, frame, original)
    assert list(written.columns) == list(frame.columns)
    # A missing value can't be moved into an integer or text cell: only known values are.
    if np.isnan(original.numbers).any() or (original.codes < 0).any():
        return
    assert (written.dtypes == frame.dtypes).all()
    again = encoder.read(written)
    assert np.array_equal(again.numbers, other.numbers)
    assert np.array_equal(again.codes, other.codes)


def test_untouched_cells_are_the_same_objects_bit_for_bit() -> None:
    frame = pd.DataFrame({"x": [0.1, 0.2, 0.30000000000000004], "k": ["a", "b", "a"]})
    encoder = TableEncoder.fit(frame)
    rows = encoder.read(frame)
    changed = rows.copy()
    changed.numbers[0, 0], changed.codes[1, 0] = 0.25, 0
    written = encoder.write(changed, frame, rows)
    assert written.x.tolist() == [0.25, 0.2, 0.30000000000000004]
    assert written.k.tolist() == ["a", "a", "a"]
    assert frame.x.tolist()[0] == 0.1


@pytest.mark.parametrize("dtype", ["int8", "int64", "float32", "float64", "Int64", "object"])
def test_number_dtypes_are_kept(dtype: str) -> None:
    frame = pd.DataFrame({"x": pd.Series([1, 5, 9, 7], dtype=dtype)})
    encoder = TableEncoder.fit(frame)
    rows = encoder.read(frame)
    changed = Rows(rows.numbers[::-1].copy(), rows.codes)
    written = encoder.write(changed, frame, rows)
    assert written.x.dtype == frame.x.dtype
    assert [int(value) for value in written.x] == [7, 9, 5, 1]


def test_an_integer_too_narrow_is_widened() -> None:
    frame = pd.DataFrame({"x": [0, 500, 30]})
    encoder = TableEncoder.fit(frame)
    narrow = pd.DataFrame({"x": np.array([1], dtype=np.int8)})
    rows = encoder.read(narrow)
    written = encoder.write(Rows(np.array([[500.0]]), rows.codes), narrow, rows)
    assert written.x.tolist() == [500]


def test_a_category_dtype_gains_what_it_lacks() -> None:
    frame = pd.DataFrame({"k": pd.Categorical(["a", "b", "c"])})
    encoder = TableEncoder.fit(frame)
    one = pd.DataFrame({"k": pd.Categorical(["a"])})
    rows = encoder.read(one)
    written = encoder.write(Rows(rows.numbers, np.array([[2]])), one, rows)
    assert written.k.tolist() == ["c"]
    assert isinstance(written.k.dtype, pd.CategoricalDtype)


def test_kinds_are_inferred() -> None:
    frame = pd.DataFrame(
        {
            "number": [1.5, 2.25, 3.0],
            "whole": [1, 2, 3],
            "switch": [0, 1, 1],
            "text": ["x", "y", "x"],
            "truth": [True, False, True],
            "one": [7, 7, 7],
            "nothing": [None, None, None],
            "gap": [1.0, np.nan, 1.0],
        }
    )
    kinds = {column.name: column for column in infer_columns(frame)}
    assert isinstance(kinds["number"], NumberColumn) and kinds["number"].decimals == 2
    assert isinstance(kinds["whole"], NumberColumn) and kinds["whole"].decimals == 0
    assert isinstance(kinds["switch"], CategoryColumn) and kinds["switch"].categories == (0, 1)
    assert isinstance(kinds["truth"], CategoryColumn) and kinds["truth"].categories == (False, True)
    assert isinstance(kinds["one"], ConstantColumn) and isinstance(kinds["nothing"], ConstantColumn)
    assert isinstance(kinds["gap"], CategoryColumn) and kinds["gap"].missing
    chosen = {c.name: c for c in infer_columns(frame, categorical=["whole"], numeric=["switch"])}
    assert isinstance(chosen["whole"], CategoryColumn)
    assert isinstance(chosen["switch"], NumberColumn)


def test_empty_cells_are_marked_and_the_unseen_is_named() -> None:
    frame = pd.DataFrame({"x": [1.0, np.nan, 3.0, 2.0], "k": ["a", None, "b", "a"], "full": [1, 2, 3, 4]})
    encoder = TableEncoder.fit(frame)
    rows = encoder.read(frame)
    assert encoder.matrix(rows)[1].tolist() == [0.5, 1 / 3, 1.0, 0.0, 0.0, 1.0]
    odd = pd.DataFrame({"x": [9.0, 2.0], "k": ["c", "a"], "full": [1.0, np.nan]})
    with pytest.raises(DataError, match="row 0: k is 'c', which training never saw.*1 more"):
        encoder.read(odd)
    ignored = encoder.read(odd, unseen="ignore")
    assert ignored.codes[0, 0] == UNSEEN
    assert encoder.matrix(ignored)[0].tolist() == [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    assert encoder.problems(odd, ignored) == {
        0: "k is 'c', which training never saw",
        1: "full is empty (NaN), which training never saw",
    }
    assert encoder.read(frame).codes[1, 0] == MISSING


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pd.to_datetime(["2020-01-01", "2021-01-01"]), "holds dates"),
        ([1.0, np.inf], "contains infinity"),
        ([1 + 2j, 3.0], "complex data not supported"),
        ([[1], [2]], "nested values|unhashable"),
    ],
)
def test_what_is_no_table_is_refused(column: object, message: str) -> None:
    with pytest.raises((DataError, TypeError), match=message):
        TableEncoder.fit(pd.DataFrame({"bad": column, "x": [1, 2]}))


def test_names_are_checked() -> None:
    frame = pd.DataFrame({"age": [1, 2, 3]})
    with pytest.raises(ConfigError, match="categorical names 'aeg'.*did you mean 'age'"):
        TableEncoder.fit(frame, categorical=["aeg"])
    with pytest.raises(ConfigError, match="in categorical and in numeric"):
        TableEncoder.fit(frame, categorical=["age"], numeric=["age"])


def test_the_encoding_survives_json(table: tuple[pd.DataFrame, pd.Series]) -> None:
    import json

    encoder = TableEncoder.fit(table[0])
    again = TableEncoder.from_json(json.loads(json.dumps(encoder.to_json())))
    assert again == encoder
