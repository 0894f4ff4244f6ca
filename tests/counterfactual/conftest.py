"""Small tables and one small fitted model, shared by the room's tests."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
import torch

from hortus.counterfactual import VCNet


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def people(num_rows: int = 240, seed: int = 0) -> tuple[pd.DataFrame, pd.Series]:
    """A table with every kind of column, and a target that depends on three of them."""
    random = np.random.default_rng(seed)
    age = random.integers(18, 80, num_rows)
    income = np.round(random.gamma(4, 800, num_rows), 2)
    job = random.choice(["clerk", "nurse", "smith", "none"], num_rows)
    level = pd.Categorical(
        random.choice(["low", "mid", "high"], num_rows), ["low", "mid", "high"], ordered=True
    )
    owner = random.random(num_rows) < 0.5
    debt = np.where(random.random(num_rows) < 0.2, np.nan, np.round(random.random(num_rows) * 10, 1))
    frame = pd.DataFrame(
        {
            "job": job,
            "age": age,
            "level": level,
            "income": income,
            "owner": owner,
            "debt": debt,
            "unit": "eur",
        }
    )
    score = (
        age / 80 + income / 4000 + (job == "nurse") - 0.5 * (level == "low") + 0.1 * random.random(num_rows)
    )
    return frame, pd.Series(np.where(score > np.median(score), "yes", "no"), name="granted")


@pytest.fixture(scope="session")
def table() -> tuple[pd.DataFrame, pd.Series]:
    return people()


@pytest.fixture(scope="session")
def model(table: tuple[pd.DataFrame, pd.Series]) -> VCNet:
    """Fitted with `age` immutable."""
    with pytest.warns(UserWarning, match="constant columns are kept.*'unit'"):
        return VCNet(immutable=["age"], epochs=60, share_size=32, middle_size=16, latent_size=4).fit(*table)
