"""Files, folders, hub layouts and iterables become rows of fields."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hortus.errors import ConfigError, DataError
from hortus.prompts import DatasetConfig, hold_out, load_dataset
from hortus.prompts.hub import choose_files
from hortus.prompts.rows import open_file

ROWS = [{"text": f"row {number}", "label": number % 2} for number in range(50)]


def write(folder: Path, suffix: str, rows: list[dict[str, Any]] = ROWS, name: str = "train") -> Path:
    path = folder / f"{name}.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=7)
    elif suffix == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="," if suffix == "csv" else "\t")
            writer.writeheader()
            writer.writerows(rows)
    return path


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "tsv", "parquet"])
def test_the_same_rows_from_every_format(tmp_path: Path, suffix: str) -> None:
    data = load_dataset(write(tmp_path, suffix), classes={"label": ("no", "yes")})
    assert (len(data), data.columns) == (50, ("text", "label"))
    assert list(data) == ROWS
    assert data.take([49, 0, 7]) == [ROWS[49], ROWS[0], ROWS[7]]
    assert data.blocks[-1][1] == 50 and len(data.blocks) == (8 if suffix == "parquet" else 1)
    with pytest.raises(IndexError):
        data[50]


CELL = st.text(st.characters(codec="utf-8", exclude_characters="\r\x00"), max_size=12)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(CELL, CELL), min_size=1, max_size=8))
def test_csv_records_are_those_of_the_standard_reader(
    tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[str, str]]
) -> None:
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows([("a", "b"), *cells])
    path.write_bytes(text.getvalue().encode())
    rows = open_file(path)
    assert [rows.row(index) for index in range(len(rows))] == [{"a": a, "b": b} for a, b in cells]


def test_tsv_keeps_quotes_and_needs_no_header(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_bytes(b'"Quoted" he said\tyes\n\nlast "\tno')
    data = load_dataset(path, names=("text", "label"), classes={"label": ("no", "yes")})
    assert list(data) == [{"text": '"Quoted" he said', "label": 1}, {"text": 'last "', "label": 0}]


def test_other_encodings_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_bytes("caf\xe9\t1\n".encode("latin-1"))
    assert load_dataset(path, names=("a", "b"), encoding="latin-1")[0]["a"] == "café"
    with pytest.raises(DataError, match="record 1 is not utf-8.*encoding"):
        load_dataset(path, names=("a", "b"))[0]


def test_columns_are_renamed_and_hyphens_replaced() -> None:
    rows = [{"sentence-one": "a", "gold": "x", "label": "own"}]
    data = load_dataset(rows, columns={"premise": "sentence-one", "label": "gold"})
    assert data.columns == ("premise", "label", "label_original")
    assert data[0] == {"premise": "a", "label": "x", "label_original": "own"}


def test_classes_by_name_number_and_nothing() -> None:
    values: list[Any] = ["yes", "no", 1, "0", True, None, "", -1, "-1"]
    data = load_dataset([{"label": value} for value in values], classes={"label": ("no", "yes")})
    assert [row["label"] for row in data] == [1, 0, 1, 0, 1, -1, -1, -1, -1]
    assert data.class_names == {"label": ("no", "yes")}


@pytest.mark.parametrize("value", ["yess", 2, "7", 0.5])
def test_a_label_that_is_no_class_is_named(value: Any) -> None:
    data = load_dataset([{"label": "no"}, {"label": value}], classes={"label": ("no", "yes")})
    with pytest.raises(DataError, match="row 1: label=.*none of its 2 classes"):
        list(data)


def test_types_of_text_files(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('n,f,j\n3,0.5,"[1, 2]"\n,,\n')
    data = load_dataset(path, types={"n": "int", "f": "float", "j": "json"})
    assert list(data) == [{"n": 3, "f": 0.5, "j": [1, 2]}, {"n": None, "f": None, "j": None}]
    with pytest.raises(DataError, match="no int"):
        list(load_dataset(path, types={"f": "int"}))


def test_a_field_left_out_of_a_json_line_is_null(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n{"a": 2, "b": 3}\n')
    assert list(load_dataset(path)) == [{"a": 1, "b": None}, {"a": 2, "b": 3}]


def test_a_hub_file_carries_its_class_names(tmp_path: Path) -> None:
    features = {"info": {"features": {"label": {"names": ["neg", "pos"], "_type": "ClassLabel"}}}}
    table = pa.table({"label": [1]}).replace_schema_metadata({"huggingface": json.dumps(features)})
    pq.write_table(table, tmp_path / "a.parquet")
    assert load_dataset(tmp_path / "a.parquet").class_names == {"label": ("neg", "pos")}


def test_a_folder_by_split_with_shards(tmp_path: Path) -> None:
    for shard in range(2):
        rows = ROWS[shard * 25 : shard * 25 + 25]
        write(tmp_path, "parquet", rows, name=f"train-0000{shard}-of-00002")
    write(tmp_path, "parquet", ROWS[:3], name="validation")
    data = load_dataset(tmp_path)
    assert list(data) == ROWS and [start for start, _ in data.blocks][4] == 25
    assert len(load_dataset(tmp_path, split="validation")) == 3
    assert len(load_dataset(tmp_path, max_rows=30)) == 30
    with pytest.raises(DataError, match="no split 'valid'.*did you mean 'validation'"):
        load_dataset(tmp_path, split="valid")


HUB = [
    "rte/train/0000.parquet",
    "rte/train/0001.parquet",
    "rte/validation/0000.parquet",
    "cb/train/0000.parquet",
]


def test_hub_files_are_chosen_by_subset_and_split() -> None:
    assert choose_files(HUB, "rte", "train", "glue") == HUB[:2]
    assert choose_files(["default/partial-train/0000.parquet"], None, "train", "d") != []
    with pytest.raises(DataError, match="several subsets.*cb, rte"):
        choose_files(HUB, None, "train", "glue")
    with pytest.raises(DataError, match="no subset 'rtee'.*'rte'"):
        choose_files(HUB, "rtee", "train", "glue")


def test_a_hub_id_is_downloaded_from_its_parquet_branch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    write(tmp_path, "parquet", ROWS[:4], name="0000")
    asked = []

    def download(repository: str, name: str, *, repo_type: str, revision: str) -> str:
        asked.append((repository, name, repo_type, revision))
        return str(tmp_path / "0000.parquet")

    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", lambda self, *_, **__: HUB)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    assert list(load_dataset("super_glue", subset="cb")) == ROWS[:4]
    assert asked == [("super_glue", "cb/train/0000.parquet", "dataset", "refs/convert/parquet")]


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("", "a.jsonl", "is empty"),
        ("\n\n", "a.jsonl", "no rows"),
        ("a,b\n", "a.csv", "no rows"),
        ("{broken\n", "a.jsonl", "record 1 is not JSON"),
        ("[1]\n", "a.jsonl", "one JSON object a line"),
        ("a,b\n1\n", "a.csv", "record 2 has 1 fields"),
        ("a,a\n1,2\n", "a.csv", "names a column twice"),
        ("x", "a.txt", "no known data suffix"),
        ("no parquet", "a.parquet", "not a readable parquet"),
        ('{"answer_choices": 1}\n', "a.jsonl", "keep for the choices"),
    ],
)
def test_broken_files_say_what_is_wrong(tmp_path: Path, text: str, name: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        load_dataset(tmp_path / name)[0]


def test_wrong_options_are_named() -> None:
    with pytest.raises(ConfigError, match="did you mean 'columns'"):
        load_dataset([{"a": 1}], colums={})
    with pytest.raises(DataError, match="no column 'abd'.*did you mean 'abc'"):
        load_dataset([{"abc": 1}], columns={"x": "abd"})
    with pytest.raises(DataError, match="no field 'y'"):
        load_dataset([{"a": 1}], classes={"y": ("n",)})
    with pytest.raises(ConfigError, match="unknown kinds"):
        DatasetConfig(source="a", types={"a": "date"})
    with pytest.raises(DataError, match="no file or folder"):
        load_dataset("./missing.jsonl")
    with pytest.raises(DataError, match="no rows"):
        load_dataset([])


@given(st.integers(2, 60), st.integers(2, 20))
def test_held_out_rows_and_the_others_are_all_rows(length: int, step: int) -> None:
    data = load_dataset([{"n": n} for n in range(length)])
    training, validation = hold_out(data, 1 / min(step, length))
    kept = [row["n"] for row in validation]
    others = [row["n"] for row in training]
    assert sorted(kept + others) == list(range(length))
    assert others == sorted(others) and kept == sorted(kept)
    assert validation.blocks == [(0, len(kept))] and training.blocks == [(0, len(others))]
