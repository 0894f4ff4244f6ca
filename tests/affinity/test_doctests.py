from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import hortus.affinity

MODULES = [f"hortus.affinity.{module.name}" for module in pkgutil.iter_modules(hortus.affinity.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0
