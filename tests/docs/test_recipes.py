"""Every shipped recipe is read and checked."""

from __future__ import annotations

from pathlib import Path

import pytest

from hortus.config import load_yaml
from hortus.recipe import read_recipe

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_are_valid(path: Path) -> None:
    if "stages" in load_yaml(path):
        assert read_recipe(path).stages
