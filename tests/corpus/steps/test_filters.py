"""Filter values and rewriting against plain Python, and what the filters drop."""

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hortus.corpus.bounds import Bounds
from hortus.corpus.builtin import chatterbot
from hortus.corpus.config import CorpusConfig
from hortus.corpus.documents import Document, batches
from hortus.corpus.files import ReadLog
from hortus.corpus.rewriting import rewrite
from hortus.corpus.steps.filters import UNSPACED_LANGUAGES, Filters, Rewrite, filter_values, stop_words
from hortus.errors import ConfigError
from tests.corpus import plain

LETTERS = st.text(st.sampled_from("ab AB\n\t.,7é日Σςσİıß😀\u3000ـГ-/"), max_size=80)
FLAGGED = {"en": ["bad", "worse"], "fr": ["mauvais"], "vi": ["rất xấu"]}


def batch(texts, languages):
    rows = zip(texts, languages, strict=True)
    return next(batches(Document(text, "here", language) for text, language in rows))


def check(texts, languages):
    bounds = Bounds()
    got = filter_values(batch(texts, languages), bounds, FLAGGED)
    for row, (text, language) in enumerate(zip(texts, languages, strict=True)):
        stop, flagged = set(stop_words(language)), set(FLAGGED.get(language, ()))
        assert got[row].tolist() == plain.values(text, bounds.of(language), stop, flagged), (language, text)


@settings(max_examples=60, deadline=None)
@given(st.lists(LETTERS, min_size=1, max_size=4), st.sampled_from(["en", "vi", "el", "tr", "xx"]))
def test_values_equal_plain_python(texts, language):
    check(texts, [language] * len(texts))


def test_values_equal_plain_python_on_bundled_dialogues():
    pytest.importorskip("chatterbot_corpus")
    documents = [
        document
        for document in chatterbot(CorpusConfig(), ReadLog())
        if document.language not in UNSPACED_LANGUAGES and document.text
    ][::3]
    assert len({document.language for document in documents}) > 20
    check([document.text for document in documents], [document.language for document in documents])


