"""`hortus tokenizer`: train, report, encode."""

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hortus.cli import main
from hortus.tokenizer import Tokenizer


@pytest.fixture
def hortus(capsys):
    def call(*arguments):
        with pytest.raises(SystemExit) as exit:
            main(["tokenizer", *(str(argument) for argument in arguments)])
        out, err = capsys.readouterr()
        return exit.value.code, out, err

    return call


@pytest.fixture
def corpus(tmp_path):
    texts = [f"some words of document {i} " * 40 for i in range(200)]
    splits = ["validation" if i % 10 == 0 else "train" for i in range(200)]
    table = pa.table({"text": texts, "language": ["en"] * 200, "split": splits})
    pq.write_table(table, tmp_path / "documents.parquet")
    return tmp_path


def test_train_report_encode(hortus, corpus, tmp_path, monkeypatch):
    out = tmp_path / "tokenizer"
    code, stdout, stderr = hortus("train", corpus, "--output", out, "--vocab-size", 290, "--json")
    assert code == 0 and json.loads(stdout) == {"folder": str(out), "vocab_size": 290, "languages": ["en"]}
    assert "180 documents" in stderr
    loaded = Tokenizer.load(out)

    code, stdout, _ = hortus("report", out, "--corpus", corpus, "--json")
    (row,) = json.loads(stdout)["languages"]
    assert code == 0 and row["language"] == "en" and row["documents"] == 20
    assert row["fertility"] == row["tokens"] / row["words"] and row["monolingual_fertility"] is not None
    code, stdout, _ = hortus("report", out, "--corpus", corpus, "--no-monolingual")
    assert code == 0 and "Held-out fertility by language" in stdout

    code, stdout, _ = hortus("encode", out, "some words ✓", "--json")
    value = json.loads(stdout)
    assert value["ids"] == loaded.encode("some words ✓") and "".join(value["pieces"][:3]) in "some words ✓"
    monkeypatch.setattr("sys.stdin", io.StringIO("</s>"))
    code, stdout, _ = hortus("encode", out, "-", "--special")
    assert stdout.splitlines()[0] == "2"


def test_bad_input_is_one_line(hortus, corpus, tmp_path):
    for arguments, message in (
        (("train", tmp_path / "nowhere", "--output", tmp_path / "t"), "no documents at"),
        (("train", corpus, "--output", tmp_path / "t", "--vocab-size", 9), "vocab_size=9 is too small"),
        (("encode", corpus, "text"), "no tokenizer at"),
    ):
        code, stdout, stderr = hortus(*arguments)
        assert code == 2 and stdout == "" and message in stderr and len(stderr.strip().splitlines()) == 1
