"""Texts to counts, and every kind of file."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from hortus.errors import ConfigError, DataError
from hortus.topics import read_corpus
from hortus.topics.config import TextConfig
from hortus.topics.formats import read_ldac
from hortus.topics.texts import count_texts, is_texts, tokenize

ENGLISH = ["The cat and the dog are in the garden", "The dog was with a cat", "A garden is for the birds"]
GERMAN = [
    "Der Hund und die Katze sind im Garten",
    "Die Katze war mit dem Hund",
    "Ein Garten ist für die Vögel",
]
PLAIN = TextConfig(language="none", max_share=1.0, min_documents=1)


@pytest.mark.parametrize(("texts", "language"), [(ENGLISH, "en"), (GERMAN, "de")])
def test_stop_words_of_the_language(texts: list[str], language: str) -> None:
    pytest.importorskip("stopwordsiso")
    counted = count_texts(texts * 2, TextConfig(max_share=1.0))
    assert counted.removed["language"] == language
    assert counted.removed["stop_words_tokens"] > 10
    assert "the" not in counted.vocabulary and "die" not in counted.vocabulary


def test_bounds_and_what_they_removed() -> None:
    texts = ["red red blue", "red green", "red blue rare"]
    counted = count_texts(texts, TextConfig(language="none", min_documents=2, max_share=0.7))
    assert counted.vocabulary == ["blue"]
    assert counted.removed["too_rare_words"] == 2 and counted.removed["too_common_tokens"] == 4
    assert [tokens.tolist() for tokens in counted.tokens] == [[0], [], [0]]
    most = count_texts(texts, TextConfig(language="none", min_documents=1, max_share=1.0, max_words=2))
    assert most.vocabulary == ["blue", "red"]
    assert most.removed["beyond_max_words_words"] == 2


def test_nothing_left_and_unknown_language() -> None:
    with pytest.raises(DataError, match="no vocabulary is left"):
        count_texts(["one two", "three four"], TextConfig(language="none"))
    pytest.importorskip("stopwordsiso")
    with pytest.raises(ConfigError, match="no stop words"):
        count_texts(ENGLISH, TextConfig(language="english"))


@given(st.text())
def test_tokens_are_words(text: str) -> None:
    for word in tokenize(text):
        assert len(word) >= 2 and not any(c.isdecimal() or c.isspace() for c in word)


def test_what_counts_as_texts() -> None:
    assert is_texts(np.array(["a", "b"])) and not is_texts([]) and not is_texts(np.eye(2))
    with pytest.raises(DataError, match="wrap it in a list"):
        is_texts("one text")


def test_every_kind_of_text_file_reads_the_same(tmp_path: Path) -> None:
    texts = ["red blue, red", "blue green", "", "green\tred"]
    folder = tmp_path / "folder"
    folder.mkdir()
    for i, text in enumerate(texts):
        (folder / f"{i}.txt").write_text(text, encoding="utf-8")
    lines = "".join(json.dumps({"id": i, "body": text}) + "\n" for i, text in enumerate(texts))
    (tmp_path / "a.jsonl").write_text(lines)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "a.csv").write_text("id,body\n" + "".join(f'{i},"{t}"\n' for i, t in enumerate(texts)))
    for name in ("folder", "a.jsonl", "a.jsonl.gz", "a.csv"):
        corpus = read_corpus(tmp_path / name, column="body", texts=PLAIN)
        assert corpus.vocabulary == ["blue", "green", "red"]
        assert corpus.matrix.toarray().tolist() == [[1, 0, 2], [1, 1, 0], [0, 1, 1]]
        assert [tokens.tolist() for tokens in corpus.tokens or []] == [[2, 0, 2], [0, 1], [1, 2]]
        assert corpus.report["empty_documents_removed"] == 1
    (tmp_path / "b.tsv").write_text("red blue\tx\nblue\ty\n")
    assert read_corpus(tmp_path / "b.tsv", column="0", texts=PLAIN).matrix.sum() == 3


counts = st.lists(st.lists(st.integers(0, 3), min_size=3, max_size=3), min_size=1, max_size=5)


def ldac(table: list[list[int]]) -> str:
    rows = [[f"{w}:{c}" for w, c in enumerate(row) if c] for row in table]
    return "".join(" ".join([str(len(pairs)), *pairs]) + "\n" for pairs in rows)


@given(counts)
def test_ldac_round_trip(tmp_path_factory: pytest.TempPathFactory, table: list[list[int]]) -> None:
    place = tmp_path_factory.mktemp("ldac") / "a.ldac.gz"
    place.write_bytes(gzip.compress(ldac(table).encode()))
    np.testing.assert_array_equal(read_ldac(place, ["x", "y", "z"]).toarray(), table)


def test_counts_with_names(tmp_path: Path) -> None:
    table = np.array([[1, 0, 2], [0, 0, 1]])
    np.savez(tmp_path / "a.npz", counts=table, vocabulary=np.array(["x", "y", "z"]))
    sparse.save_npz(tmp_path / "b.npz", sparse.csr_matrix(table))
    (tmp_path / "c.ldac").write_text(ldac(table.tolist()))
    (tmp_path / "words.txt").write_text("x\ny\nz\n")
    for name, words in (("a.npz", None), ("b.npz", "words.txt"), ("c.ldac", "words.txt")):
        corpus = read_corpus(tmp_path / name, vocabulary=words and tmp_path / words)
        assert corpus.vocabulary == ["x", "z"] and corpus.tokens is None
        assert corpus.matrix.toarray().tolist() == [[1, 2], [0, 1]]
        assert corpus.report["unused_words_removed"] == 1


def test_turned_matrices(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", counts=np.ones((3, 2), int), vocabulary=np.array(["x", "y", "z"]))
    with pytest.raises(DataError, match="--orientation words"):
        read_corpus(tmp_path / "a.npz")
    assert read_corpus(tmp_path / "a.npz", orientation="words").matrix.shape == (2, 3)
    with pytest.raises(DataError, match="2 words and the vocabulary 3"):
        read_corpus(tmp_path / "a.npz", orientation="documents")


@pytest.mark.parametrize(
    ("name", "content", "error", "words"),
    [
        ("a.jsonl", "{", DataError, "line 1 is not JSON"),
        ("a.jsonl", '{"txt": "x"}', DataError, "did you mean 'txt'"),
        ("a.jsonl", "", DataError, "holds no documents"),
        ("a.csv", "a,b\n1,2\n", DataError, "no column 'text'"),
        ("a.ldac", "2 0:1\n", DataError, "line 1 is not LDA-C"),
        ("a.ldac", "1 0:x\n", DataError, "line 1 is not LDA-C"),
        ("a.ldac", "", DataError, "holds no documents"),
        ("a.npz", "no archive", DataError, "cannot read"),
        ("a.ldac.gz", "no gzip", DataError, "cannot read"),
        ("a.pdf", "", ConfigError, "not a known kind"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, content: str, error: type[Exception], words: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(error, match=words):
        read_corpus(tmp_path / name)
    with pytest.raises(DataError, match="does not exist"):
        read_corpus(tmp_path / "absent.csv")
