"""The examples in the room's docstrings are run."""

from __future__ import annotations

import doctest
import importlib

import pytest

MODULES = "cache evaluator files findings held_out metrics statistics tasks"


@pytest.mark.parametrize("name", MODULES.split(" "))
def test_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"hortus.evaluation.{name}"))
    assert result.attempted > 0
    assert result.failed == 0
