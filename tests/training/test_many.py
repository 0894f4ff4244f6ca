"""Processes that train together as torchrun starts them: same curve, any topology, recovery."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hortus.errors import ConfigError
from hortus.training.ranks import Ranks
from hortus.training.shards import read_shards

from .scaled_run import DECODER, train

TOPOLOGIES: dict[str, dict[str, Any]] = {
    "fsdp2": {"processes": 2},
    "tensor2": {"processes": 2, "tensor_parallel": 2},
    "fsdp2 x tensor2": {"processes": 4, "tensor_parallel": 2},
    "fsdp3": {"processes": 3},
}
slow = pytest.mark.slow
Launch = Callable[..., list[int | None]]


@pytest.fixture(scope="module")
def launch() -> Launch:
    """Run `train` in so many processes, forked from a clean one that has PyTorch loaded; their exit codes."""
    context = multiprocessing.get_context("forkserver")
    preload = ["hortus.training.trainer", "hortus.training.many", "hortus.objectives.causal"]
    context.set_forkserver_preload([*preload, "hortus.models.bloom", "torch._dynamo"])

    def run(folder: Path, processes: int = 1, attempt: int = 0, **settings: Any) -> list[int | None]:
        folder.mkdir(exist_ok=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        common = {"WORLD_SIZE": processes, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        common["TORCHELASTIC_RESTART_COUNT"] = attempt
        arguments = {"folder": str(folder), **settings}
        ranks = [
            context.Process(target=_train, args=({**common, "RANK": rank, "LOCAL_RANK": rank}, arguments))
            for rank in range(processes)
        ]
        for process in ranks:
            process.start()
        for process in ranks:
            process.join()
        codes = [process.exitcode for process in ranks]
        assert settings.get("kill_at") or codes == [0] * processes
        return codes

    return run


def _train(environment: dict[str, Any], settings: dict[str, Any]) -> None:
    os.environ.update({name: str(value) for name, value in environment.items()})
    train(**settings)


@pytest.fixture(scope="module")
def alone(launch: Launch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    launch(folder)
    return folder


@pytest.fixture(scope="module")
def fsdp2(launch: Launch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fsdp2")
    launch(folder, **TOPOLOGIES["fsdp2"])
    return folder


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def assert_same_curve(folder: Path, expected: Path) -> None:
    ours, theirs = records(folder), records(expected)
    assert [r["step"] for r in ours] == [r["step"] for r in theirs] and len(ours) == 22
    for name in ("loss", "validation_loss", "gradient_norm", "batch_samples", "samples"):
        values = [[r[name] for r in one if name in r] for one in (ours, theirs)]
        assert values[0] == pytest.approx(values[1], abs=1e-5), name
    norms = [json.loads((one / "norms.json").read_text()) for one in (folder, expected)]
    assert norms[0] == pytest.approx(norms[1], abs=1e-4)


def test_fully_sharded_is_one_process(fsdp2: Path, alone: Path) -> None:
    assert_same_curve(fsdp2, alone)


@pytest.mark.parametrize(
    "name", ["tensor2", pytest.param("fsdp2 x tensor2", marks=slow), pytest.param("fsdp3", marks=slow)]
)
def test_a_topology_is_one_process(name: str, alone: Path, launch: Launch, tmp_path: Path) -> None:
    launch(tmp_path, **TOPOLOGIES[name])
    assert_same_curve(tmp_path, alone)


@slow
@pytest.mark.parametrize("name", ["tensor2", "fsdp2 x tensor2"])
def test_a_decoder_with_grouped_heads_too(name: str, launch: Launch, tmp_path: Path) -> None:
    for folder, topology in (("alone", {}), ("many", TOPOLOGIES[name])):
        launch(tmp_path / folder, network=DECODER, **topology)
    assert_same_curve(tmp_path / "many", tmp_path / "alone")


def cut_back(source: Path, folder: Path) -> Path:
    """A copy of a run that ended at step 10."""
    shutil.copytree(source, folder)
    shutil.rmtree(folder / "checkpoints" / "step-00000020")
    return folder


def test_pieces_go_on_in_one_process(fsdp2: Path, alone: Path, launch: Launch, tmp_path: Path) -> None:
    pieces = fsdp2 / "checkpoints" / "step-00000010" / "model"
    assert len(list(pieces.glob("shard-*.safetensors"))) == 2
    folder = cut_back(fsdp2, tmp_path / "again")
    launch(folder, resume=True)
    assert_same_curve(folder, alone)


@slow
@pytest.mark.parametrize("after", ["fsdp2", "tensor2", "fsdp2 x tensor2"])
@pytest.mark.parametrize("before", ["alone", "fsdp2", "tensor2", "fsdp2 x tensor2"])
def test_a_checkpoint_goes_on_elsewhere(
    before: str, after: str, alone: Path, launch: Launch, tmp_path: Path
) -> None:
    source = alone
    if before != "alone":
        source = tmp_path / "before"
        launch(source, **TOPOLOGIES[before])
    folder = cut_back(source, tmp_path / "after")
    launch(folder, resume=True, **TOPOLOGIES[after])
    assert_same_curve(folder, alone)


def test_a_killed_rank_recovers_by_itself(alone: Path, launch: Launch, tmp_path: Path) -> None:
    codes = launch(tmp_path, processes=2, kill_at=14)
    assert codes[1] == -signal.SIGKILL and codes[0] != 0
    launch(tmp_path, processes=2, attempt=1)  # as the agent does: nobody says resume
    assert_same_curve(tmp_path, alone)


def test_only_the_launch_that_began_a_run_resumes_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ranks = Ranks()
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "first")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert not ranks.restarted(tmp_path)  # refused at its first try, it must not go on at its second
    ranks.begin(tmp_path)
    assert ranks.restarted(tmp_path)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "second")
    assert not ranks.restarted(tmp_path)


def test_tensor_parallelism_needs_processes(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="tensor_parallel=2 in a single process.*torchrun"):
        train(str(tmp_path), tensor_parallel=2)


@slow
def test_a_loss_that_is_no_number_is_left_out_and_its_rank_named(launch: Launch, tmp_path: Path) -> None:
    launch(tmp_path, processes=2, poison_at=5)
    said = (tmp_path / "said-0").read_text()
    assert "step 5: loss nan" in said and "rank 1 of 2 has a loss that is not finite" in said
    assert "rank 0 of 2 has a loss" not in said
    assert [r["skipped_steps"] for r in records(tmp_path) if "skipped_steps" in r][-1] == 1


@slow
def test_bfloat16_travels_and_float32_adds(launch: Launch, tmp_path: Path) -> None:
    for name, processes in (("one", 1), ("two", 2)):
        launch(tmp_path / name, processes=processes, dtype="bfloat16")
    losses = [[r["loss"] for r in records(tmp_path / name) if "loss" in r] for name in ("one", "two")]
    assert losses[0] == pytest.approx(losses[1], abs=0.03)
    weights = tmp_path / "two" / "checkpoints" / "step-00000020" / "model"
    assert {tensor.dtype for tensor in read_shards(weights).values()} == {torch.float32}


@slow
def test_torchrun_restarts_after_a_kill(alone: Path, tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    settings = json.dumps({"folder": str(tmp_path), "kill_at": 14})
    command = [*torchrun, "--max-restarts", "1", "-m", "tests.training.scaled_run", settings]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[2])
    assert_same_curve(tmp_path, alone)
