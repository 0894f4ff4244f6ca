"""A build that is killed in any phase goes on and ends the same; the engines agree; disk full; bad files."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from hortus.corpus import CorpusConfig, build_corpus
from hortus.corpus.engine import run_tasks
from hortus.errors import DataError, DeviceError

STEPS = ("length", "template_lines", "language", "exact", "near", "privacy")
OUTPUTS = ("documents.parquet", "dropped.parquet", "statistics.json")

# The child dies by SIGKILL at the n-th call of one function of the build.
KILLED = """
import importlib, os, signal, sys
from hortus.corpus import CorpusConfig, build_corpus
place, name, wanted, folder, source, steps = sys.argv[1:]
module = importlib.import_module(place)
whole, calls = getattr(module, name), []
def dying(*arguments, **named):
    calls.append(1)
    if len(calls) == int(wanted):
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(*arguments, **named)
setattr(module, name, dying)
config = CorpusConfig(sources=(source,), steps=tuple(steps.split()), partition_bytes=20_000, workers=1)
build_corpus(config, folder)
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    for number in range(3):
        rows = [
            {
                "text": f"Document {number} {i} has words none {'would ' * (i % 5)}write, {i * number}.\n"
                f"Mail to user{i}@example.org for more of it.\nA line that all of the documents share.",
                "url": f"http://a.org/{number}/{i}",
            }
            for i in range(100)
        ]
        rows += rows[:3] if number == 2 else []
        (folder / f"{number}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def config_for(source: Path, **settings) -> CorpusConfig:
    return CorpusConfig(
        sources=(str(source),), steps=STEPS, **{"partition_bytes": 20_000, "workers": 1, **settings}
    )


@pytest.fixture(scope="module")
def expected(source, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("expected")
    statistics = build_corpus(config_for(source), folder)
    assert (
        statistics.counts["privacy"]["EMAIL"] > 10
        and statistics.steps["exact duplicates"]["exact duplicate"] == 3
    )
    return folder


def same(one: Path, other: Path) -> bool:
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in OUTPUTS)


@pytest.mark.parametrize(
    ("place", "name", "call"),
    [
        ("hortus.corpus.passes", "read_partition", 2),  # reading
        ("hortus.corpus.passes", "sketch", 50),  # the last stage, measuring
        ("hortus.corpus.steps.near", "candidate_pairs", 1),  # deciding
        ("hortus.corpus.build", "_forget", 2),  # between stages
        ("hortus.corpus.splitting", "_count", 1),  # writing the documents
    ],
)
def test_a_killed_build_goes_on_and_ends_the_same(source, expected, tmp_path, place, name, call):
    arguments = [place, name, str(call), str(tmp_path), str(source), " ".join(STEPS)]
    result = subprocess.run([sys.executable, "-c", KILLED, *arguments], capture_output=True)
    assert result.returncode == -signal.SIGKILL, result.stderr.decode()
    assert (tmp_path / ".work").is_dir() and not (tmp_path / "statistics.json").exists()
    done = {path: path.stat().st_mtime_ns for path in (tmp_path / ".work").rglob("part-*.json")}
    build_corpus(config_for(source), tmp_path)
    assert same(tmp_path, expected) and not (tmp_path / ".work").exists()
    assert done or name == "read_partition"


def test_other_settings_begin_anew(source, tmp_path):
    arguments = ["hortus.corpus.splitting", "_count", "1", str(tmp_path), str(source), "length language"]
    assert subprocess.run([sys.executable, "-c", KILLED, *arguments], capture_output=True).returncode < 0
    assert "privacy" in build_corpus(config_for(source), tmp_path).steps


def test_processes_of_the_local_engine_give_the_same(source, expected, tmp_path):
    pytest.importorskip("daft")
    build_corpus(config_for(source, workers=2), tmp_path)
    assert same(tmp_path, expected)


def fail_once(task) -> None:
    """Die at the first try; the marker says that it happened."""
    marker = Path(task["folder"]) / f"tried-{task['number']}"
    if not marker.exists():
        marker.touch()
        if task["number"] == 1:
            os.kill(os.getpid(), signal.SIGKILL)
    (Path(task["folder"]) / f"done-{task['number']}").touch()


def test_a_worker_that_was_killed_is_tried_again(tmp_path):
    pytest.importorskip("daft")

    def left():
        return [
            {"folder": str(tmp_path), "number": number}
            for number in range(3)
            if not (tmp_path / f"done-{number}").exists()
        ]

    run_tasks(fail_once, left, workers=2)
    assert sorted(path.name for path in tmp_path.glob("done-*")) == ["done-0", "done-1", "done-2"]


def refuse(task) -> None:
    raise DataError("the file is odd", allowed="even ones", do="mend it")


def test_errors_of_other_processes_come_home_as_they_were():
    pytest.importorskip("daft")
    with pytest.raises(DataError, match="the file is odd; allowed: even ones; mend it"):
        run_tasks(refuse, lambda: [{"n": 1}, {"n": 2}], workers=2)


ON_RAY = """
import sys
from hortus.corpus import CorpusConfig, build_corpus
source, folder, steps = sys.argv[1:]
config = CorpusConfig(sources=(source,), steps=tuple(steps.split()), partition_bytes=20_000, engine="ray")
build_corpus(config, folder)
"""


@pytest.mark.slow
def test_a_local_ray_gives_the_same(source, expected, tmp_path):
    pytest.importorskip("daft")
    pytest.importorskip("ray")
    arguments = [str(source), str(tmp_path), " ".join(STEPS)]
    subprocess.run([sys.executable, "-c", ON_RAY, *arguments], check=True, timeout=280)
    assert same(tmp_path, expected)


FULL = """
import resource, signal, sys
from hortus.corpus import CorpusConfig, build_corpus
from hortus.errors import DeviceError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, resource.RLIM_INFINITY))
try:
    build_corpus(CorpusConfig(sources=(sys.argv[1],), workers=1), sys.argv[2])
except DeviceError as error:
    print(error)
"""


def test_a_full_disk_is_named_and_the_build_goes_on_after(source, tmp_path):
    run = subprocess.run(
        [sys.executable, "-c", FULL, str(source), str(tmp_path)], capture_output=True, text=True
    )
    assert "cannot write" in run.stdout and "free space" in run.stdout, run.stderr
    assert build_corpus(CorpusConfig(sources=(str(source),), workers=1), tmp_path).documents == 300


def test_broken_files_stop_the_build_or_give_what_they_have(tmp_path):
    rows = "".join(
        json.dumps({"text": f"Some words of document number {i} in English."}) + "\n" for i in range(3000)
    )
    (tmp_path / "in").mkdir()
    whole = gzip.compress(rows.encode())
    (tmp_path / "in" / "a.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "in" / "b.jsonl").write_text(
        '{"text": "good words of the first row here"}\n{"text": \n{"text": 5}\n'
    )
    (tmp_path / "in" / "c.txt").write_bytes(b"binary\0\0 file")
    (tmp_path / "in" / "d.jsonl").write_text("")
    config = CorpusConfig(sources=(str(tmp_path / "in"),), workers=1, language="en")
    with pytest.raises(DataError, match="a.jsonl.gz is corrupt or cut off"):
        build_corpus(config, tmp_path / "out")
    repaired = CorpusConfig(sources=config.sources, workers=1, language="en", repair=True)
    statistics = build_corpus(repaired, tmp_path / "out")
    assert 500 < statistics.documents < 3001
    assert statistics.broken == {str(tmp_path / "in" / "a.jsonl.gz"): 1, str(tmp_path / "in" / "b.jsonl"): 2}
    assert statistics.skipped == {"binary files": 1}


def test_long_lines_are_cut_as_prose_and_refused_as_rows(tmp_path, monkeypatch):
    monkeypatch.setattr("hortus.corpus.readers.MAX_LINE_BYTES", 1000)
    (tmp_path / "a.txt").write_text("word " * 100_000)
    (tmp_path / "b.jsonl").write_text(
        json.dumps({"text": "x" * 5000}) + "\n" + json.dumps({"text": "good one"}) + "\n"
    )
    config = CorpusConfig(sources=(str(tmp_path / "b.jsonl"),), workers=1, language="en")
    with pytest.raises(DataError, match=r"line 1 has 5,0\d\d bytes"):
        build_corpus(config, tmp_path / "out")
    both = CorpusConfig(
        sources=(str(tmp_path / "*.*"),),
        workers=1,
        language="en",
        repair=True,
        steps=("length",),
        min_characters=3,
    )
    statistics = build_corpus(both, tmp_path / "out")
    assert statistics.documents == 26 and statistics.skipped == {"overlong lines": 1}
    assert pq.read_table(tmp_path / "out" / "documents.parquet").column("text")[-1].as_py() == "good one"


def test_spans_of_a_large_file_are_its_lines(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": f"number {i} " + "é" * (i % 90)}) + "\n" for i in range(500)))
    whole = build_corpus(CorpusConfig(sources=(str(path),), workers=1, language="en"), tmp_path / "one")
    cut = CorpusConfig(sources=(str(path),), workers=1, language="en", partition_bytes=3000)
    assert build_corpus(cut, tmp_path / "two").documents == whole.documents == 500
    texts = [
        pq.read_table(tmp_path / n / "documents.parquet").column("text").to_pylist() for n in ("one", "two")
    ]
    assert texts[0] == texts[1]


def test_workers_that_die_again_and_again_end_the_build(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "hortus.corpus.engine._run_by_daft", lambda *_: (_ for _ in ()).throw(RuntimeError("gone"))
    )
    with pytest.raises(DeviceError, match="2 partitions failed 3 times: gone"):
        run_tasks(refuse, lambda: [{"n": 1}, {"n": 2}], workers=2)
