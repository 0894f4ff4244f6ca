"""What `hortus run` and `hortus report` print after a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hortus.cli.run import _next_command
from hortus.registry import KINDS


@pytest.mark.parametrize("model_type", sorted(KINDS))
def test_the_next_command_opens_that_kind_of_model(tmp_path: Path, model_type: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    command = _next_command(str(tmp_path))
    assert str(tmp_path) in command
    assert command.startswith("hortus generate") == KINDS[model_type].startswith("hortus.language")
