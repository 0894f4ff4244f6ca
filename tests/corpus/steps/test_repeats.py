"""Repeats against a search with Python's own strings; evaluation texts; code filters; perplexity."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hortus.corpus.config import RepeatsConfig
from hortus.corpus.documents import Document, batches
from hortus.corpus.licences import licence_of_file, licence_of_text
from hortus.corpus.steps.code import CodeFilters, code_values
from hortus.corpus.steps.evaluation_sets import EvaluationSets
from hortus.corpus.steps.perplexity import Perplexity
from hortus.corpus.steps.repeats import Repeats, repeated_bytes
from hortus.errors import ConfigError, DataError

pytest.importorskip("pydivsufsort")


def marks(text: bytes, width: int) -> list[bool]:
    covered = [False] * len(text)
    for place in range(len(text) - width + 1):
        run = text[place : place + width]
        if b"\xff" not in run and text.find(run) < place:
            covered[place : place + width] = [True] * width
    return covered


@settings(max_examples=80, deadline=None)
@given(st.text(st.sampled_from("ab|"), max_size=60), st.integers(3, 6))
def test_marks_equal_a_search(text, width):
    data = text.encode().replace(b"|", b"\xff")
    assert repeated_bytes(np.frombuffer(data, np.uint8).copy(), width).tolist() == marks(data, width)


def run(parts, **settings):
    step = Repeats(RepeatsConfig(**{"min_bytes": 20, "min_left": 3, **settings}))
    made = [next(batches(Document(text, "here", "en") for text in part)) for part in parts]
    outcomes = []
    decisions = step.decide([step.measure(part) for part in made])
    for part, decision in zip(made, decisions, strict=True):
        step.decision = decision
        kept, dropped = step.apply(part)
        outcomes.append((kept.column("text").to_pylist(), dropped.column("text").to_pylist()))
    return outcomes, step.counts


def test_planted_repeats_are_cut_wherever_they_stand_again():
    notice = "All rights are reserved, été."
    first, second = ["start " + notice, "", "ab" + notice + "cd"], [notice, "own words only"]
    outcomes, counts = run([first, second])
    assert outcomes == [(["start " + notice, "", "abcd"], []), (["own words only"], [""])]
    assert counts["bytes cut"] == 2 * len(notice.encode())


def test_no_character_is_cut_in_half():
    repeated = "x" * 5 + "日本語日本語日本語"
    outcomes, _ = run([["a" + repeated + "é", "other" + repeated + "è"]])
    assert outcomes == [(["a" + repeated + "é", "otherè"], [])]


def test_shards_are_searched_apart():
    text = "the very same sentence twice"
    outcomes, _ = run([[text], [text]], shard_bytes=40)
    assert outcomes == [([text], []), ([text], [])]
    with pytest.raises(ConfigError, match="min_bytes=3"):
        RepeatsConfig(min_bytes=3)


def test_evaluation_texts_are_found_in_long_and_short_documents(tmp_path):
    question = "which of the seven planets named here has the most moons around it today"
    rows = [{"question": question, "choices": ["a", "what is the capital of Chad"]}, {"n": 3}]
    path = tmp_path / "test.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    step = EvaluationSets((str(path),))
    texts = [
        f"They asked: {question.upper()}!",
        "Well, what IS the capital of Chad?",
        "which of the seven planets named here has the most stars",
        "short a",
    ]
    _, dropped = step.apply(next(batches(Document(text, "here", "en") for text in texts)))
    assert dropped.column("text").to_pylist() == texts[:2]
    (tmp_path / "bad.jsonl").write_text("{")
    with pytest.raises(DataError, match="bad.jsonl, line 1 is not JSON"):
        EvaluationSets((str(tmp_path / "bad.jsonl"),))


CODE = """def area_of_rectangle(width, height):
    # the area of a rectangle in square units of whatever it is
    return checked_measurement(width) * checked_measurement(height)
"""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (CODE, None),
        ("x = 1\n", "length of code"),
        ("x\n" * 100, "length of the longest line"),
        (CODE + "x" * 1001, "length of the longest line"),
        ("abcdefghij" * 12, "share of non-word characters"),
        ("abc def ghi jkl mno pqr stu vwx\n" * 8, "token lengths too even"),
    ],
)
def test_code_filters(text, reason):
    part = next(batches([Document(text, "here", "code"), Document("x", "here", "en")]))
    _, dropped = CodeFilters().apply(part)
    assert dropped.column("reason").to_pylist() == ([reason] if reason else [])


def test_licences_permissive_or_as_published():
    licences = ["mit", "gpl-3.0", None]
    part = next(batches(Document(CODE, "here", "code", licence=licence) for licence in licences))
    for mode, kept in (("permissive", ["mit", None]), ("published", ["gpl-3.0"]), ("any", licences)):
        assert CodeFilters(mode).apply(part)[0].column("licence").to_pylist() == kept
    assert code_values("") == (0, 0.0, 0.0)


def test_a_file_s_licence_is_its_own_or_its_tree_s(tmp_path):
    inner = tmp_path / "tree" / "inner"
    inner.mkdir(parents=True)
    (tmp_path / "tree" / "LICENSE.txt").write_text("Apache License\n  Version 2.0, January 2004")
    (tmp_path / "COPYING").write_text("GNU GENERAL PUBLIC LICENSE\nVersion 3")
    assert licence_of_file(inner / "a.py", "x = 1", tmp_path / "tree") == "apache-2.0"
    assert licence_of_file(inner / "a.py", "// SPDX-License-Identifier: ISC", tmp_path) == "isc"
    assert licence_of_file(tmp_path / "other" / "a.py", "", tmp_path) == "gpl-3.0"
    assert licence_of_text("GNU LESSER GENERAL PUBLIC LICENSE Version 2.1") == "lgpl-2.1"


def test_perplexity_by_a_callable():
    step = Perplexity(lambda texts: [float(len(text)) for text in texts], 5, 2)
    rows = [("a", "en"), ("abc", "en"), ("abcdefgh", "en"), ("abcdefghi", "code")]
    _, dropped = step.apply(next(batches(Document(text, "here", language) for text, language in rows)))
    assert dropped.column("reason").to_pylist() == ["too likely", "too unlikely"]
