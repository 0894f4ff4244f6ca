"""Each step on a batch: what is kept, what is dropped, and why."""

import sys

import pytest

from hortus.corpus import languages
from hortus.corpus.config import CorpusConfig
from hortus.corpus.documents import RAW_SCHEMA, Document, batches, document_id
from hortus.corpus.languages import identify
from hortus.corpus.steps import ExactDuplicates, IdentifyLanguage, Length, default_steps, normalised_key
from hortus.errors import DeviceError


def batch(*texts, language=None):
    return next(batches(Document(text, "here", language) for text in texts))


def outcome(step, *texts):
    kept, dropped = step.apply(batch(*texts))
    assert kept.schema.names == RAW_SCHEMA.names and dropped.schema.names == [*RAW_SCHEMA.names, "reason"]
    return kept.column("text").to_pylist(), list(
        zip(dropped.column("text").to_pylist(), dropped.column("reason").to_pylist(), strict=True)
    )


def test_batches_close_by_count_and_by_characters(monkeypatch):
    monkeypatch.setattr("hortus.corpus.documents.BATCH_DOCUMENTS", 3)
    monkeypatch.setattr("hortus.corpus.documents.BATCH_CHARACTERS", 10)
    sizes = [
        part.num_rows for part in batches(Document(text, "here") for text in ["a"] * 4 + ["b" * 10, "c"])
    ]
    assert sizes == [3, 2, 1]
    assert list(batches([])) == []


def test_ids_depend_on_the_text_alone():
    assert document_id("a") == batch("a").column("id")[0].as_py() != document_id("b")


def test_length_drops_empty_and_short():
    kept, dropped = outcome(Length(3), "", " \n\u3000", "ab ", "abc", "日本語")
    assert kept == ["abc", "日本語"]
    assert [reason for _, reason in dropped] == ["empty", "empty", "shorter than 3 characters"]


def test_exact_duplicates_ignore_case_and_space_and_span_batches():
    step = ExactDuplicates()
    assert outcome(step, "One text", "another") == (["One text", "another"], [])
    assert outcome(step, "one\n TEXT", "new") == (["new"], [("one\n TEXT", "exact duplicate")])


def test_punctuation_makes_another_text():
    assert normalised_key("a.b") != normalised_key("a b")


def test_language_is_identified_only_where_none_is_named():
    step = IdentifyLanguage()
    german = "Die Würde des Menschen ist unantastbar. Sie zu achten ist Verpflichtung."
    kept, dropped = step.apply(batch(german))
    assert kept.column("language").to_pylist() == ["de"] and dropped.num_rows == 0
    kept, _ = step.apply(batch(german, language="xx"))
    assert kept.column("language").to_pylist() == ["xx"]
    kept, _ = IdentifyLanguage("en").apply(batch(german))
    assert kept.column("language").to_pylist() == ["en"]


def test_too_few_letters_are_undetermined():
    assert identify("12345 !!! 67890 abc") == "und"


def test_a_missing_identifier_says_what_to_install(monkeypatch):
    languages._identifier.cache_clear()
    monkeypatch.setitem(sys.modules, "py3langid", None)
    with pytest.raises(DeviceError, match=r"py3langid.*pip install 'hortus\[corpus\]'"):
        identify("some words that are long enough")
    languages._identifier.cache_clear()


def test_default_steps_are_cheapest_first():
    assert [step.name for step in default_steps(CorpusConfig())] == ["length", "exact duplicates", "language"]
