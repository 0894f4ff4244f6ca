"""The examples in docstrings and on the room's page run as printed."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import hortus.training

MODULES = [f"hortus.training.{module.name}" for module in pkgutil.iter_modules(hortus.training.__path__)]
PAGE = Path(__file__).parents[2] / "docs" / "training.md"


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__ and set(module.__all__) <= set(dir(module))
    assert doctest.testmod(module).failed == 0


def test_public_names() -> None:
    assert all(getattr(hortus.training, name) is not None for name in hortus.training.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'trainr'"):
        hortus.training.trainr  # noqa: B018


def test_page(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), {"__name__": "page"})
    assert capsys.readouterr().out.startswith("200 steps ")


def test_page_names_only_settings_that_exist() -> None:
    table = PAGE.read_text().partition("## Settings")[2].partition("## The folder")[0]
    fields = set(hortus.training.TrainingConfig.__dataclass_fields__)
    named = set(re.findall(r"`([a-z_]+)(?:=[^`]*)?`", table)) - {"_step", "_samples"}
    assert named <= fields, named - fields