def real_documents():
    """A thousand stretches of three lines or a file: BIG-bench, NLP tasks, passages."""
    folder = os.environ.get("HORTUS_TEST_DATA")
    if not folder:
        pytest.skip("HORTUS_TEST_DATA is not set")
    texts = []
    for path in sorted(Path(folder).rglob("*.jsonl")):
        lines = path.read_text("utf-8", "replace").splitlines()
        texts += ["\n".join(lines[start : start + 3])[:6000] for start in range(0, min(len(lines), 900), 3)]
    texts += [
        part for path in sorted(Path(folder).rglob("*.json"))[:60] for part in [path.read_text()[:8000]]
    ]
    texts = texts[:: max(1, len(texts) // 1000)][:1000]
    # JSON escapes hide the scripts: let them out.
    return [
        text.encode().decode("unicode_escape", "ignore").encode("utf-8", "ignore").decode() for text in texts
    ]


def test_values_equal_plain_python_on_real_documents():
    texts = real_documents()
    codes = ["en", "fr", "es", "ar", "vi", "pt", "hi", "ur", "xx", "eu"]
    check(texts, [codes[i % len(codes)] for i in range(len(texts))])
    assert len(texts) == 1000


@settings(max_examples=80, deadline=None)
@given(st.text(st.sampled_from("ab \n\t.(w/h\u3000\xa0\x84é日"), max_size=60), st.sampled_from([0, 3, 9]))
def test_rewriting_equals_plain_python(text, longest):
    new = rewrite(pa.array([text]), np.array([longest], np.int32))
    assert new.to_pylist() == [plain.rewritten(text, longest)]


def test_rewriting_drops_addresses_and_overlong_words():
    text = "See http://a.b/c (www.x.org) or  ask\tme\n" + "x" * 26 + "\nthe " + "y" * 25 + "!!"
    kept, _ = Rewrite(Bounds()).apply(batch([text] * 3, ["en", "sw", "code"]))
    assert kept.column("text").to_pylist() == [plain.rewritten(text, 25), text, text]
    assert plain.rewritten(text, 25) == "See or ask\tme\nthe " + "y" * 25 + "!!"


ENGLISH = (
    "It was the best of times and it was the worst of times, "
    "but then nobody in the town had known it to be so."
)
CASES = [
    ("short one", "en", "too few words"),
    ("ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha", "en", "repeated characters"),
    (f"{ENGLISH} {ENGLISH} Another sentence here.", "en", "repeated characters"),
    (" ".join(f"{ENGLISH[i:]} {i}" for i in range(0, 3)), "en", "repeated characters"),
    ("* " * 60 + ENGLISH, "en", "repeated characters"),
    (" ".join(f"#{i}#" for i in range(10, 99)) + ENGLISH, "en", "special characters"),
    (" ".join(f"n{chr(97 + i % 26)}{chr(97 + i // 26)}un" for i in range(60)), "en", "too few stop words"),
    (ENGLISH.replace("nobody", "worse"), "en", "flagged words"),
    ("Die Würde des Menschen ist unantastbar. Sie zu achten und zu schützen ist Verpflichtung aller.", "nds",
     "another language"),
    (ENGLISH, "en", None),
    ("x", "code", None),
]  # fmt: skip


@pytest.mark.parametrize(("text", "language", "reason"), CASES)
def test_a_document_is_dropped_at_its_first_failure(text, language, reason):
    _, dropped = Filters(Bounds(), flagged=FLAGGED).apply(batch([text], [language]))
    assert dropped.column("reason").to_pylist() == ([reason] if reason else [])


def test_scores_of_the_language_step_are_not_computed_again(monkeypatch):
    part = batch([ENGLISH], ["en"])
    place = part.schema.get_field_index("language_score")
    scored = part.set_column(place, part.schema.field(place), pa.array([0.5], pa.float32()))
    monkeypatch.setattr("hortus.corpus.steps.filters.identify_all", lambda texts, characters: [])
    _, dropped = Filters(Bounds()).apply(scored)
    assert dropped.column("reason").to_pylist() == ["uncertain language"]


def test_bounds_of_the_user_go_over_the_published_ones(tmp_path):
    path = tmp_path / "bounds.yaml"
    path.write_text("default: {min_words: 3}\nen: {stop_words: 0.9}\n")
    bounds = Bounds(path)
    assert bounds.of("en")["stop_words"] == 0.9 and bounds.of("en")["min_words"] == 20
    assert bounds.of("sw")["min_words"] == 3 and bounds.is_default("sw") and not bounds.is_default("en")
    bounds.save(path, "sw", {"min_words": 7})
    assert Bounds(path).of("sw")["min_words"] == 7 and Bounds(path).of("en")["stop_words"] == 0.9


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("en: {stop_wordz: 1}", "did you mean 'stop_words'"),
        ("en: 3", "a mapping"),
        ("en: {min_words: x}", "a number"),
    ],
)
def test_wrong_bounds_are_named(tmp_path, text, words):
    (tmp_path / "bounds.yaml").write_text(text)
    with pytest.raises(ConfigError, match=words):
        Bounds(tmp_path / "bounds.yaml")


def test_published_bounds_are_whole():
    bounds = Bounds()
    assert json.dumps(bounds.of("fr"), sort_keys=True) == json.dumps(
        {
            "character_ngram": 10, "character_repetition": 0.14, "flagged_words": 0.008, "group": 1,
            "join": "", "language_score": 0.8, "max_word_length": 45, "max_words": 100000, "min_words": 13,
            "perplexity": 1770,
            "special_characters": 0.34, "stop_words": 0.27, "word_ngram": 5, "word_repetition": 0.13,
        },
        sort_keys=True,
    )  # fmt: skip
