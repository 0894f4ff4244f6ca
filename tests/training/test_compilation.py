"""When the loss is compiled, and what happens when that fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from hortus.training import Trainer, TrainingConfig
from hortus.training.compilation import CompiledLoss

from .tasks import Regression, rows

CPU = torch.device("cpu")


def loss(batch: Any) -> Any:
    return torch.tensor(1.0), torch.tensor(1), {}


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was given to torch.compile, which here does nothing."""
    given: list[Any] = []

    def record(function: Any) -> Any:
        given.append(function)
        return function

    monkeypatch.setattr(torch, "compile", record)
    return given


@pytest.mark.parametrize(
    ("mode", "remaining", "expected"),
    [
        ("on", 1.0, "compiling the loss: training.compile=on"),
        ("off", 1e9, None),
        ("auto", 60.0, "not compiling: 60 s to go, compiling takes about 90 s and saves 5 s"),
        ("auto", 3600.0, "compiling the loss: 3600 s to go, compiling takes about 90 s and saves 327 s"),
        ("auto", None, None),
    ],
)
def test_decision(compiled: list[Any], mode: str, remaining: float | None, expected: str | None) -> None:
    said: list[str] = []
    chosen = CompiledLoss(loss, mode, CPU, said.append)
    for _ in range(10):
        chosen.decide(remaining)
    assert said == ([expected] if expected else [])
    assert len(compiled) == (expected is not None and expected.startswith("compiling"))


def test_compiler_that_fails_gives_way_to_the_eager_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(function: Any) -> Any:
        def call(batch: Any) -> Any:
            function(batch)[0].backward()  # gradients of a failed attempt must not stay
            raise RuntimeError("no C++ compiler\nat line 3")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    tasks = {}
    for mode in ("on", "off"):
        tasks[mode] = Regression(dropout=0.0, normalise=False)
        config = TrainingConfig(steps=4, batch_size=8, micro_batch_size=4, dtype="float32", compile=mode)  # type: ignore[arg-type]
        Trainer(config, tasks[mode], rows(), folder=tmp_path / mode).train()
    assert "compilation failed, going on without: RuntimeError: no C++ compiler\n" in capsys.readouterr().err
    for left, right in zip(tasks["on"].network.parameters(), tasks["off"].network.parameters(), strict=True):
        assert torch.equal(left, right)


def test_an_error_of_the_task_is_not_hidden(compiled: list[Any], tmp_path: Path) -> None:
    class Wrong(Regression):
        def loss(self, batch: Any) -> Any:
            raise KeyError("labels")

    with pytest.raises(KeyError, match="labels"):
        Trainer(TrainingConfig(steps=1, compile="on"), Wrong(), rows(), folder=tmp_path, quiet=True).train()


@pytest.mark.slow
def test_really_compiled_run_agrees_with_the_eager_one(tmp_path: Path) -> None:
    tasks = {}
    for mode in ("on", "off"):
        # No normalisation: the bias before it has a gradient of nothing but rounding, which Adam makes large.
        tasks[mode] = Regression(dropout=0.0, normalise=False)
        config = TrainingConfig(epochs=2, batch_size=16, micro_batch_size=8, dtype="float32", compile=mode)  # type: ignore[arg-type]
        Trainer(config, tasks[mode], rows(), folder=tmp_path / mode, quiet=True).train()
    for left, right in zip(tasks["on"].network.parameters(), tasks["off"].network.parameters(), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-5)
