"""Mixtures: shares and limits, the preview, what is written, and the ROOTS ratios."""

from collections import Counter

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hortus.corpus.mixture import MixtureConfig, mix, plan_mixture, published_ratios
from hortus.errors import ConfigError, DataError

NAMES = st.sampled_from(["en", "fr", "sw", "code", "yo"])


@given(st.dictionaries(NAMES, st.integers(1, 10**6), min_size=1), st.floats(0.5, 10), st.floats(0, 1))
def test_shares_sum_to_one_within_the_epochs(tokens, max_epochs, alpha):
    mixture = plan_mixture(tokens, MixtureConfig(alpha=alpha, max_epochs=max_epochs))
    assert all(epochs <= max_epochs * (1 + 1e-9) for epochs in mixture.epochs.values())
    if max_epochs >= 1:
        assert sum(mixture.shares.values()) == pytest.approx(1)


def test_ratios_are_met_where_there_is_enough():
    config = MixtureConfig(ratios={"sw": 0.2, "yo": 0.3}, max_epochs=3)
    mixture = plan_mixture({"en": 600, "fr": 200, "sw": 100, "yo": 100}, config)
    assert mixture.shares == pytest.approx({"sw": 0.2, "yo": 0.3, "en": 0.375, "fr": 0.125})
    assert mixture.epochs["yo"] == pytest.approx(3)
    assert mixture.table().rows[0][:3] == ["en", 600, "37.500%"]


def test_roots_ratios_over_what_is_there():
    mixture = plan_mixture({"en": 500, "code": 500, "xx": 10}, MixtureConfig(ratios="roots"))
    assert mixture.shares == pytest.approx({"en": 30.31 / 43.34, "code": 13.03 / 43.34})
    assert len(published_ratios()) == 46


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"ratios": {"en": 0.7, "fr": 0.5}}, "sum to 1.2"),
        ({"ratios": {"eng": 0.7}}, "did you mean 'en'"),
        ({"ratios": "root"}, "allowed: roots"),
        ({"max_epochs": 0}, "max_epochs above 0"),
    ],
)
def test_wrong_targets_are_named(settings, words):
    with pytest.raises(ConfigError, match=words):
        plan_mixture({"en": 1}, MixtureConfig(**settings))


def test_nothing_to_mix(tmp_path):
    with pytest.raises(DataError, match="nothing to mix"):
        plan_mixture({}, MixtureConfig())
    with pytest.raises(DataError, match="no documents at"):
        mix(tmp_path, MixtureConfig())


def test_a_mixture_is_written_with_its_epochs(tmp_path, write_documents, tokenizer):
    rows = [(f"english words number {i}", "en", "train") for i in range(400)]
    rows += [(f"maneno ya {i} hapa", "sw", "train") for i in range(40)] + [("held out", "en", "validation")]
    write_documents(tmp_path / "corpus", rows)
    config = MixtureConfig(ratios={"sw": 0.3}, max_epochs=3.5)
    preview = mix(tmp_path / "corpus", config, tokenizer=tokenizer)
    assert not (tmp_path / "mixed").exists()
    mixture = mix(tmp_path / "corpus", config, tmp_path / "mixed", tokenizer)
    assert mixture == preview and mixture.shares["sw"] == pytest.approx(0.3)
    assert 3 < mixture.epochs["sw"] < 3.5
    table = pq.read_table(tmp_path / "mixed" / "documents.parquet").to_pylist()
    counts = Counter((row["language"], row["split"]) for row in table)
    assert counts["en", "validation"] == 1
    assert counts["sw", "train"] == pytest.approx(40 * mixture.epochs["sw"], abs=10)
    assert counts["en", "train"] == pytest.approx(400 * mixture.epochs["en"], abs=25)
    none = mix(tmp_path / "corpus", MixtureConfig(source_epochs={".": 2.0}))
    assert none.tokens["en"] > 2 * 400 * 20
    with pytest.raises(ConfigError, match="source_epochs names 'nowhere'"):
        mix(tmp_path / "corpus", MixtureConfig(source_epochs={"nowhere": 1.0}))
