"""The examples in the room's docstrings are run."""

from __future__ import annotations

import doctest
import importlib

import pytest

MODULES = ["columns", "config", "comparison", "encoding", "goals", "losses", "cards", "metrics", "network"]
MODULES += ["posthoc", "realism", "vcnet"]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"hortus.counterfactual.{name}"))
    assert result.attempted > 0
    assert result.failed == 0
