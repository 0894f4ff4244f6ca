"""A run that is killed and resumed ends bit for bit where an uninterrupted one ends."""

from __future__ import annotations

import json
import multiprocessing
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from .killed_run import Moment, train

# Steps 1 to 10 are in the batch ramp; checkpoints are written every 5 steps and at every best evaluation.
MOMENTS: dict[str, Moment] = {
    "before the first step": ("loss", 1, ""),
    "inside the batch ramp, after a checkpoint": ("loss", 8, ""),
    "a log line ahead of the checkpoint": ("log", 14, ""),
    "inside a write: weights written": ("write", 10, "optimizer.safetensors"),
    "inside a write: before the manifest": ("write", 15, "manifest.json"),
    "inside a write: before the rename": ("write", 20, "rename"),
    "inside a write: before older ones are pruned": ("write", 25, "done"),
    "in an evaluation": ("evaluate", 18, ""),
    "in the last micro-batches": ("loss", 90, ""),
    "inside the last write": ("write", 30, "state.json"),
}
VARYING = {"seconds", "samples_per_second", "tokens_per_second", "matmul_share", "eta_seconds"}
VARYING |= {"memory_bytes", "energy_kwh"}

Run = Callable[[Path, str, Moment, bool], int]


@pytest.fixture(scope="module")
def run_process() -> Run:
    """Run `train` in a process forked from a clean one that has PyTorch loaded; returns its exit code."""
    context = multiprocessing.get_context("forkserver")
    # torch.optim loads torch._dynamo when it is first used, which takes two seconds.
    tasks = ["hortus.objectives.causal", "hortus.models.bloom"]
    context.set_forkserver_preload(["hortus.training.trainer", *tasks, "torch._dynamo"])

    def run(folder: Path, kind: str, moment: Moment, resume: bool) -> int:
        process = context.Process(target=train, args=(str(folder), kind, moment, resume))
        process.start()
        process.join()
        assert process.exitcode is not None
        return process.exitcode

    return run


@pytest.fixture(scope="module", params=["regression", "bloom"])
def straight(
    request: pytest.FixtureRequest, run_process: Run, tmp_path_factory: pytest.TempPathFactory
) -> Any:
    """The uninterrupted run: its task and folder."""
    folder = tmp_path_factory.mktemp(request.param)
    assert run_process(folder, request.param, None, False) == 0
    return request.param, folder


@pytest.mark.parametrize("moment", MOMENTS.values(), ids=list(MOMENTS))
def test_killed_run_resumes_exactly(straight: Any, moment: Moment, run_process: Run, tmp_path: Path) -> None:
    kind, expected = straight
    assert run_process(tmp_path, kind, moment, False) == -signal.SIGKILL
    assert run_process(tmp_path, kind, None, True) == 0
    assert_same_end(tmp_path, expected)


def test_run_killed_again_and_again(run_process: Run, tmp_path: Path) -> None:
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    assert run_process(straight, "regression", None, False) == 0
    # 45 micro-batches are some eleven steps, so every process gets beyond at least one whole checkpoint.
    kills = 0
    while (code := run_process(killed, "regression", ("loss", 45, ""), kills > 0)) != 0:
        assert code == -signal.SIGKILL and kills < 10
        kills += 1
    assert kills >= 2
    assert_same_end(killed, straight)


def assert_same_end(folder: Path, expected: Path) -> None:
    last, last_expected = (path / "checkpoints" / "step-00000030" for path in (folder, expected))
    for name in ("model.safetensors", "optimizer.safetensors"):
        assert (last / name).read_bytes() == (last_expected / name).read_bytes()
    states = [json.loads((path / "state.json").read_text()) for path in (last, last_expected)]
    for state in states:
        for name in ("seconds", "energy_kwh"):
            assert state.pop(name) > 0
    assert states[0] == states[1]
    batches = [load_file(path / "next_batch.safetensors") for path in (folder, expected)]
    assert all(batches[0][name].equal(batches[1][name]) for name in batches[1])
    assert records(folder) == records(expected)
    left = {path.name for path in (folder / "checkpoints").iterdir()}
    assert left == {path.name for path in (expected / "checkpoints").iterdir()}


def records(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in VARYING} for line in lines]
