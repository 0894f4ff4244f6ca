"""An ablation from its recipe, as the command runs it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hortus.errors import ConfigError
from hortus.recipe import read_recipe, run_recipe

__all__ = ["run_ablation"]


def run_ablation(
    recipe: Path,
    assignments: Sequence[str] = (),
    *,
    processes: int | None = None,
    address: str | None = None,
    resume: bool = False,
) -> dict[str, Any]:
    """Carry out a recipe whose last word is its stage `ablate`; returns that stage's numbers and the report.

    Args:
        assignments: as of `hortus run --set`.
        processes, address: in place of the recipe's.

    Raises:
        ConfigError: the recipe has no such stage.
    """
    names = [planned.name for planned in read_recipe(recipe).stages if planned.kind == "ablate"]
    if not names:
        raise ConfigError(f"{recipe} has no stage of kind ablate", do="see recipes/ablations.yaml")
    given = {"processes": processes, "address": address}
    added = [f"{names[0]}.{name}={value}" for name, value in given.items() if value is not None]
    result = run_recipe(read_recipe(recipe, [*assignments, *added]), resume=resume)
    return {**result.numbers[names[0]], "report": str(result.report), "seconds": result.seconds[names[0]]}
