"""Fertility, bytes per token and the accept rule, counted by hand."""

import pytest

from hortus.tokenizer import TokenizerConfig, train_tokenizer
from hortus.tokenizer.report import LanguageFit, compare_monolingual, fit_table, measure


def test_measure_counts_words_bytes_and_tokens(tokenizer):
    texts = {"en": ["The fox jumps", "over  it\n"], "zh": ["狐狸 跳"]}
    english, chinese = measure(tokenizer, texts)
    assert (english.words, english.num_bytes, english.documents, english.unit) == (5, 22, 2, "word")
    assert english.tokens == len(tokenizer.encode("The fox jumps")) + len(tokenizer.encode("over  it\n"))
    assert english.fertility == english.tokens / 5 and english.bytes_per_token == 22 / english.tokens
    assert (chinese.words, chinese.num_bytes, chinese.unit) == (3, 10, "character")


@pytest.mark.parametrize(("monolingual", "accepted"), [(1.0, True), (0.99, False), (None, None)])
def test_accept_rule_is_ten_percent(monolingual, accepted):
    fit = LanguageFit(
        language="en",
        documents=1,
        num_bytes=40,
        words=10,
        tokens=11,
        unit="word",
        monolingual_fertility=monolingual,
    )
    if accepted:  # 1.1 / 1.0 - 1 lands a rounding error above 0.1
        fit = LanguageFit(**{**fit.__dict__, "tokens": 10})
    assert fit.accepted is accepted


def test_monolingual_comparison_uses_only_languages_with_enough_text():
    config = TokenizerConfig(vocab_size=1000, monolingual_vocab_share=0.3, monolingual_floor_bytes=2000)
    training = {"en": ["some words here and some words there"] * 90, "yo": ["owo ni"]}
    held_out = {"en": ["some words"], "yo": ["owo"]}
    multilingual = train_tokenizer([text for texts in training.values() for text in texts], config)
    english, yoruba = compare_monolingual(measure(multilingual, held_out), training, held_out, config)
    own = train_tokenizer(training["en"], TokenizerConfig(vocab_size=300))
    assert english.monolingual_fertility == len(own.encode("some words")) / 2
    assert english.accepted is True
    assert yoruba.monolingual_fertility is None and yoruba.accepted is None


def test_table_has_a_row_per_language_most_text_first(tokenizer):
    table = fit_table(measure(tokenizer, {"yo": ["a b"], "en": ["The fox jumps over"]}))
    assert [row[0] for row in table.rows] == ["en", "yo"]
    assert all(len(row) == len(table.columns) for row in table.rows)
