"""A teacher's best logits on disk, so that it runs once: written batch by batch, resumable, checked.

FOLDER/index.json            what the batches were made from and how many there are
FOLDER/part-00000.parquet    64 batches, zstandard; a part is whole or absent

The first epoch's batches are kept as they were read, hidden words included; later epochs take the same
batches in other orders. The teacher's hidden states are not kept, so there is no cosine loss.

Legend: B rows, T tokens, N tokens that are answered, k stored logits each.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import torch
from torch import Tensor

from hortus.artifact import read_json, replacing_file, write_json
from hortus.distillation.losses import TopLogits
from hortus.errors import ArtifactError, DataError
from hortus.training import Batch, Data
from hortus.training.stream import EpochData

__all__ = ["StoredLogits", "network_hash", "rows_hash", "store_logits"]

INDEX = "index.json"
_BATCHES_A_PART = 64


def network_hash(network: torch.nn.Module) -> str:
    """A hash of all weights."""
    digest = hashlib.sha256()
    for name, parameter in network.named_parameters():
        digest.update(name.encode())
        digest.update(parameter.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def rows_hash(data: Data) -> str:
    """A hash of the first epoch's batches."""
    digest = hashlib.sha256()
    data.set_epoch(0)
    for batch in data:
        for name in sorted(batch):
            digest.update(f"{name}{tuple(batch[name].shape)}".encode())
            digest.update(batch[name].numpy().tobytes())
    data.set_epoch(0)
    return digest.hexdigest()


def store_logits(
    data: Data,
    answer: Callable[[Batch], tuple[Batch, TopLogits]],
    folder: Path,
    identity: Mapping[str, Any],
    say: Callable[[str], None] = lambda line: None,
) -> None:
    """Run the teacher over one epoch; parts that are there already are kept.

    Args:
        answer: a batch -> what the student is to read, and the teacher's answer at its real tokens.
        identity: what the answers depend on; another identity in the folder is an error.

    Raises:
        ArtifactError: the folder holds answers of another teacher, tokenizer or data.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / INDEX).is_file():
        _check_identity(read_json(folder / INDEX)["identity"], identity, folder)
    else:
        write_json(folder / INDEX, {"identity": dict(identity), "parts": None})
    data.set_epoch(0)
    batches, number, samples = iter(data), 0, 0
    while part := list(islice(batches, _BATCHES_A_PART)):
        path = folder / f"part-{number:05d}.parquet"
        if not path.is_file():
            table = pa.Table.from_pylist([_packed(*answer(batch)) for batch in _seeded(part, number)])
            with replacing_file(path) as temporary:
                parquet.write_table(table, temporary, compression="zstd")
            say(f"stored the teacher's logits of {(number + 1) * _BATCHES_A_PART} batches")
        number += 1
        samples += sum(len(batch["input_ids"]) for batch in part)
    write_json(folder / INDEX, {"identity": dict(identity), "parts": number, "samples": samples})
    data.set_epoch(0)


def _seeded(part: list[Batch], number: int) -> Iterator[Batch]:
    """The batches of a part, PyTorch's generator set by its number: a resumed run hides the same words."""
    state = torch.get_rng_state()
    torch.manual_seed(number)
    yield from part
    torch.set_rng_state(state)


def _check_identity(found: Mapping[str, Any], wanted: Mapping[str, Any], folder: Path) -> None:
    for name, value in wanted.items():
        if found.get(name) != value:
            raise ArtifactError(
                f"the logits in {folder} were stored with another {name}",
                allowed="the teacher, tokenizer, data and settings that they were made with",
                do="delete the folder to store them again",
            )


def _packed(batch: Batch, top: TopLogits) -> dict[str, Any]:
    """A row of the table: tensors as bytes, with their types and shapes."""
    small = int(top.indices.max()) < 2**16
    arrays = {name: tensor.cpu().numpy() for name, tensor in batch.items()} | {
        "top_log_probabilities": top.log_probabilities.half().cpu().numpy(),
        "top_indices": top.indices.cpu().numpy().astype(np.uint16 if small else np.uint32),
        "top_rest": top.rest.half().cpu().numpy(),
    }
    row: dict[str, Any] = {}
    for name, array in arrays.items():
        row[name] = array.tobytes()
        row[f"{name}.form"] = json.dumps([array.dtype.str, array.shape])
    return row


class StoredLogits(EpochData):
    """Data for the Trainer: the stored batches, in an order of their own each epoch.

    A step takes whole batches, as large as they were stored.

    Args:
        folder: as `store_logits` left it.
        identity: what the answers must have been made with.
        seed: seed of the orders.

    Raises:
        DataError: not whole.
        ArtifactError: made with something else.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], seed: int = 0):
        index = read_json(folder / INDEX)
        _check_identity(index["identity"], identity, folder)
        if index["parts"] is None:
            raise DataError(f"the logits in {folder} are not whole", do="run the same command again")
        self._files = [
            parquet.ParquetFile(folder / f"part-{number:05d}.parquet") for number in range(index["parts"])
        ]
        self._sizes = [file.metadata.num_rows for file in self._files]
        super().__init__(index["samples"], seed)

    def __iter__(self) -> Iterator[Batch]:
        random = np.random.default_rng([self._seed, self._epoch])
        place = 0
        for number in random.permutation(len(self._files)):
            order = random.permutation(self._sizes[number])
            if place + len(order) > self._position:
                rows = self._files[number].read().to_pylist()
                for index in order[max(self._position - place, 0) :]:
                    self._position += 1
                    yield _unpacked(rows[index])
            place += len(order)
        self._position = 0


def _unpacked(row: Mapping[str, Any]) -> Batch:
    batch: dict[str, Tensor] = {}
    for name in row:
        if not name.endswith(".form"):
            kind, shape = json.loads(row[f"{name}.form"])
            array = np.frombuffer(row[name], kind).reshape(shape)
            array = array.astype(np.int64) if array.dtype.kind == "u" else array.copy()
            batch[name] = torch.from_numpy(array)
    return batch
