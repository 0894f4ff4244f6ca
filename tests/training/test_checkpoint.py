"""Checkpoints on disk: whole or not there, verified, pruned; a full disk."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import resource
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from hortus.errors import ArtifactError, DeviceError
from hortus.training import checkpoint
from hortus.training.checkpoint import (
    CheckpointWriter,
    Snapshot,
    find_best,
    find_latest,
    list_checkpoints,
    write_checkpoint,
)


def snapshot(step: int, metric: float | None = None, size: int = 10) -> Snapshot:
    weights = {"a": torch.full((size,), float(step)), "b": torch.tensor(step)}
    return Snapshot(step, weights, {"0.step": torch.tensor(1.0)}, {"step": step}, metric)


def test_round_trip(tmp_path: Path) -> None:
    written = write_checkpoint(tmp_path, snapshot(7, 0.5))
    found, broken = find_latest(tmp_path)
    assert found == written and not broken
    assert (found.step, found.metric, found.folder.name) == (7, 0.5, "step-00000007")
    read, expected = found.read(), snapshot(7)
    assert read.state == expected.state
    assert all(torch.equal(read.weights[name], tensor) for name, tensor in expected.weights.items())
    assert torch.equal(read.optimizer["0.step"], expected.optimizer["0.step"])


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json"])
@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "bytes instead of"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\0"), "checksum"),
    ],
    ids=["missing", "torn", "changed"],
)
def test_damaged_file_is_named(tmp_path: Path, name: str, damage: Callable[[Path], None], says: str) -> None:
    write_checkpoint(tmp_path, snapshot(1))
    newer = write_checkpoint(tmp_path, snapshot(2))
    damage(newer.folder / name)
    with pytest.raises(ArtifactError, match=rf"step-00000002/{name} .*{says}"):
        newer.verify()
    found, broken = find_latest(tmp_path)
    assert found is not None and found.step == 1
    assert list(broken) == [newer.folder] and name in str(broken[newer.folder])


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"step": 2}'])
def test_damaged_manifest_is_named(tmp_path: Path, text: str | None) -> None:
    manifest = write_checkpoint(tmp_path, snapshot(2)).folder / "manifest.json"
    manifest.unlink() if text is None else manifest.write_text(text)
    found, broken = list_checkpoints(tmp_path)
    assert not found and "manifest.json is missing or not readable" in str(broken[manifest.parent])


def test_best_is_the_best_whole_one(tmp_path: Path) -> None:
    for step, metric in [(1, 3.0), (2, 1.0), (3, 2.0), (4, None)]:
        write_checkpoint(tmp_path, snapshot(step, metric))
    lowest, highest = find_best(tmp_path, "lowest"), find_best(tmp_path, "highest")
    assert lowest is not None and lowest.step == 2
    assert highest is not None and highest.step == 1
    (lowest.folder / "model.safetensors").write_bytes(b"")
    second = find_best(tmp_path, "lowest")
    assert second is not None and second.step == 3


def test_writer_keeps_the_newest_and_the_best(tmp_path: Path) -> None:
    with CheckpointWriter(tmp_path, keep=2, goal="highest") as writer:
        for step, metric in enumerate([1.0, 9.0, 3.0, None, 4.0, 2.0], start=1):
            writer.submit(snapshot(step, metric))
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"step-0000000{n}" for n in (2, 5, 6)]


def test_writer_clears_what_a_killed_one_left(tmp_path: Path) -> None:
    (tmp_path / ".step-00000003.99.part").mkdir()
    with CheckpointWriter(tmp_path, keep=1, goal="lowest") as writer:
        writer.submit(snapshot(4))
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000004"]


def test_write_goes_on_while_training_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writing, go_on = threading.Event(), threading.Event()

    def hold(name: str) -> None:
        if name == "model.safetensors":
            writing.set()
            assert go_on.wait(10)

    monkeypatch.setattr(checkpoint, "write_moment", hold)
    with CheckpointWriter(tmp_path, keep=1, goal="lowest") as writer:
        writer.submit(snapshot(1))
        assert writing.wait(10)  # submit has returned, and nothing is there yet
        assert find_latest(tmp_path) == (None, {})
        go_on.set()
    found, _ = find_latest(tmp_path)
    assert found is not None and found.step == 1


FULL = {
    "operating system": OSError(errno.ENOSPC, "No space left on device"),
    "quota": OSError(errno.EDQUOT, "Disk quota exceeded"),
    "safetensors": SafetensorError(
        "Error while serializing: I/O error: No space left on device (os error 28)"
    ),
}


@pytest.mark.parametrize("error", FULL.values(), ids=list(FULL))
@pytest.mark.parametrize("point", ["model.safetensors", "state.json", "rename"])
def test_full_disk_keeps_the_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, point: str
) -> None:
    def fail(name: str) -> None:
        if name == point:
            raise error

    with CheckpointWriter(tmp_path, keep=1, goal="lowest") as writer:
        writer.submit(snapshot(1))
        writer.wait()
        monkeypatch.setattr(checkpoint, "write_moment", fail)
        writer.submit(snapshot(2, size=3 * 2**20))
        with pytest.raises(
            DeviceError, match=rf"no space for a checkpoint in {tmp_path}: 13 MiB needed, .* free"
        ):
            writer.wait()
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_too_little_space_is_seen_before_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=5 * 2**20))
    with pytest.raises(DeviceError, match="9 MiB needed, 5 MiB free"):
        write_checkpoint(tmp_path, snapshot(1, size=2 * 2**20))
    assert not list(tmp_path.iterdir())


def _write_with_file_limit(folder: str) -> None:
    """Exit 0 when a file that grows beyond the limit gives the error of a full disk and leaves nothing."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
    try:
        write_checkpoint(Path(folder), snapshot(1, size=2**20))
    except DeviceError:
        os._exit(0 if not list(Path(folder).iterdir()) else 2)
    os._exit(1)


def test_file_limit_of_the_system(tmp_path: Path) -> None:
    # The nearest thing to a full disk that a test can have: the system refuses to let a file grow, in the
    # middle of what safetensors writes.
    context = multiprocessing.get_context("forkserver")
    process = context.Process(target=_write_with_file_limit, args=(str(tmp_path),))
    process.start()
    process.join()
    assert process.exitcode == 0


def test_other_errors_are_not_called_a_full_disk(tmp_path: Path) -> None:
    folder = tmp_path / "file"
    folder.write_text("")
    with pytest.raises(OSError):
        write_checkpoint(folder, snapshot(1))


def test_manifest_tells_what_was_written(tmp_path: Path) -> None:
    written = write_checkpoint(tmp_path, snapshot(3, 1.5))
    manifest = json.loads((written.folder / "manifest.json").read_text())
    assert (manifest["format"], manifest["step"], manifest["metric"]) == (1, 3, 1.5)
    for name, entry in manifest["files"].items():
        assert (written.folder / name).stat().st_size == entry["bytes"]
