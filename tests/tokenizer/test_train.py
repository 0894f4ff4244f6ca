"""Training: the pattern's meaning, the special ids, losslessness."""

import sys

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Regex, pre_tokenizers

from hortus.errors import ConfigError, DataError
from hortus.tokenizer import Tokenizer, TokenizerConfig, train_tokenizer
from hortus.tokenizer.train import EXCLUDED, PATTERN, PUBLISHED_PATTERN

# White_Space of the Unicode database, spelled out: Python's str.isspace also counts U+001C to U+001F.
WHITE_SPACE = {
    *range(0x09, 0x0E),
    0x20,
    0x85,
    0xA0,
    0x1680,
    *range(0x2000, 0x200B),
    0x2028,
    0x2029,
    0x202F,
    0x205F,
    0x3000,
}
UNICODE_TEXT = st.text(st.characters(exclude_categories=("Cs",)))


def reference_pieces(text: str) -> list[str]:
    """The published split, stated without a regular expression.

    An optional space and a run of characters outside the excluded set make a piece; what lies between
    such pieces is one piece.
    """

    def inside(place: int) -> bool:
        return place < len(text) and ord(text[place]) not in WHITE_SPACE and text[place] not in EXCLUDED

    pieces, rest, place = [], "", 0
    while place < len(text):
        stop = place + (text[place] == " ")
        while inside(stop):
            stop += 1
        if inside(stop - 1) and stop > place:
            pieces += [rest] if rest else []
            pieces, rest, place = [*pieces, text[place:stop]], "", stop
        else:
            rest, place = rest + text[place], place + 1
    return [*pieces, rest] if rest else pieces


def split(pattern: str, text: str) -> list[str]:
    return [piece for piece, _ in pre_tokenizers.Split(Regex(pattern), "isolated").pre_tokenize_str(text)]


@pytest.mark.parametrize("pattern", [PATTERN, PUBLISHED_PATTERN])
def test_pattern_excludes_the_published_set_over_all_of_unicode(pattern):
    characters = [chr(point) for point in range(sys.maxunicode + 1) if not 0xD800 <= point < 0xE000]
    assert "".join(characters[:0x3100]) and len(characters) == 0x110000 - 0x800
    for start in range(0, len(characters), 0x4000):
        block = "a".join(characters[start : start + 0x4000])
        assert split(pattern, block) == reference_pieces(block)


@given(st.text(st.sampled_from("ab \n\t(|.,[]!?…。，、।۔،)\x1c\x85\u3000é")))
@example("  two  spaces ")
@example("[a]|(b)")
@example(" . a. b")
def test_flattened_pattern_means_what_the_nested_one_does(text):
    assert split(PATTERN, text) == split(PUBLISHED_PATTERN, text) == reference_pieces(text)


def test_special_ids_and_vocabulary(tokenizer):
    assert [tokenizer.token(index) for index in range(4)] == ["<unk>", "<s>", "</s>", "<pad>"]
    assert (tokenizer.unk_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id) == (0, 1, 2, 3)
    assert tokenizer.vocab_size == 450
    assert tokenizer.special_ids() == [0, 1, 2, 3]
    assert tokenizer.padding_side == "left"


def test_nothing_is_added_to_a_text(tokenizer):
    assert tokenizer.encode("fox", add_special=True) == tokenizer.encode("fox")


@given(UNICODE_TEXT)
@example("</s><s><pad><unk>")
@example(" leading and trailing ")
@example("2² Å ﬁ \u0000 \ufeff \U0010ffff \ufffd")
@example("e\u0301 é \r\n\r")
@settings(max_examples=300)
def test_lossless_on_any_unicode_text(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert not set(ids) & {0, 1, 2, 3}
    assert all(0 <= index < tokenizer.vocab_size for index in ids)


@given(st.lists(st.sampled_from(["</s>", "<s>", "a", " ", "\n", "<", "/s>", "<pad>"])))
def test_lossless_when_special_tokens_are_spelled_out(tokenizer, parts):
    text = "".join(parts)
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.decode(tokenizer.encode(text, parse_special=True), skip_special=False) == text


def test_parse_special_reads_spellings_as_tokens(tokenizer):
    assert tokenizer.encode("fox</s>", parse_special=True)[-1] == 2
    assert 2 not in tokenizer.encode("fox</s>")


def test_training_is_deterministic():
    texts = ["one two three two one " * 4, "zwei drei vier"]
    first, second = (train_tokenizer(iter(texts), TokenizerConfig(vocab_size=300)) for _ in range(2))
    assert first.fingerprint() == second.fingerprint()


def test_small_data_yields_a_smaller_vocabulary_and_padded_rows():
    tokenizer = train_tokenizer(["ab"], TokenizerConfig(vocab_size=1000))
    assert tokenizer.vocab_size == 260
    assert tokenizer.embedding_rows(128) == 384
    assert tokenizer.embedding_rows(130) == 260
    with pytest.raises(ConfigError, match="multiple=0"):
        tokenizer.embedding_rows(0)


def test_vocabulary_too_small_is_refused():
    with pytest.raises(ConfigError, match="vocab_size=259 is too small.*260"):
        TokenizerConfig(vocab_size=259)


@pytest.mark.parametrize("setting", [{"alpha": 1.5}, {"min_frequency": 0}, {"code_share": -0.1}])
def test_settings_out_of_range_are_refused(setting):
    with pytest.raises(ConfigError, match=next(iter(setting))):
        TokenizerConfig(**setting)


@pytest.mark.parametrize("texts", [[], ["", ""]])
def test_no_text_is_refused(texts):
    with pytest.raises(DataError, match="no text to train"):
        train_tokenizer(texts, TokenizerConfig(vocab_size=300))


def test_lone_surrogates_are_refused(tokenizer):
    with pytest.raises(DataError, match="valid Unicode"):
        tokenizer.encode("\ud800")
    with pytest.raises(DataError, match="valid Unicode"):
        train_tokenizer(["\ud800"], TokenizerConfig(vocab_size=300))


def test_one_text_is_not_a_batch(tokenizer):
    with pytest.raises(DataError, match="one text"):
        tokenizer.encode_batch("fox")


def test_batch_and_arrays_agree_with_encode(tokenizer):
    texts = ["The fox", "", "敏捷的棕色狐狸", "x" * 50]
    rows = [tokenizer.encode(text) for text in texts]
    assert tokenizer.encode_batch(texts) == rows
    flat, offsets = tokenizer.encode_arrays(texts)
    assert [flat[a:b].tolist() for a, b in zip(offsets, offsets[1:], strict=False)] == rows
    assert flat.dtype == "uint32" and isinstance(tokenizer, Tokenizer)
