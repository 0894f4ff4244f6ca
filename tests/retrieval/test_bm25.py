"""BM25: the formula in NumPy, ties, resuming, other versions, bad corpora."""

from __future__ import annotations

import bz2
import itertools
import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from hortus.artifact import read_json, write_json
from hortus.errors import ArtifactError, ConfigError, DataError
from hortus.retrieval import Bm25Config, Bm25Index, Passage, build_bm25, read_passages
from hortus.retrieval import bm25 as module
from hortus.retrieval.words import split_text

WORDS = ["snow", "coal", "river", "tower", "garden", "mirror"]


def corpus(count: int, seed: int = 0) -> list[Passage]:
    draw = np.random.default_rng(seed)
    return [Passage(str(n), "", " ".join(draw.choice(WORDS, draw.integers(1, 12)))) for n in range(count)]


def formula(texts: list[list[str]], query: list[str], k1: float, b: float) -> np.ndarray:
    """Lucene's BM25 as it is written down."""
    mean = sum(map(len, texts)) / len(texts)
    scores = np.zeros(len(texts))
    for word in query:
        having = sum(word in text for text in texts)
        idf = math.log(1 + (len(texts) - having + 0.5) / (having + 0.5))
        for n, text in enumerate(texts):
            count = Counter(text)[word]
            scores[n] += idf * count / (count + k1 * (1 - b + b * len(text) / mean))
    return scores


def test_equals_the_formula_and_orders_ties_by_the_corpus(tmp_path: Path) -> None:
    passages = corpus(60)
    index = build_bm25(passages, tmp_path, Bm25Config(k1=1.2, b=0.7, processes=1))
    texts = [split_text(passage.text) for passage in passages]
    for question in ("snow", "river tower", "garden garden mirror"):
        expected = formula(texts, question.split(), 1.2, 0.7)
        numbers, scores = index.search_numbers([question], 25)
        assert scores[0] == pytest.approx(np.sort(expected)[::-1][:25], rel=1e-5)
        assert expected[numbers[0]] == pytest.approx(scores[0], rel=1e-5)
        for (a, s), (b, t) in itertools.pairwise(zip(numbers[0], scores[0], strict=True)):
            assert s > t or a < b


@pytest.mark.parametrize("method", ["lucene", "robertson", "atire", "bm25l", "bm25+"])
def test_the_matrix_is_that_of_bm25s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    bm25s = pytest.importorskip("bm25s")
    monkeypatch.setattr(module, "_PART", 7)
    passages = [
        *corpus(40),
        Passage("empty", "", "of the"),
        *(Passage(f"r{n}", "", f"rare{n}") for n in range(5)),
    ]
    index = build_bm25(passages, tmp_path, Bm25Config(k1=1.2, b=0.7, processes=1, method=method))
    numbers: dict[str, int] = {}
    rows = [[numbers.setdefault(w, len(numbers)) for w in split_text(p.text)] for p in passages]
    theirs = bm25s.BM25(k1=1.2, b=0.7, method=method)
    theirs.index((rows, numbers), show_progress=False)
    ours = index._engine
    assert ours.vocab_dict == {word: n for word, n in theirs.vocab_dict.items() if word}
    for name in ("indptr", "indices"):
        assert np.array_equal(ours.scores[name], theirs.scores[name])
        assert ours.scores[name].dtype == theirs.scores[name].dtype
    assert ours.scores["data"] == pytest.approx(theirs.scores["data"], abs=1e-6)
    if theirs.nonoccurrence_array is not None:
        assert ours.nonoccurrence_array == pytest.approx(theirs.nonoccurrence_array, abs=1e-6)


