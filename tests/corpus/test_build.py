"""The whole build: files written, counts, bad input, and the built-in sources."""

import json
from collections import Counter, defaultdict

import pyarrow.parquet as pq
import pytest

from hortus.corpus import CorpusConfig, build_corpus, builtin, read_statistics
from hortus.corpus.documents import DOCUMENT_SCHEMA, DROPPED_SCHEMA
from hortus.errors import ConfigError, DataError
from hortus.recipe import StageContext

LANGUAGES = ("en", "fr", "sw")


def rows(path):
    return pq.read_table(path).to_pylist()


@pytest.fixture
def source(tmp_path, write_jsonl):
    folder = tmp_path / "source"
    folder.mkdir()
    lines = [{"text": f"document {i} in {c} {'x' * i}", "language": c} for i in range(60) for c in LANGUAGES]
    write_jsonl(
        folder / "a.jsonl", [*lines, {"text": ""}, {"text": "DOCUMENT 5 in en xxxxx", "language": "en"}]
    )
    (folder / "b.py").write_text("print('hello')\n")
    return folder


def test_documents_dropped_and_statistics(source, tmp_path):
    out, seen = tmp_path / "out", []
    config = CorpusConfig(sources=(str(source),), validation_fraction=0.2, near_duplicate_overlap=1.0)
    statistics = build_corpus(config, out, progress=lambda *done: seen.append(done))
    kept, dropped = rows(out / "documents.parquet"), rows(out / "dropped.parquet")
    assert pq.read_schema(out / "documents.parquet") == DOCUMENT_SCHEMA
    assert pq.read_schema(out / "dropped.parquet") == DROPPED_SCHEMA
    assert len(kept) == len({row["id"] for row in kept}) == statistics.documents == 181
    assert [(row["step"], row["reason"]) for row in dropped] == [
        ("length", "empty"),
        ("exact duplicates", "exact duplicate"),
    ]
    assert dropped[1]["text"] == "DOCUMENT 5 in en xxxxx"
    assert statistics.steps["length"] == {"kept": 182, "empty": 1}
    assert statistics.steps["exact duplicates"] == {"kept": 181, "exact duplicate": 1}
    assert statistics.num_bytes == sum(len(row["text"].encode()) for row in kept)
    for language in LANGUAGES:
        part = Counter(row["split"] for row in kept if row["language"] == language)
        assert statistics.languages[language]["train"]["documents"] == part["train"]
        assert statistics.languages[language]["validation"]["documents"] == part["validation"] > 3
    assert statistics.sources == {str(source): 181}
    assert seen[-1] == ("stage 2 of 2: 1 of 1 partitions",)
    assert read_statistics(out) == statistics
    assert sorted(path.name for path in out.iterdir()) == [
        "documents.parquet",
        "dropped.parquet",
        "statistics.json",
        "timing.json",
    ]


def test_the_same_sources_give_the_same_corpus(source, tmp_path):
    config = CorpusConfig(sources=(str(source),))
    for name in ("one", "two"):
        build_corpus(config, tmp_path / name)
    assert rows(tmp_path / "one" / "documents.parquet") == rows(tmp_path / "two" / "documents.parquet")


def test_near_duplicates_stay_on_one_side(tmp_path, write_jsonl):
    # Pairs that differ in one word out of forty, in all orders: each pair must not straddle the split.
    lines = []
    for number in range(120):
        words = [f"word{number}x{place}" for place in range(40)]
        for variant in ("first", "second"):
            lines.append({"text": " ".join([*words, variant]), "language": "en"})
    write_jsonl(tmp_path / "a.jsonl", sorted(lines, key=lambda row: row["text"][-6:]))
    config = CorpusConfig(sources=(str(tmp_path / "a.jsonl"),), validation_fraction=0.3, validation_limit=0.9)
    statistics = build_corpus(config, tmp_path / "out")
    sides = defaultdict(set)
    for row in rows(tmp_path / "out" / "documents.parquet"):
        sides[row["text"].split("x")[0]].add(row["split"])
    assert len(sides) == 120 and all(len(side) == 1 for side in sides.values())
    assert Counter(side for (side,) in sides.values())["validation"] > 15
    assert (statistics.clusters, statistics.clustered_documents) == (120, 240)


