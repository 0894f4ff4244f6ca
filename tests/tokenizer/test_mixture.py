"""Shares over languages against the formula."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hortus.errors import ConfigError, DataError
from hortus.tokenizer import language_shares

SIZES = st.dictionaries(st.sampled_from(["en", "fr", "code", "yo", "zh"]), st.integers(1, 10**9), min_size=1)
FREE = 1e12  # an upsampling limit that binds nothing


@given(SIZES, st.floats(0, 1))
def test_shares_without_bounds_are_size_to_the_alpha(sizes, alpha):
    shares = language_shares(sizes, alpha, max_upsampling=FREE)
    total = sum(size**alpha for size in sizes.values())
    assert shares == pytest.approx({language: size**alpha / total for language, size in sizes.items()})


@given(SIZES, st.floats(0, 1), st.floats(0.05, 1))
def test_a_cap_holds_and_the_others_keep_their_proportions(sizes, alpha, cap):
    shares = language_shares(sizes, alpha, {"code": cap}, max_upsampling=FREE)
    assert sum(shares.values()) == pytest.approx(1)
    if "code" in sizes and len(sizes) > 1:
        assert shares["code"] <= cap + 1e-12
        plain = language_shares(sizes, alpha, max_upsampling=FREE)
        others = [language for language in sizes if language != "code"]
        ratios = [shares[language] / plain[language] for language in others]
        assert ratios == pytest.approx([ratios[0]] * len(others))


@given(SIZES, st.floats(0, 1), st.floats(0.05, 1), st.floats(1, 300))
def test_no_language_passes_the_upsampling_limit(sizes, alpha, cap, limit):
    shares = language_shares(sizes, alpha, {"code": cap}, max_upsampling=limit)
    total = sum(sizes.values())
    assert sum(shares.values()) == pytest.approx(1)
    assert all(share <= limit * sizes[language] / total * (1 + 1e-9) for language, share in shares.items())


def test_two_caps_where_the_second_binds_after_the_first():
    shares = language_shares({"code": 90, "en": 9, "yo": 1}, 1, {"code": 0.5, "en": 0.4})
    assert shares == pytest.approx({"code": 0.5, "en": 0.4, "yo": 0.1})


def test_caps_that_cannot_hold_give_way():
    assert language_shares({"code": 5}, 0.3, {"code": 0.5}) == {"code": 1}
    shares = language_shares({"code": 10**6, "en": 10}, 0.3, {"code": 0.5}, max_upsampling=100)
    assert shares["en"] == pytest.approx(100 * 10 / (10**6 + 10)) and sum(shares.values()) == pytest.approx(1)


def test_empty_languages_get_no_share_and_no_language_is_an_error():
    assert language_shares({"en": 5, "fr": 0}, 0.3) == {"en": 1}
    with pytest.raises(DataError, match="no language"):
        language_shares({"fr": 0}, 0.3)
    with pytest.raises(ConfigError, match="alpha=2"):
        language_shares({"fr": 1}, 2)