def test_no_word_anywhere(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no passage holds a word"):
        build_bm25([Passage("1", "", "of the")], tmp_path, Bm25Config(processes=1))


@pytest.mark.slow
def test_compiled_scores_are_the_same(tmp_path: Path) -> None:
    index = build_bm25(corpus(60), tmp_path, Bm25Config(processes=1))
    numbers, scores = index.search_numbers(WORDS, 9)
    index.compile()
    again, compiled = index.search_numbers(WORDS, 9)
    assert np.array_equal(numbers, again) and compiled == pytest.approx(scores, rel=1e-6)


def test_ties_beyond_the_margin(tmp_path: Path) -> None:
    passages = [Passage(str(n), "", "snow coal" if n % 2 else "snow river") for n in range(100)]
    index = build_bm25(passages, tmp_path, Bm25Config(processes=1))
    for k in (1, 3, 30):
        numbers, _ = index.search_numbers(["coal"], k)
        assert numbers[0].tolist() == list(range(1, 2 * k, 2))


def test_unknown_words_find_nothing(tmp_path: Path) -> None:
    index = build_bm25(corpus(5), tmp_path, Bm25Config(processes=1))
    assert index.search(["zebra", "", "the of"], 3) == [[], [], []]
    assert all(hit.score > 0 for hit in index.search(["snow"], 5)[0])
    with pytest.raises(ConfigError, match="k=0"):
        index.search(["snow"], 0)


def test_parts_in_processes_and_resuming_give_the_same_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passages = corpus(50)
    whole = build_bm25(passages, tmp_path / "whole", Bm25Config(processes=1))
    monkeypatch.setattr(module, "_PART", 7)
    done: list[Path] = []
    split = module._split_part

    def failing(job: tuple[Path, int, int, Path, Bm25Config]) -> None:
        if len(done) == 4:
            raise KeyboardInterrupt
        done.append(job[3])
        split(job)

    monkeypatch.setattr(module, "_split_part", failing)
    with pytest.raises(KeyboardInterrupt):
        build_bm25(passages, tmp_path / "parts", Bm25Config(processes=1))
    monkeypatch.setattr(module, "_split_part", lambda job: (done.append(job[3]), split(job)))
    parts = build_bm25(passages, tmp_path / "parts", Bm25Config(processes=1))
    assert len(done) == len(set(done)) == 8
    assert not (tmp_path / "parts" / "parts").exists()
    for question in WORDS:
        for ours, theirs in zip(
            whole.search_numbers([question], 9), parts.search_numbers([question], 9), strict=True
        ):
            assert np.array_equal(ours, theirs)


@pytest.mark.slow
def test_two_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PART", 20)
    index = build_bm25(corpus(50), tmp_path, Bm25Config(processes=2))
    assert index.search(["snow"], 1)[0]


def test_broken_and_foreign_folders(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="holds no index"):
        Bm25Index(tmp_path)
    build_bm25(corpus(5), tmp_path / "a", Bm25Config(processes=1))
    settings = read_json(tmp_path / "a" / "index.json")
    write_json(tmp_path / "a" / "index.json", settings | {"passages": 6})
    with pytest.raises(ArtifactError, match="mixes two builds"):
        Bm25Index(tmp_path / "a")
    write_json(tmp_path / "a" / "index.json", settings | {"kind": "dense"})
    with pytest.raises(ArtifactError, match="kind 'dense'"):
        Bm25Index(tmp_path / "a")


def test_corpus_files(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("a b c d e")
    rows = [{"id": 7, "title": "T", "text": "x y"}, {"text": "   "}, {"text": "z"}]
    (tmp_path / "two.jsonl").write_text("\n".join(map(json.dumps, rows)))
    dump = (
        "<mediawiki><page><title>Snow</title><ns>0</ns><id>3</id><revision><id>9</id>"
        "<text>'''Snow''' is [[Frozen water|ice]].{{Infobox|a={{b}}}} == Use == "
        "It&lt;ref&gt;r&lt;/ref&gt; melts."
        "</text></revision></page><page><title>R</title><ns>0</ns><redirect/><text>x</text></page></mediawiki>"
    )
    with bz2.open(tmp_path / "three.xml.bz2", "wt") as file:
        file.write(dump)
    sources = [tmp_path / name for name in ("one.txt", "two.jsonl", "three.xml.bz2")]
    found = [(p.id, p.title, p.text.split()) for p in read_passages(sources, words=3)]
    assert found[:4] == [
        ("one-0", "one", ["a", "b", "c"]),
        ("one-1", "one", ["d", "e"]),
        ("7", "T", ["x", "y"]),
        ("two-2", "", ["z"]),
    ]
    words = " ".join(word for name, title, words in found[4:] if title == "Snow" for word in words)
    assert words.startswith("Snow is ice.") and words.endswith("It melts.") and "Infobox" not in words
    assert all(name.startswith("3") for name, *_ in found[4:])


def test_bad_corpora(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text(" \n")
    with pytest.raises(DataError, match="no passage"):
        build_bm25(read_passages([tmp_path / "empty.txt"]), tmp_path / "i")
    with pytest.raises(DataError, match="comes twice"):
        build_bm25([Passage("1", "", "a"), Passage("1", "", "b")], tmp_path / "i")
    (tmp_path / "bad.jsonl").write_text('{"text": 1}')
    with pytest.raises(DataError, match="line 1 has no text"):
        list(read_passages([tmp_path / "bad.jsonl"]))
    with pytest.raises(DataError, match="no corpus file"):
        list(read_passages([tmp_path / "x.pdf"]))


def test_languages() -> None:
    assert split_text("Die Häuser", "de", stem=True) == ["haus"]
    assert split_text("der Fluss", None) == ["der", "fluss"]
    with pytest.raises(ConfigError, match="stop words"):
        split_text("a", "xx")
    with pytest.raises(ConfigError, match="stemmer"):
        split_text("a", "ja", stem=True)
