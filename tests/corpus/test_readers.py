"""Documents from each kind of file, and what is said of broken ones."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hortus.corpus.config import CorpusConfig
from hortus.corpus.files import ReadLog
from hortus.corpus.readers import read_file
from hortus.errors import DataError


def texts(path, log=None, **settings):
    return [(d.text, d.language) for d in read_file(path, CorpusConfig(**settings), log or ReadLog())]


def test_prose_has_no_language_and_code_is_code(tmp_path):
    (tmp_path / "a.txt").write_text("words")
    (tmp_path / "a.go").write_text("func main() {}")
    assert texts(tmp_path / "a.txt") == [("words", None)]
    assert texts(tmp_path / "a.go") == [("func main() {}", "code")]


def test_long_files_become_parts(tmp_path):
    (tmp_path / "a.md").write_text("one\n\ntwo\n\nthree")
    assert [text for text, _ in texts(tmp_path / "a.md", part_characters=6)] == [
        "one\n\n",
        "two\n\n",
        "three",
    ]


def test_empty_files_hold_no_document(tmp_path):
    for name in ("a.txt", "a.jsonl"):
        (tmp_path / name).write_text("")
        assert texts(tmp_path / name) == []


def test_jsonl_rows_with_chosen_columns(tmp_path, write_jsonl):
    path = write_jsonl(
        tmp_path / "a.jsonl", [{"body": "é", "lang": "fr"}, {"body": "b", "extra": {"nested": []}}]
    )
    path.write_text(path.read_text() + "\n\n" + json.dumps({"body": None, "lang": ""}))
    assert texts(path, text_column="body", language_column="lang") == [("é", "fr"), ("b", None), ("", None)]


def test_jsonl_gz(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"text": "a"}\n{"text": "b"}\n'))
    assert [text for text, _ in texts(path)] == ["a", "b"]
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DataError, match="a.jsonl.gz is corrupt"):
        texts(path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "a"', "line 2 is not JSON"),
        ("[" * 100_000, "line 2 is not JSON: nested too deeply"),
        ('["a"]', "line 2 is a list"),
        ('{"body": "a", "title": "b"}', "line 2 has no column 'text'; it has: body, title"),
        ('{"text": 5}', "line 2: 'text' is a int"),
        ('{"text": "a", "language": ["en"]}', "line 2: 'language' is a list"),
        (r'{"text": "\ud800"}', "line 2: 'text' holds half a surrogate"),
    ],
)
def test_broken_jsonl_lines_are_named(tmp_path, line, message):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "fine"}\n' + line + "\n")
    with pytest.raises(DataError, match=rf"a.jsonl, {message}"):
        texts(path)


def test_jsonl_that_is_not_utf8_is_named_with_its_offset_and_repaired(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "a"}\n{"text": "caf\xe9"}\n' + rb'{"text": "\ud800x"}')
    with pytest.raises(DataError, match=r"a.jsonl is not UTF-8 at byte 27;.*repair"):
        texts(path)
    log = ReadLog()
    assert [text for text, _ in texts(path, log, repair=True)] == ["a", "café", "\ufffdx"]
    assert log.repaired[str(path)] == 2


def test_parquet_rows(tmp_path):
    path = tmp_path / "a.parquet"
    columns = {"text": ["a", None], "language": pa.array(["en", None]).dictionary_encode(), "n": [1, 2]}
    pq.write_table(pa.table(columns), path)
    assert texts(path) == [("a", "en"), ("", None)]


def test_parquet_without_text_column_lists_the_columns(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"body": ["a"], "n": [1]}), path)
    with pytest.raises(DataError, match="a.parquet has no column 'text'; it has: body, n.*text_column"):
        texts(path)
    with pytest.raises(DataError, match="column 'n' is int64"):
        texts(path, text_column="n")


def test_broken_parquet_is_named(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["word " * 1000]}), path, compression="none")
    data = bytearray(path.read_bytes())
    path.write_bytes(data[:-20])
    with pytest.raises(DataError, match="a.parquet is not a readable parquet"):
        texts(path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match="a.parquet is not a readable parquet"):
        texts(path)


def test_parquet_text_that_is_not_utf8_is_named(tmp_path):
    path = tmp_path / "a.parquet"
    bad = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(b"\x00\x00\x00\x00\x01\x00\x00\x00"), pa.py_buffer(b"\xff")]
    )
    pq.write_table(pa.table({"text": bad}), path)
    with pytest.raises(DataError, match="'text' is not UTF-8"):
        texts(path)
