"""Opened data: search, filter, sort, balance, working sets; malformed files; many rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hortus.errors import ConfigError, DataError
from hortus.prompts import load_dataset
from hortus.studio.config import DataSource, WorkingRequest
from hortus.studio.data import OpenData, Table, shortened
from tests.studio.conftest import rows_of, write_jsonl

VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers()))


@pytest.fixture(scope="module")
def table() -> Table:
    return Table(load_dataset(rows_of(40)), "news")


def test_search_filter_and_sort_agree_with_plain_python(table: Table) -> None:
    rows = rows_of(40)
    found = table.find(search="NUMBER 1", filters=["label=Sports"], sort="text", descending=True)
    expected = [n for n, row in enumerate(rows) if "number 1" in row["text"] and row["label"] == "Sports"]
    expected.sort(key=lambda n: rows[n]["text"], reverse=True)
    assert found.tolist() == expected and expected
    assert table.find(search="War", field="label").tolist() == []


def test_numbers_sort_as_numbers_even_as_text() -> None:
    table = Table(load_dataset([{"n": text} for text in ("10", "9", "", "-1.5")]), "n")
    assert table.fields()[0]["kind"] == "number"
    assert table.find(sort="n").tolist()[:3] == [3, 1, 0]


def test_a_search_is_a_text_and_not_a_pattern(table: Table) -> None:
    assert len(table.find(search=".*")) == 0


@pytest.mark.parametrize("bad", ["label", "=x", "nothing=x"])
def test_bad_filters_are_named(table: Table, bad: str) -> None:
    with pytest.raises((ConfigError, DataError), match="filter|no field"):
        table.find(filters=[bad])


def test_balance_counts_every_row(table: Table) -> None:
    balance = table.balance("label", search="goal")
    assert balance["values"] == [{"value": "Sports", "count": 10}] and balance["total"] == 10


def test_working_sets(table: Table) -> None:
    drawn = table.draw(WorkingRequest(how="stratified", count=8, field="label", seed=3))
    labels = [table.row(row)["label"] for row in drawn]
    assert sorted(labels) == sorted(2 * ["World", "Sports", "Business", "Science"])
    assert table.draw(WorkingRequest(count=8, seed=3)) == table.draw(WorkingRequest(count=8, seed=3))
    assert table.draw(WorkingRequest(how="picked", rows=(7, 2, 7))) == [7, 2]
    with pytest.raises(DataError, match="row 99"):
        table.draw(WorkingRequest(how="picked", rows=(99,)))
    with pytest.raises(ConfigError, match="working set of 21"):
        WorkingRequest(count=21)
    with pytest.raises(DataError, match="no row"):
        table.draw(WorkingRequest(search="nowhere"))


def test_the_task_is_guessed_from_a_label_like_field(table: Table) -> None:
    task = table.guess_task()
    assert task["label"] == "label"
    assert [one["wording"] for one in task["classes"]] == ["Business", "Science", "Sports", "World"]


def test_class_names_of_the_hub_become_wordings(tmp_path: Path) -> None:
    about = {"info": {"features": {"label": {"_type": "ClassLabel", "names": ["No", "Yes_sir"]}}}}
    data = pa.table({"text": ["a", "b", "c"], "label": [0, 1, 1]})
    pq.write_table(
        data.replace_schema_metadata({b"huggingface": json.dumps(about).encode()}), tmp_path / "a.parquet"
    )
    task = OpenData().open(DataSource(source=str(tmp_path / "a.parquet"))).guess_task()
    assert task["classes"] == [{"value": "0", "wording": "No"}, {"value": "1", "wording": "Yes sir"}]


def test_columns_that_a_template_could_not_spell_are_renamed(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("my text,2nd-part,ok-name\na,b,c\n")
    table = OpenData().open(DataSource(source=str(tmp_path / "a.csv")))
    assert table.row(0) == {"my_text": "a", "_2nd_part": "b", "ok_name": "c"}


MALFORMED: dict[str, tuple[str, bytes, str]] = {
    "empty": ("a.csv", b"", "empty"),
    "header only": ("a.csv", b"text,label\n", "no rows"),
    "uneven": ("a.csv", b"a,b\n1,2\n1,2,3\n", "record 3 has 3 fields"),
    "open quote": ("a.csv", b'a,b\n"1,2\n', "record 2"),
    "no utf-8": ("a.csv", b"a\n\xff\xfe\n", "not utf-8"),
    "twice": ("a.csv", b"a,a\n1,2\n", "twice"),
    "no json": ("a.jsonl", b'{"a": 1}\n{oops\n', "record 2 is not JSON"),
    "a list": ("a.jsonl", b"[1]\n", "list"),
    "deep": ("a.jsonl", b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n", "a.jsonl"),
    "kept name": ("a.jsonl", b'{"answer_choices": 1}\n', "answer_choices"),
    "no parquet": ("a.parquet", b"PAR1 nothing", "parquet"),
    "suffix": ("a.exe", b"MZ", "suffix"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_files_are_refused_with_the_place(tmp_path: Path, name: str) -> None:
    file, content, words = MALFORMED[name]
    (tmp_path / file).write_bytes(content)
    with pytest.raises(DataError, match=words):
        OpenData().open(DataSource(source=str(tmp_path / file)))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from("abc"), VALUES, min_size=1), min_size=1, max_size=8))
def test_any_values_can_be_opened_searched_and_sorted(rows: list[dict[str, Any]]) -> None:
    table = Table(load_dataset(rows), "any")
    assert len(table.fields()) == len(table.columns)
    for field in table.columns:
        assert sorted(table.find(sort=field).tolist()) == list(range(len(rows)))
        assert table.balance(field)["total"] == len(rows)


def test_files_that_change_are_read_again(tmp_path: Path) -> None:
    data, path = OpenData(), tmp_path / "a.jsonl"
    write_jsonl(path, rows_of(3))
    source = DataSource(source=str(path))
    before = data.open(source)
    assert data.open(source) is before
    write_jsonl(path, rows_of(5))
    assert len(data.open(source)) == 5


def test_long_values_are_cut_for_lists() -> None:
    row, cut = shortened({"a": "x" * 5000, "b": list(range(3000)), "c": 1})
    assert cut and len(row["a"]) == 2000 and len(row["b"]) == 2000 and row["c"] == 1
    assert shortened({"a": "x"}) == ({"a": "x"}, False)


def test_many_rows_page_by_number() -> None:
    rows = [{"text": f"row {n} {'x' * 60}", "label": str(n % 4)} for n in range(20_000)]
    table = Table(load_dataset(rows), "many")
    found = table.find(search="row 1999", sort="text")
    assert found.tolist() == [1999, *range(19990, 20000)]
    assert np.array_equal(table.find(search="row 1999", sort="text"), found)
