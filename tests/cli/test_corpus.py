"""`hortus corpus`: one JSON object on stdout, progress on stderr, exit 2 and one line on bad input."""

import json

import pyarrow.parquet as pq
import pytest

from hortus.cli import main


@pytest.fixture
def hortus(capsys):
    def call(*arguments):
        with pytest.raises(SystemExit) as exit:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return exit.value.code, out, err

    return call


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    for number in range(30):
        (folder / f"{number}.txt").write_text(f"The sentence of document {number}, written in English. " * 9)
        (folder / f"{number}.py").write_text(f"def function_{number}():\n    return {number}\n")
    return folder


def test_build_prints_one_json_object(hortus, source, tmp_path):
    out = tmp_path / "corpus"
    code, stdout, stderr = hortus(
        "corpus", "build", "--sources", source, "--output", out, "--validation-fraction", "0.2", "--json"
    )
    assert code == 0
    value = json.loads(stdout)
    assert value["folder"] == str(out) and set(value["languages"]) == {"en", "code"}
    assert value["documents"] == pq.read_metadata(out / "documents.parquet").num_rows == 60
    assert "60 documents" in stderr
    code, stdout, _ = hortus("corpus", "stats", out, "--json")
    assert code == 0 and json.loads(stdout) == value


def test_build_takes_several_sources_and_prints_tables(hortus, source, tmp_path):
    sources = (source / "1.txt", f"{source}/2*.py")
    code, stdout, _ = hortus(
        "corpus", "build", "--sources", *sources, "--output", tmp_path / "c", "--language", "xx"
    )
    assert code == 0
    assert "Corpus by language" in stdout and "code" in stdout and "xx" in stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["build", "--sources", "nowhere", "--output", "x"], "source 'nowhere' does not exist"),
        (["build", "--output", "x"], "sources"),
        (["stats", "nowhere"], "no corpus in nowhere"),
        (["build", "--sources", "SOURCE", "--output", "x", "--min-characters", "0"], "min_characters=0"),
    ],
)
def test_bad_input_is_one_line(hortus, source, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, stdout, stderr = hortus("corpus", *(source if a == "SOURCE" else a for a in arguments))
    assert code == 2 and stdout == ""
    assert message in stderr and len(stderr.strip().splitlines()) == 1


def test_a_file_that_is_not_utf8_offers_repair(hortus, source, tmp_path):
    (source / "z.txt").write_bytes("Ein schöner Tag, und noch einer.".encode("cp1252"))
    code, _, stderr = hortus("corpus", "build", "--sources", source, "--output", tmp_path / "c")
    assert code == 2 and "z.txt is not UTF-8 at byte 7" in stderr and "--repair" in stderr
    code, stdout, _ = hortus(
        "corpus", "build", "--sources", source, "--output", tmp_path / "c", "--repair", "--json"
    )
    assert code == 0 and json.loads(stdout)["repaired"] == {str(source / "z.txt"): 1}
    texts = pq.read_table(tmp_path / "c" / "documents.parquet").column("text").to_pylist()
    assert "Ein schöner Tag, und noch einer." in texts
