"""Checkpoints that many processes write together and any number of them reads.

    checkpoints/step-00000200/
        model/shard-00001-….safetensors        pieces of the weights, with offsets in the header
        optimizer/shard-00001-….safetensors    of the optimizer state
        state.json, manifest.json              as of one process

PyTorch's distributed checkpointing plans who writes what and cuts the pieces anew for the readers. Of its
formats this is the one in safetensors: its own keeps an index in pickle, which hortus never reads. The index
here is the pieces' headers.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.distributed import checkpoint as dcp

from hortus.artifact import replacing_folder
from hortus.training.checkpoint import (
    Checkpoint,
    CheckpointWriter,
    Snapshot,
    checkpoint_folder,
    describe_file,
    write_manifest,
    write_moment,
)
from hortus.training.pieces import cut_like, local_piece, placed_like

if TYPE_CHECKING:
    from hortus.training.many import ManyRanks

__all__ = ["ShardWriter", "owner", "read_pieces", "read_shards"]


def read_shards(
    folder: Path, make: Callable[[str, torch.Size, torch.dtype], Tensor] | None = None
) -> dict[str, Tensor]:
    """Read pieces by name; only the parts that this process wants are read.

    Args:
        make: the empty tensor for a name, a shape and a dtype: whole, or a DTensor of which only the local
            piece is filled. None makes whole ones.
    """
    reader = dcp.HuggingFaceStorageReader(str(folder))
    empty = make or (lambda name, shape, dtype: torch.empty(shape, dtype=dtype))
    stored: dict[str, Any] = dict(reader.read_metadata().state_dict_metadata)
    tensors = {name: empty(name, each.size, each.properties.dtype) for name, each in stored.items()}
    with warnings.catch_warnings():
        # That no process talks to another is what no_dist asks for.
        warnings.filterwarnings("ignore", "torch.distributed is disabled")
        dcp.load(tensors, storage_reader=reader, no_dist=True)
    return tensors


def owner(key: str, parameters: Sequence[Tensor]) -> Tensor:
    """The parameter that an entry of the optimizer's state, "<index>.<name>", belongs to."""
    return parameters[int(key.partition(".")[0])]


def read_pieces(
    checkpoint: Checkpoint, kind: str, whole: Callable[[str], Tensor | None]
) -> dict[str, Tensor]:
    """This process's pieces of a checkpoint, whoever and however many wrote it.

    Args:
        kind: "model" or "optimizer".
        whole: the distributed tensor whose pieces are wanted under a name; None for a name unknown here.
    """
    if checkpoint.whole:
        stored = checkpoint.weights() if kind == "model" else checkpoint.optimizer()
        return {name: cut_like(whole(name), tensor) for name, tensor in stored.items()}

    def make(name: str, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        like = whole(name)
        if like is None or like.shape != shape:
            return torch.empty(shape, dtype=dtype)
        return placed_like(like, torch.empty(local_piece(like).shape, dtype=dtype))

    return {n: local_piece(t) for n, t in read_shards(checkpoint.folder / kind, make).items()}


class ShardWriter(CheckpointWriter):
    """Writes this process's pieces in the background while the others write theirs.

    The first process gives the whole its name once all pieces and their checksums are there.
    """

    def __init__(self, folder: Path, keep: int, goal: str, ranks: ManyRanks) -> None:
        super().__init__(folder, keep, goal)
        self._ranks = ranks

    def __enter__(self) -> ShardWriter:
        if self._ranks.first:
            super().__enter__()
        return self

    def _store(self, snapshot: Snapshot) -> None:
        ranks, place = self._ranks, self.folder / f".step-{snapshot.step:08d}.pieces"
        if ranks.first:
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(parents=True)
        ranks.meet_behind()
        files: dict[str, Any] = {}
        for kind, tensors in (("model", snapshot.weights), ("optimizer", snapshot.optimizer)):
            storage = dcp.HuggingFaceStorageWriter(str(place / kind), save_distributed=True)
            dcp.save(tensors, storage_writer=storage, process_group=ranks.behind)
            for path in (place / kind).glob(f"shard-{ranks.rank + 1:05d}-*"):
                files[f"{kind}/{path.name}"] = describe_file(path)
        (place / f"files-{ranks.rank}.json").write_text(json.dumps(files))
        write_moment("pieces")
        ranks.meet_behind()
        if ranks.first:
            self._name(place, snapshot)
        ranks.meet_behind()

    def _name(self, place: Path, snapshot: Snapshot) -> None:
        files: dict[str, Any] = {}
        for listed in sorted(place.glob("files-*.json")):
            files |= json.loads(listed.read_text())
        with replacing_folder(checkpoint_folder(self.folder, snapshot.step)) as draft:
            for kind in ("model", "optimizer"):
                (place / kind).rename(draft / kind)
            (draft / "state.json").write_text(json.dumps(snapshot.state))
            files["state.json"] = describe_file(draft / "state.json")
            write_manifest(draft, files, snapshot)
        shutil.rmtree(place, ignore_errors=True)
        self._prune()
