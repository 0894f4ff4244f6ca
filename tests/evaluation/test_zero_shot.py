"""The stage that evaluates on held-out tasks, and its errors over documents and seeds."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from hortus.config import to_mapping
from hortus.errors import ConfigError
from hortus.evaluation.config import ZeroShotConfig
from hortus.evaluation.findings import average_difference, seeded_difference
from hortus.evaluation.statistics import paired_bootstrap
from hortus.evaluation.zero_shot import STAGE
from hortus.prompts import TaskConfig
from hortus.recipe import StageContext
from tests.evaluation.conftest import make_model


def tables(seed: int, rate: float, prompts: int = 3, documents: int = 200) -> np.ndarray:
    return (np.random.default_rng(seed).random((prompts, documents)) < rate).astype(float)


def test_errors_of_documents_and_seeds_add_in_squares() -> None:
    base, trained = tables(0, 0.5), [tables(seed, 0.6) for seed in (1, 2, 3)]
    found = seeded_difference([base], trained, "mean", 500)
    values = [table.mean() - base.mean() for table in trained]
    assert found.by_seed == pytest.approx(values) and found.value == pytest.approx(np.mean(values))
    documents = np.mean([paired_bootstrap(base, table, draws=500).standard_error for table in trained])
    seeds = np.std(values, ddof=1) / np.sqrt(3)
    assert found.standard_error == pytest.approx(np.hypot(documents, seeds))


def test_a_real_difference_counts_and_none_does_not() -> None:
    base = tables(0, 0.5)
    assert seeded_difference([base], [tables(s, 0.8) for s in (1, 2)], "median", 300).counts
    assert not seeded_difference([base], [base, base], "iqr", 300).counts


def test_the_average_over_datasets_shrinks_the_documents_share_only() -> None:
    parts = {
        name: seeded_difference([tables(n, 0.5)], [tables(n + 10, 0.6), tables(n + 20, 0.6)], "mean", 500)
        for n, name in enumerate("abcd")
    }
    average = average_difference(parts)
    assert average.value == pytest.approx(np.mean([part.value for part in parts.values()]))
    seeds = abs(average.by_seed[0] - average.by_seed[1]) / 2
    assert seeds < average.standard_error < max(part.standard_error for part in parts.values()) + seeds


def test_the_stage_scores_base_and_models_on_what_is_held_out(prompted: TaskConfig, tmp_path: Path) -> None:
    held_out = dataclasses.replace(prompted, without=("write",))
    before = tmp_path / "prompted"
    make_model(0).save(tmp_path / "base")
    listed = []
    for way in ("one", "all"):
        for seed in (0, 1):
            make_model(7 + seed + 2 * (way == "all")).save(before / f"{way}-{seed}" / "model")
            listed.append({"name": f"{way}-{seed}", "way": way, "seed": seed, "model": f"{way}-{seed}/model"})
    (before / "models.json").write_text(json.dumps({"base": str(tmp_path / "base"), "models": listed}))
    mixture = {"training": [], "held_out": [to_mapping(held_out)]}
    (before / "mixture.yaml").write_text(yaml.safe_dump(mixture))
    context = StageContext(folder=tmp_path, inputs={"prompted": before}, resume=False, recipe={})
    result = STAGE.run(ZeroShotConfig(draws=200), context)
    rows = result.numbers["zero-shot accuracy on held-out tasks"]
    assert [row["trained on"] for row in rows] == ["nothing", "one prompts", "all prompts"]
    assert all(row["prompts"] == 2 and row["documents"] == 12 for row in rows)
    findings = result.numbers["findings"]
    assert len(findings) == 8 and {row["task"] for row in findings} == {"foxes", "average"}
    first = findings[0]
    assert first["difference"] == pytest.approx(rows[1]["mean"] - rows[0]["mean"]) and first["seeds"] == 2
    assert (tmp_path / "all-1.json").is_file() and len(result.blocks) == 3
    (before / "mixture.yaml").write_text(yaml.safe_dump({"held_out": []}))
    with pytest.raises(ConfigError, match="holds nothing out"):
        STAGE.run(ZeroShotConfig(), context)
