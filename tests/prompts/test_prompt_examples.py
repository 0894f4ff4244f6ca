"""The examples in the room's docstrings are run."""

from __future__ import annotations

import doctest
import importlib

import pytest

MODULES = (
    "catalogue counting datasets hub linter mixture overlap renderer sampling sandbox template templatefile"
)


@pytest.mark.parametrize("name", MODULES.split(" "))
def test_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"hortus.prompts.{name}"))
    assert result.attempted > 0
    assert result.failed == 0
