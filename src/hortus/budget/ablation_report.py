"""Tables and words of an ablation's report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from hortus.budget.ablation_analysis import Effect, Grid, effects, verdict
from hortus.budget.ablation_config import AblateConfig, label
from hortus.evaluation.statistics import mean_and_error
from hortus.recipe import StageResult
from hortus.report import Block, Table, Text

__all__ = ["summarise"]

_UNITS = {"bits_per_byte": "bits a byte", "loss": "nats a token"}


def summarise(
    config: AblateConfig,
    settings: Sequence[Mapping[str, str]],
    results: Sequence[Sequence[Mapping[str, Any]]],
    rates: Sequence[float],
) -> StageResult:
    """Numbers and blocks of the stage.

    Args:
        settings: labels by factor, one mapping a setting.
        results: of each setting, one a seed.
        rates: learning rate of each setting.
    """
    grid = Grid(settings, np.array([[one[config.score] for one in row] for row in results]))
    factors = {name: [label(level) for level in levels] for name, levels in config.factors.items()}
    found = effects(grid, factors)
    verdicts = [
        verdict(
            name,
            [effect for effect in found if effect.factor == name],
            _UNITS[config.score],
            config.published.get(name, {}),
        )
        for name in factors
    ]
    rows = [_setting_row(*each) for each in zip(settings, results, rates, strict=True)]
    rows.sort(key=lambda row: row[_UNITS[config.score]])
    beside = [
        _level_row(config, grid, name, level, found) for name, levels in factors.items() for level in levels
    ]
    every = [one for row in results for one in row]
    numbers = {
        "settings": len(settings),
        "trials": len(every),
        "cpu_minutes": sum(one["cpu_seconds"] for one in every) / 60,
        "residual_deviation": grid.residual_deviation,
        "levels": beside,
        "settings by score": rows,
        "verdicts": verdicts,
    }
    return StageResult(numbers, _blocks(config, verdicts, beside, rows, results))


def _level_row(
    config: AblateConfig, grid: Grid, factor: str, level: str, found: Sequence[Effect]
) -> dict[str, Any]:
    """A level's mean over its settings, its distance to the first level, and what was published."""
    scores = grid.scores[[setting[factor] == level for setting in grid.settings]]
    effect = next((one for one in found if (one.factor, one.level) == (factor, level)), None)
    return {
        "factor": factor,
        "level": level,
        _UNITS[config.score]: float(scores.mean()),
        "difference": 0.0 if effect is None else effect.difference,
        "error": None if effect is None else effect.standard_error,
        "p": None if effect is None else effect.probability,
        config.published_metric: config.published.get(factor, {}).get(level),
    }


def _setting_row(
    setting: Mapping[str, str], results: Sequence[Mapping[str, Any]], rate: float
) -> dict[str, Any]:
    bits, error = mean_and_error([one["bits_per_byte"] for one in results])
    row: dict[str, Any] = dict(setting)
    row |= {"parameters": results[0]["parameters"], "learning rate": rate}
    row |= {"bits a byte": bits, "error": error, "nats a token": fmean(one["loss"] for one in results)}
    row |= {f"accuracy, {name}": fmean(one["tasks"][name] for one in results) for name in results[0]["tasks"]}
    return row


def _blocks(
    config: AblateConfig,
    verdicts: Sequence[str],
    levels: Sequence[Mapping[str, Any]],
    rows: Sequence[Mapping[str, Any]],
    results: Sequence[Sequence[Mapping[str, Any]]],
) -> list[Block]:
    languages = list(results[0][0]["by_language"])
    means = [
        [language, *mean_and_error([one["by_language"][language] for row in results for one in row])]
        for language in languages
    ]
    return [
        Text("What each factor does", "\n\n".join(verdicts)),
        Table(
            f"Levels, mean over {len(config.seeds)} seeds and all settings that have them",
            list(levels[0]),
            [list(row.values()) for row in levels],
        ),
        Table("Settings, best first", list(rows[0]), [list(row.values()) for row in rows]),
        Table("Bits per byte by language, all models", ["language", "mean", "error"], means),
    ]
