"""Redaction: rates on the generated labelled set, checks, and that prefilters lose nothing."""

import re

import pytest

from hortus.corpus.documents import Document, batches
from hortus.corpus.privacy_set import labelled_documents, measure
from hortus.corpus.steps.privacy import CATEGORIES, Privacy, find
from hortus.errors import ConfigError

DOCUMENTS = labelled_documents(1500)


def found(text):
    return [(hit.category, text[hit.start : hit.stop]) for hit in find(text)]


def test_precision_and_recall_on_the_labelled_set():
    rates = measure(DOCUMENTS)
    assert all(rate["labels"] > 200 for rate in rates.values())
    low = {
        category: rate
        for category, rate in rates.items()
        if rate["precision"] < 0.97 or rate["recall"] < 0.97
    }
    assert not low


def test_a_redactor_that_finds_nothing_or_everything_measures_badly():
    assert measure(DOCUMENTS[:200], lambda text: [])["EMAIL"]["recall"] == 0.0
    halves = measure(DOCUMENTS[:200], lambda text: find(text) + find(text))
    assert halves["EMAIL"]["precision"] < 0.6


@pytest.mark.parametrize("name", CATEGORIES)
def test_prefilters_let_every_hit_pass(name):
    category = CATEGORIES[name]
    for text, _ in DOCUMENTS:
        if category.pattern.search(text):
            assert re.search(category.prefilter, text)


@pytest.mark.parametrize(
    ("text", "hits"),
    [
        ("4111 1111 1111 1111", [("CARD", "4111 1111 1111 1111")]),
        ("4111 1111 1111 1112", []),
        ("DE89 3704 0044 0532 0130 00", [("IBAN", "DE89 3704 0044 0532 0130 00")]),
        ("DE88 3704 0044 0532 0130 00", []),
        ("on 2021-03-04 and 10.0.0.1", []),
        ("ping 203.0.113.77.", [("IP_ADDRESS", "203.0.113.77")]),
        ("2001:db8:85a3::8a2e:370:7334", [("IP_ADDRESS", "2001:db8:85a3::8a2e:370:7334")]),
        ("no@where, a@b.c, x.y@z.org", [("EMAIL", "x.y@z.org")]),
        ("@dataclass @anna_k", [("USER", "@anna_k")]),
    ],
)
def test_checks(text, hits):
    assert found(text) == hits


def test_batches_are_redacted_and_counted():
    texts = ["Mail a@b.org or a@b.org", "nothing here", "call +49 30 901820"]
    part = next(batches(Document(text, "here", "en") for text in texts))
    step = Privacy()
    kept, dropped = step.apply(part)
    assert kept.column("text").to_pylist() == ["Mail PI:EMAIL or PI:EMAIL", texts[1], "call PI:PHONE"]
    assert dropped.num_rows == 0 and step.counts == {"EMAIL": 2, "PHONE": 1}
    kept, _ = Privacy(["PHONE"]).apply(part)
    assert kept.column("text").to_pylist() == [texts[0], texts[1], "call PI:PHONE"]
    with pytest.raises(ConfigError, match="did you mean 'EMAIL'"):
        Privacy(["MAIL"])
