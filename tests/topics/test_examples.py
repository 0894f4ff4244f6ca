"""The examples in the docstrings of the room run and print what they say."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import numpy as np
import pytest

import hortus.topics

NAMES = sorted(
    module.name for module in pkgutil.walk_packages(hortus.topics.__path__, prefix="hortus.topics.")
)


@pytest.mark.parametrize("name", NAMES)
def test_examples(name: str) -> None:
    module = importlib.import_module(name)
    failures, _ = doctest.testmod(module, extraglobs={"np": np})
    assert failures == 0


def test_public_names_resolve() -> None:
    for name in hortus.topics.__all__:
        assert getattr(hortus.topics, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = hortus.topics.nothing
