"""Settings: every wrong one gets a clear line, and none needs PyTorch."""

from __future__ import annotations

import ast
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from hortus.config import from_mapping, to_mapping
from hortus.errors import ConfigError
from hortus.training import TrainingConfig
from hortus.training import config as module

WRONG: list[tuple[dict[str, Any], str]] = [
    ({}, "nothing ends the training"),
    ({"steps": 0}, "training.steps=0 is out of range; allowed: numbers above 0; change training.steps"),
    ({"steps": 1, "batch_size": -4}, "batch_size=-4"),
    ({"steps": 1, "learning_rate": float("nan")}, "learning_rate=nan"),
    ({"steps": 1, "max_minutes": float("inf")}, "max_minutes=inf"),
    ({"steps": 1, "weight_decay": -0.1}, "weight_decay=-0.1.*0 and above"),
    ({"steps": 1, "min_learning_rate": 1.0}, "min_learning_rate=1.0.*at most learning_rate"),
    ({"steps": 1, "betas": (0.9, 1.0)}, r"betas=\(0.9, 1.0\)"),
    ({"steps": 1, "decay_share": 0.0}, "decay_share=0.0"),
    ({"steps": 1, "optimizer": "adamx"}, "training.optimizer='adamx' is not known; .*did you mean 'adam.*'"),
    ({"steps": 1, "schedule": "cosin"}, "did you mean 'cosine'"),
    ({"steps": 1, "batch_size": 8, "micro_batch_size": 16}, "micro_batch_size=16.*at most batch_size=8"),
    ({"steps": 1, "batch_ramp_samples": 10}, "batch_ramp_samples=10.*0 unless batch_ramp_start is set"),
    ({"steps": 1, "batch_size": 32, "batch_ramp_start": 8}, "batch_ramp_step=16 does not divide the growth"),
    (
        {"steps": 1, "batch_size": 32, "batch_ramp_start": 16},
        "batch_ramp_samples=0.*above 0 with a batch ramp",
    ),
    ({"steps": 1, "batch_size": 32, "batch_ramp_start": 64}, "batch_ramp_start=64.*at most batch_size=32"),
    ({"steps": 1, "warmup_samples": 10, "decay_samples": 10}, "decay_samples=10.*above warmup_samples=10"),
    ({"steps": 1, "patience": 3}, "patience=3.*set with evaluate_every"),
    ({"steps": 1, "keep_checkpoints": 0}, "keep_checkpoints=0"),
]


@pytest.mark.parametrize(("settings", "says"), WRONG, ids=[says[:40] for _, says in WRONG])
def test_wrong_settings(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        TrainingConfig(**settings)


def test_round_trip_through_yaml_values() -> None:
    config = TrainingConfig(steps=7, betas=(0.8, 0.9), max_minutes=3)
    assert from_mapping(TrainingConfig, to_mapping(config), "training") == config
    assert config.changes_from(to_mapping(config)) == {}
    assert TrainingConfig(steps=9, betas=(0.8, 0.9), max_minutes=3).changes_from(to_mapping(config)) == {
        "steps": (7, 9)
    }


def test_every_field_has_its_line_of_help() -> None:
    assert module.__file__ is not None
    tree = ast.parse(Path(module.__file__).read_text())
    body = next(node for node in tree.body if isinstance(node, ast.ClassDef)).body
    lines = {
        before.target.id: after.value.value
        for before, after in zip(body, body[1:], strict=False)
        if isinstance(before, ast.AnnAssign)
        and isinstance(before.target, ast.Name)
        and isinstance(after, ast.Expr)
        and isinstance(after.value, ast.Constant)
    }
    assert set(lines) == {field.name for field in fields(TrainingConfig)}
    assert all(line.endswith(".") and "\n" not in line for line in lines.values())


def test_settings_do_not_load_torch() -> None:
    code = "import sys, hortus.training; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
