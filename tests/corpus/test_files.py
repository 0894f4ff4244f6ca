"""Finding files, strict UTF-8, cutting into parts."""

import gzip
import io
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hortus.corpus import files
from hortus.corpus.files import ReadLog, cut_parts, decode_blocks, find_files, kind_of, open_bytes
from hortus.errors import DataError

NAME = Path("file.txt")


def decode(data: bytes, repair: bool = False, log: ReadLog | None = None) -> str:
    return "".join(decode_blocks(io.BytesIO(data), NAME, repair, log or ReadLog()))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.txt", "prose"), ("A.MD", "prose"), ("a.txt.gz", "prose"), ("a.py", "code"), ("a.rs.zst", "code"),
        ("a.jsonl", "jsonl"), ("a.jsonl.zst", "jsonl"), ("a.parquet", "parquet"), ("a.parquet.gz", None),
        ("a.png", None), ("Makefile", None), ("a.gz", None),
    ],
)  # fmt: skip
def test_kind_is_by_extension(name, kind):
    assert kind_of(Path(name)) == kind


def test_folders_are_walked_in_order_without_hidden_files(tmp_path):
    for name in (
        "b/z.txt",
        "b/a.txt",
        "a.md",
        ".git/x.txt",
        "b/.hidden.txt",
        "picture.png",
        "__pycache__/c.py",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    log = ReadLog()
    found = [str(path.relative_to(tmp_path)) for path in find_files(str(tmp_path), log)]
    assert found == ["a.md", "b/a.txt", "b/z.txt"]
    assert log.skipped == {".png": 1}
    assert [path.name for path in find_files(f"{tmp_path}/**/*.txt", ReadLog())] == ["a.txt", "z.txt"]


def test_missing_and_empty_sources_are_named(tmp_path):
    with pytest.raises(DataError, match="source '.*/nowhere' does not exist"):
        find_files(str(tmp_path / "nowhere"), ReadLog())
    with pytest.raises(DataError, match="does not exist"):
        find_files(str(tmp_path / "*.txt"), ReadLog())
    with pytest.raises(DataError, match="holds no readable file.*jsonl"):
        find_files(str(tmp_path), ReadLog())
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"a.png is of no known kind"):
        find_files(str(tmp_path / "a.png"), ReadLog())


@given(st.text(), st.integers(1, 9))
def test_any_text_decodes_across_any_block_border(text, block):
    previous, files.BLOCK_BYTES = files.BLOCK_BYTES, block
    try:
        assert decode(text.encode()) == text.removeprefix("\ufeff")
        assert decode(text.encode(), repair=True) == text.removeprefix("\ufeff")
    finally:
        files.BLOCK_BYTES = previous


@given(
    st.text(max_size=20), st.sampled_from([b"\xff", b"\xe9 ", b"\xf0\x9f\x98", b"\xc3"]), st.integers(1, 9)
)
def test_a_bad_byte_is_named_with_its_offset_across_any_block_border(text, bad, block):
    start = text.encode()
    previous, files.BLOCK_BYTES = files.BLOCK_BYTES, block
    try:
        with pytest.raises(DataError, match=rf"file.txt is not UTF-8 at byte {len(start)};.*repair"):
            decode(start + bad)
    finally:
        files.BLOCK_BYTES = previous


def test_repair_reads_windows_1252_and_keeps_what_is_valid(monkeypatch):
    data = "é".encode() + b" caf\xe9 \x93quoted\x94 " + "日本".encode() + b"\xc3"
    for block in (1, 2, 3, 5, 1000):
        monkeypatch.setattr(files, "BLOCK_BYTES", block)
        log = ReadLog()
        assert decode(data, repair=True, log=log) == "é café “quoted” 日本Ã"
        assert log.repaired == {"file.txt": 4}


def test_byte_order_mark_is_left_out_only_at_the_start():
    assert decode("\ufeffa\ufeff".encode()) == "a\ufeff"


@given(st.text(st.sampled_from("ab\n"), max_size=200), st.integers(1, 20))
def test_parts_join_to_the_text_and_keep_the_limit(text, limit):
    parts = list(cut_parts(iter([text[:7], text[7:]]), limit))
    assert "".join(parts) == text
    assert all(0 < len(part) <= limit for part in parts)


def test_parts_end_at_a_paragraph_then_a_line_then_anywhere():
    assert list(cut_parts(iter(["aaaaaa\n\nbb\ncc"]), 10)) == ["aaaaaa\n\n", "bb\ncc"]
    assert list(cut_parts(iter(["aaaaaa\nbbbbbb"]), 10)) == ["aaaaaa\n", "bbbbbb"]
    assert list(cut_parts(iter(["a" * 25]), 10)) == ["a" * 10, "a" * 10, "a" * 5]


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_compressed_files_are_read_whole_and_a_cut_one_is_named(tmp_path, codec):
    path = tmp_path / ("a.txt.gz" if codec == "gzip" else "a.txt.zst")
    content = "".join(f"line {i}\n" for i in range(50_000))
    with pa.CompressedOutputStream(str(path), codec) as stream:
        stream.write(content.encode())
    with open_bytes(path) as stream:
        assert stream.read().decode() == content
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=f"{path.name} is corrupt or cut off"), open_bytes(path) as stream:
        stream.read()


def test_several_gzip_members_are_one_file(tmp_path):
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"one ") + gzip.compress(b"two"))
    with open_bytes(path) as stream:
        assert stream.read() == b"one two"


def test_what_is_no_gzip_is_named(tmp_path):
    path = tmp_path / "a.txt.gz"
    path.write_bytes(b"plain text")
    with pytest.raises(DataError, match="a.txt.gz is corrupt"), open_bytes(path) as stream:
        stream.read()
