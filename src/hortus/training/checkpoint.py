"""Checkpoints: a folder a step, whole or not there, checked byte by byte before it is trusted.

    checkpoints/step-00000200/
        model.safetensors       trainable weights and buffers, by the network's own names
        optimizer.safetensors   optimizer state, "<index of the parameter>.<name>"
        state.json              counters, random state, position in the data, settings
        manifest.json           step, validation metric, size and SHA-256 of the others

Many processes write folders model/ and optimizer/ of pieces instead: see `hortus.training.shards`.

A checkpoint is written under a temporary name and renamed when its bytes are on the disk. Which one is the
latest or the best is read from the manifests, so there is no pointer file that could be torn.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from hortus.artifact import replacing_folder
from hortus.errors import ArtifactError, ConfigError, DeviceError

__all__ = [
    "Checkpoint",
    "CheckpointWriter",
    "Snapshot",
    "checkpoint_folder",
    "choose_checkpoint",
    "find_best",
    "find_latest",
    "list_checkpoints",
]

_WHOLE = ("model.safetensors", "optimizer.safetensors")
_FILES = (*_WHOLE, "state.json")
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True)
class Snapshot:
    """Everything a run needs to go on, copied to host memory so that training can change the originals."""

    step: int
    weights: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    state: dict[str, Any]
    metric: float | None

    @property
    def bytes(self) -> int:
        """About how much disk it takes."""
        tensors = [*self.weights.values(), *self.optimizer.values()]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors) + 2**20


@dataclass(frozen=True)
class Checkpoint:
    """A finished checkpoint on disk."""

    folder: Path
    step: int
    metric: float | None
    files: Mapping[str, Mapping[str, Any]]

    def verify(self) -> None:
        """Compare every file with the manifest.

        Raises:
            ArtifactError: a file is missing, cut short or changed; the message names it.
        """
        for name, expected in self.files.items():
            path = self.folder / name
            found = path.stat().st_size if path.is_file() else None
            if found is None:
                raise _corrupt(path, "is missing")
            if found != expected["bytes"]:
                raise _corrupt(path, f"has {found} bytes instead of {expected['bytes']}")
            if _sha256(path) != expected["sha256"]:
                raise _corrupt(path, "does not have the checksum it was written with")

    @property
    def whole(self) -> bool:
        """Whether one process wrote it, in one file each."""
        return all(name in self.files for name in _WHOLE)

    def weights(self) -> dict[str, Tensor]:
        """Trainable weights and buffers by name."""
        return self._tensors("model")

    def optimizer(self) -> dict[str, Tensor]:
        """Optimizer state as "<index of the parameter>.<name>"."""
        return self._tensors("optimizer")

    def _tensors(self, kind: str) -> dict[str, Tensor]:
        if self.whole:
            return load_file(self.folder / f"{kind}.safetensors")
        from hortus.training.shards import read_shards

        return read_shards(self.folder / kind)

    def state(self) -> dict[str, Any]:
        """Counters, random state, position in the data, settings."""
        return dict(json.loads((self.folder / "state.json").read_text()))

    def read(self) -> Snapshot:
        """Read all of it. Call `verify` first."""
        return Snapshot(self.step, self.weights(), self.optimizer(), self.state(), self.metric)


def checkpoint_folder(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step is."""
    return folder / f"step-{step:08d}"


def list_checkpoints(folder: Path) -> tuple[list[Checkpoint], dict[Path, ArtifactError]]:
    """Checkpoints in `folder`, oldest first, and an error for each whose manifest cannot be read."""
    found: list[Checkpoint] = []
    broken: dict[Path, ArtifactError] = {}
    for path in sorted(folder.glob("step-*")) if folder.is_dir() else []:
        try:
            manifest = json.loads((path / "manifest.json").read_text())
            files = manifest["files"]
            if "state.json" not in files:
                raise KeyError("state.json")
            found.append(Checkpoint(path, int(manifest["step"]), manifest["metric"], files))
        except (OSError, ValueError, KeyError, TypeError):
            broken[path] = _corrupt(path / "manifest.json", "is missing or not readable")
    return sorted(found, key=lambda checkpoint: checkpoint.step), broken


def find_latest(folder: Path) -> tuple[Checkpoint | None, dict[Path, ArtifactError]]:
    """The newest checkpoint that is whole, and the errors of those found broken on the way to it."""
    checkpoints, broken = list_checkpoints(folder)
    for checkpoint in reversed(checkpoints):
        try:
            checkpoint.verify()
        except ArtifactError as error:
            broken[checkpoint.folder] = error
        else:
            return checkpoint, broken
    return None, broken


def set_aside(folder: Path) -> Path:
    """Rename a broken checkpoint, so that it is neither counted nor deleted; returns the new place."""
    place = folder.with_name(f"broken-{folder.name}")
    shutil.rmtree(place, ignore_errors=True)
    return folder.rename(place)


def find_best(folder: Path, goal: str) -> Checkpoint | None:
    """The whole checkpoint with the best validation metric, `goal` being "lowest" or "highest"."""
    checkpoints, _ = list_checkpoints(folder)
    scored = [(checkpoint.metric, checkpoint) for checkpoint in checkpoints if checkpoint.metric is not None]
    for _, checkpoint in sorted(scored, key=lambda pair: pair[0], reverse=goal == "highest"):
        try:
            checkpoint.verify()
        except ArtifactError:
            continue
        return checkpoint
    return None


