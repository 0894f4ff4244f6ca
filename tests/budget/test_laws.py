"""Scaling laws against their formulas and the published optima."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hortus.budget.laws import CHINCHILLA, KAPLAN, Law, effective_tokens, find_law, over_training
from hortus.budget.text import TextSupply, read_supply
from hortus.errors import ArtifactError, ConfigError


def test_published_optima() -> None:
    size, tokens = CHINCHILLA.optimum(4.18e23)
    assert size == pytest.approx(59e9, rel=0.1)
    assert tokens == pytest.approx(1.2e12, rel=0.1)
    size, tokens = KAPLAN.optimum(3.88e23)
    assert size == pytest.approx(392e9, rel=1e-6)
    assert tokens == pytest.approx(165e9, rel=0.01)
    assert "not derived" in KAPLAN.origin


def test_kaplan_has_its_exponents() -> None:
    (small, _), (large, _) = KAPLAN.optimum(1e20), KAPLAN.optimum(1e22)
    assert np.log(large / small) / np.log(100) == pytest.approx(0.73)
    losses = [KAPLAN.loss(*KAPLAN.optimum(flops)) for flops in (1e20, 1e22)]
    assert -np.log(losses[1] / losses[0]) / np.log(100) == pytest.approx(0.05)


@given(st.floats(1e18, 1e26), st.sampled_from([CHINCHILLA, KAPLAN]), st.floats(0.2, 5))
def test_the_optimum_is_the_lowest(flops: float, law: Law, factor: float) -> None:
    size, tokens = law.optimum(flops)
    assert 6 * size * tokens == pytest.approx(flops)
    assert law.loss(size * factor, tokens / factor) >= law.loss(size, tokens) - 1e-12


def test_over_training_reaches_the_same_loss_and_pays_in_serving() -> None:
    size, tokens = CHINCHILLA.optimum(1e22)
    smaller = over_training(CHINCHILLA, 1e22, 0.5)
    assert smaller is not None
    loss = CHINCHILLA.loss(size, tokens)
    assert CHINCHILLA.loss(smaller.parameters, smaller.tokens) == pytest.approx(loss)
    whole = [
        6 * n * d + 2 * n * smaller.pays_after
        for n, d in ((size, tokens), (smaller.parameters, smaller.tokens))
    ]
    assert whole[0] == pytest.approx(whole[1])
    assert over_training(CHINCHILLA, 1e22, 0.01) is None


def test_repeated_text() -> None:
    # Muennighoff et al.: D' = U + U·R*·(1 - e^(-R/R*)).
    assert effective_tokens(10, 8) == 8
    assert effective_tokens(10, 50) == pytest.approx(10 + 10 * 15.39 * (1 - np.exp(-4 / 15.39)))
    supply = TextSupply({"a": 100.0, "b": 1.0}, alpha=1.0)
    assert supply.worth(101.0) == pytest.approx(101)
    assert TextSupply({"a": 100.0, "b": 1.0}, alpha=0.3).worth(101.0) < 95
    assert TextSupply({}).worth(5.0) == 5.0


def test_roots_is_all_there() -> None:
    supply = read_supply(["roots"], 1.0)
    assert supply.total == pytest.approx(350e9, rel=0.01)
    assert len(supply.unique) == 46
    assert supply.unique["sw"] == pytest.approx(350e9 * 2e-4)


def test_laws_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'kaplan'"):
        find_law("caplan")
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(ArtifactError, match="holds no law"):
        find_law(str(tmp_path / "x.json"))
    (tmp_path / "x.json").write_text('{"law": {"name": 3}}')
    with pytest.raises(ArtifactError, match="holds no law"):
        find_law(str(tmp_path / "x.json"))


def test_a_law_far_from_its_runs_says_so() -> None:
    law = dataclasses.replace(CHINCHILLA, most_flops=1e18)
    assert law.stretched(1e20) == pytest.approx(100)
    assert CHINCHILLA.stretched(1e20) is None
