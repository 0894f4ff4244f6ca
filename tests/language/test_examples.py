"""The examples in docstrings are run."""

import doctest
import importlib

import pytest

MODULES = [
    "hortus.language.batching",
    "hortus.language.chat",
    "hortus.language.config",
    "hortus.language.sampling",
    "hortus.language.scoring",
    "hortus.language.stopping",
    "hortus.language.model",
    "hortus.models.layers.cache",
    "hortus.models.decoder.session",
    "hortus.models.decoder.paged",
    "hortus.models.decoder.packed",
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0
