"""The examples in the ground's docstrings are run."""

from __future__ import annotations

import doctest
import importlib

import pytest


@pytest.mark.parametrize(
    "name", ["errors", "config", "artifact", "card", "registry", "carbon", "energy", "report"]
)
def test_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"hortus.{name}"))
    assert result.attempted > 0
    assert result.failed == 0