def choose_checkpoint(folder: Path, resume: bool, say: Callable[[str], None]) -> Checkpoint | None:
    """The checkpoint to go on from, or None to start anew. Broken ones on the way to it are set aside.

    Raises:
        ConfigError: there is one, and resume is False.
        ArtifactError: one is broken and resume is False, or none is whole.
    """
    checkpoint, broken = find_latest(folder)
    if broken and (checkpoint is None or not resume):
        raise next(iter(broken.values()))
    for place, error in broken.items():
        say(f"{error.what}; set aside as {set_aside(place).name}")
    if checkpoint is not None and not resume:
        raise ConfigError(
            f"{folder.parent} holds a run of {checkpoint.step} steps",
            allowed="a folder without checkpoints",
            do="resume it, or choose another folder",
        )
    return checkpoint


def write_moment(name: str) -> None:
    """Called as a write passes each point; does nothing, and is where the tests break a write."""


def write_checkpoint(folder: Path, snapshot: Snapshot) -> Checkpoint:
    """Write a snapshot as `folder`/step-N, whole or not at all.

    Raises:
        DeviceError: the disk is full; says which and how much is needed.
    """
    target = checkpoint_folder(folder, snapshot.step)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if shutil.disk_usage(folder).free < snapshot.bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with replacing_folder(target) as draft:
            files = _write_files(draft, snapshot)
            write_moment("rename")
    except (OSError, SafetensorError, DeviceError) as error:
        if _is_disk_full(error) or _is_disk_full(error.__cause__):
            raise _disk_full(folder, snapshot.bytes) from error
        raise
    write_moment("done")
    return Checkpoint(target, snapshot.step, snapshot.metric, files)


def _write_files(draft: Path, snapshot: Snapshot) -> dict[str, dict[str, Any]]:
    write_moment("model.safetensors")
    save_file(snapshot.weights, draft / "model.safetensors", metadata={"format": "pt"})
    write_moment("optimizer.safetensors")
    save_file(snapshot.optimizer, draft / "optimizer.safetensors")
    write_moment("state.json")
    (draft / "state.json").write_text(json.dumps(snapshot.state))
    write_moment("manifest.json")
    files = {name: describe_file(draft / name) for name in _FILES}
    write_manifest(draft, files, snapshot)
    return files


def describe_file(path: Path) -> dict[str, Any]:
    """What a manifest says of a file: its size and checksum."""
    return {"bytes": path.stat().st_size, "sha256": _sha256(path)}


def write_manifest(draft: Path, files: Mapping[str, Mapping[str, Any]], snapshot: Snapshot) -> None:
    """Write manifest.json into the folder `draft`."""
    manifest = {"format": 1, "step": snapshot.step, "metric": snapshot.metric, "files": files}
    (draft / "manifest.json").write_text(json.dumps(manifest, indent=1))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_disk_full(error: BaseException | None) -> bool:
    if isinstance(error, OSError):
        return error.errno in _DISK_FULL
    # safetensors writes in Rust and tells the number only in its message.
    return any(f"os error {number})" in str(error) for number in _DISK_FULL)


def _disk_full(folder: Path, needed: int) -> DeviceError:
    free = shutil.disk_usage(folder).free
    return DeviceError(
        f"no space for a checkpoint in {folder}: "
        f"{needed / 2**20:,.0f} MiB needed, {free / 2**20:,.0f} MiB free",
        do="free some space, then resume from the last whole checkpoint, which is kept",
    )


def _corrupt(path: Path, how: str) -> ArtifactError:
    return ArtifactError(
        f"checkpoint file {path} {how}",
        allowed="a checkpoint as it was written",
        do="resume to go on from the last good checkpoint, or start in another folder",
    )


class CheckpointWriter:
    """Writes snapshots in a background thread, one at a time, and prunes the older ones.

    Args:
        folder: where the step folders go.
        keep: how many of the newest stay; the best always stays.
        goal: "lowest" or "highest", which validation metric is best.
    """

    def __init__(self, folder: Path, keep: int, goal: str) -> None:
        self.folder, self._keep, self._goal = folder, keep, goal
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def __enter__(self) -> CheckpointWriter:
        for left_over in self.folder.glob(".step-*"):  # by a run that was killed
            shutil.rmtree(left_over, ignore_errors=True)
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            self.wait()
        elif self._thread is not None:
            self._thread.join()

    def submit(self, snapshot: Snapshot) -> None:
        """Start writing; waits first for the write before this one.

        Raises:
            DeviceError: the write before this one found the disk full.
        """
        self.wait()
        self._thread = threading.Thread(target=self._write, args=(snapshot,), name="checkpoint")
        self._thread.start()

    def wait(self) -> None:
        """Wait until all is on the disk, and raise what went wrong."""
        if self._thread is not None:
            self._thread.join()
        self.check()

    def check(self) -> None:
        """Raise what a finished write met."""
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _write(self, snapshot: Snapshot) -> None:
        try:
            self._store(snapshot)
        except BaseException as error:
            self._error = error

    def _store(self, snapshot: Snapshot) -> None:
        write_checkpoint(self.folder, snapshot)
        self._prune()

    def _prune(self) -> None:
        checkpoints, _ = list_checkpoints(self.folder)
        scored = [
            (checkpoint.metric, checkpoint.step)
            for checkpoint in checkpoints
            if checkpoint.metric is not None
        ]
        pick = max if self._goal == "highest" else min
        kept = {checkpoint.step for checkpoint in checkpoints[-self._keep :]}
        if scored:
            kept.add(pick(scored, key=lambda pair: pair[0])[1])
        for checkpoint in checkpoints:
            if checkpoint.step not in kept:
                # Renamed first: a run killed while it deletes must not leave half a checkpoint.
                removed = checkpoint.folder.with_name(f".{checkpoint.folder.name}.removed")
                os.rename(checkpoint.folder, removed)
                shutil.rmtree(removed, ignore_errors=True)