def test_nothing_left_says_why_and_leaves_no_file(tmp_path):
    (tmp_path / "a.txt").write_text("short")
    config = CorpusConfig(sources=(str(tmp_path / "a.txt"),), min_characters=10)
    with pytest.raises(DataError, match=r"no document is left of .*a.txt: 1 shorter than 10 characters"):
        build_corpus(config, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(DataError, match="the sources hold none"):
        build_corpus(config, tmp_path / "out")


def test_a_failed_build_keeps_the_old_corpus(source, tmp_path):
    config = CorpusConfig(sources=(str(source),))
    build_corpus(config, tmp_path / "out")
    before = rows(tmp_path / "out" / "documents.parquet")
    (source / "z.txt").write_bytes(b"caf\xe9")
    with pytest.raises(DataError, match="z.txt is not UTF-8 at byte 3"):
        build_corpus(config, tmp_path / "out")
    assert rows(tmp_path / "out" / "documents.parquet") == before
    statistics = build_corpus(
        CorpusConfig(sources=(str(source),), repair=True, language="en"), tmp_path / "out"
    )
    assert statistics.repaired == {str(source / "z.txt"): 1}


def test_every_source_is_looked_up_before_any_is_read(source, tmp_path):
    (source / "broken.jsonl").write_text("{")
    with pytest.raises(DataError, match="'nowhere' does not exist"):
        build_corpus(CorpusConfig(sources=(str(source), "nowhere")), tmp_path / "out")


def test_no_corpus_to_show(tmp_path):
    with pytest.raises(DataError, match="no corpus in"):
        read_statistics(tmp_path)


@pytest.mark.parametrize(
    "settings",
    [{"sources": ()}, {"part_characters": 0}, {"validation_fraction": 1.0}, {"near_duplicate_overlap": 0.0}],
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        CorpusConfig(**settings)


def test_dialogues_are_gathered_and_those_with_one_opening_stay_together():
    assert list(builtin.gather([["a", "b"], ["c", "d"]])) == ["a\nb\n\nc\nd"]
    long = "y" * builtin.GATHERED_BYTES
    texts = list(builtin.gather([["q", long], ["q", "other"], ["r", "s"]]))
    assert texts == [f"q\n{long}\n\nq\nother", "r\ns"]
    assert list(builtin.gather([])) == []


def test_dialogue_files_with_a_missing_dash_or_many_turns(tmp_path):
    path = tmp_path / "a.yml"
    path.write_text("conversations:\n- - q\n  - 5\n- one\n  - string\n- [" + "t, " * 90 + "t]\n")
    dialogues = list(builtin._dialogues(path))
    assert dialogues[:2] == [["q", "5"], ["one - string"]]
    assert [len(turns) for turns in dialogues[2:]] == [40, 40, 11]
    path.write_text("categories: [a]\n")
    with pytest.raises(DataError, match="a.yml is no dialogue file"):
        list(builtin._dialogues(path))


def test_chatterbot_has_no_dialogue_on_both_sides(tmp_path):
    pytest.importorskip("chatterbot_corpus")
    statistics = build_corpus(CorpusConfig(sources=("chatterbot",)), tmp_path)
    assert len(statistics.languages) == 28 and statistics.repeated_conversations > 500
    texts = defaultdict(lambda: defaultdict(list))
    for row in rows(tmp_path / "documents.parquet"):
        texts[row["language"]][row["split"]].append(row["text"])
    assert sum(len(of["validation"]) for of in texts.values()) > 100
    worst = 0.0
    for of in texts.values():
        training = [shingles(text) for text in of["train"]]
        for text in of["validation"]:
            held = shingles(text)
            worst = max(
                worst, *(len(held & other) / max(min(len(held), len(other)), 1) for other in training)
            )
    # The clustering estimates the overlap from a sample where texts are long, hence the margin over 0.5.
    assert worst < 0.6


def shingles(text):
    even = " ".join(text.casefold().split())
    return {even[i : i + 10] for i in range(len(even) - 9)}


def test_stdlib_is_code_and_english_topics_without_tests(tmp_path):
    from hortus.corpus.files import ReadLog

    documents = list(builtin.stdlib(CorpusConfig(), ReadLog()))
    sizes = Counter()
    for document in documents:
        sizes[document.language] += len(document.text)
    assert sizes["code"] > 5_000_000 and sizes["en"] > 300_000 and set(sizes) == {"code", "en"}
    names = {document.source for document in documents}
    assert "stdlib:json/decoder.py" in names and "stdlib:topics/while" in names
    assert not any("/test/" in name or "site-packages" in name for name in names)


def test_a_module_and_its_docstrings_stay_on_one_side(tmp_path):
    build_corpus(CorpusConfig(sources=("stdlib",), validation_fraction=0.2), tmp_path)
    sides, languages = defaultdict(set), defaultdict(set)
    for row in rows(tmp_path / "documents.parquet"):
        name = row["source"].replace("stdlib:docstrings/", "stdlib:")
        if name.endswith(".py"):
            sides[name].add(row["split"])
            languages[name].add(row["language"])
    assert all(len(side) == 1 for side in sides.values())
    assert {"train", "validation"} == set.union(*sides.values())
    assert languages["stdlib:json/decoder.py"] == {"code", "en"}


def test_stage_reports_and_names_its_files(source, tmp_path):
    from hortus.corpus.stage import STAGE

    config = CorpusConfig(sources=("stdlib", str(source)))
    assert [path.name for path in STAGE.files(config)] == ["a.jsonl", "b.py"]
    config = CorpusConfig(sources=(str(source),))
    result = STAGE.run(config, StageContext(folder=tmp_path, inputs={}, resume=False, recipe={}))
    assert result.numbers["documents"] == 181 and result.numbers["dropped"] == {
        "empty": 1,
        "exact duplicate": 1,
    }
    assert {row[0] for row in result.blocks[1].rows} == {*LANGUAGES, "code"}
    json.dumps(dict(result.numbers))
