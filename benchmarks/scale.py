"""What training in several processes costs on this machine: a step, its data, a checkpoint.

    python benchmarks/scale.py                     # all ways, JSON on stdout
    python benchmarks/scale.py --steps 20 --out FILE

One process of one thread is compared with two by FSDP2 and two by tensor parallelism, one thread each, on
the same batches. "data" is drawing a step's whole batch, "share" taking the rows; "save" is what a checkpoint
keeps the training waiting, "write" what its thread does behind the training's back.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

WAYS = {"one process": (1, 1), "2 by FSDP2": (2, 1), "2 by tensor": (2, 2)}
SHAPE = {"model_type": "bloom", "vocab_size": 4096, "hidden_size": 256, "n_layer": 4, "n_head": 4}
BATCH, LENGTH, EVERY = 8, 256, 5


class Timed:
    """Training data whose seconds a step are kept."""

    length = None

    def __init__(self, data: Any) -> None:
        self._data, self.batch_size, self.seconds = data, BATCH, [0.0]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        batches = iter(self._data)
        while True:
            self._data.batch_size = self.batch_size
            began = time.perf_counter()
            batch = next(batches)
            self.seconds.append(time.perf_counter() - began)
            yield batch

    def set_epoch(self, epoch: int) -> None:
        self._data.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        return self._data.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._data.load_state_dict(state)


def work(environment: dict[str, Any], shards: str, folder: str, steps: int, tensor: int) -> None:
    """Train in one of the processes; the first leaves FOLDER/times.json."""
    os.environ.update({name: str(value) for name, value in environment.items()})
    import torch

    from hortus.corpus import PackedLoader
    from hortus.models import build_network
    from hortus.objectives.causal import CausalLanguageModeling
    from hortus.training import Trainer, TrainingConfig

    torch.set_num_threads(1)
    torch.manual_seed(0)
    data = Timed(PackedLoader(shards, LENGTH, verify=False))
    config = TrainingConfig(
        steps=steps, batch_size=BATCH, learning_rate=1e-3, device="cpu", dtype="float32", compile="off",
        checkpoint_every=EVERY, log_every=1, tensor_parallel=tensor,
    )  # fmt: skip
    trainer = Trainer(config, CausalLanguageModeling(build_network(SHAPE)), data, folder=folder, quiet=True)
    times: dict[str, list[float]] = {"save": [], "write": [], "share": []}
    watch(trainer, "_save", times["save"])
    watch(trainer.ranks, "share", times["share"])
    open_writer = trainer.ranks.open_writer

    def opened(*arguments: Any) -> Any:
        writer = open_writer(*arguments)
        watch(writer, "_store", times["write"])
        return writer

    trainer.ranks.open_writer = opened  # type: ignore[method-assign]
    result = trainer.train()
    if trainer.ranks.first:
        seconds = [record["seconds"] for record in result.history if "loss" in record]
        between = [b - a for a, b in zip(seconds, seconds[1:], strict=False)]
        plain = [one for number, one in enumerate(between, 2) if number % EVERY not in (0, 1)]
        found = {
            "step_seconds": median(plain),
            "data_seconds": median(data.seconds[2:]),
            "share_seconds": median(times["share"]),
            "save_seconds": median(times["save"][1:]),
            "write_seconds": median(times["write"][1:]),
            "last_loss": result.metrics["loss"],
        }
        found["checkpoint_bytes"] = sum(
            file.stat().st_size for file in result.last_checkpoint.rglob("*") if file.is_file()
        )
        Path(folder, "times.json").write_text(json.dumps(found))


def watch(thing: Any, name: str, times: list[float]) -> None:
    """Keep the seconds of every call of a method."""
    method = getattr(thing, name)

    def timed(*arguments: Any, **settings: Any) -> Any:
        began = time.perf_counter()
        try:
            return method(*arguments, **settings)
        finally:
            times.append(time.perf_counter() - began)

    setattr(thing, name, timed)


def run(shards: Path, folder: Path, steps: int, processes: int, tensor: int) -> dict[str, Any]:
    """One way of training."""
    context = multiprocessing.get_context("spawn")
    folder.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": processes, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": 1}
    started = []
    for rank in range(processes):
        environment = {**common, "RANK": rank, "LOCAL_RANK": rank}
        started.append(
            context.Process(target=work, args=(environment, str(shards), str(folder), steps, tensor))
        )
        started[-1].start()
    for process in started:
        process.join()
        if process.exitcode:
            sys.exit(f"a process ended with {process.exitcode}")
    found: dict[str, Any] = json.loads((folder / "times.json").read_text())
    return found


def make_shards(folder: Path) -> Path:
    """The Python standard library as token shards."""
    from hortus.corpus import CorpusConfig, build_corpus, write_shards
    from hortus.tokenizer import TokenizerConfig, train_tokenizer

    build_corpus(CorpusConfig(sources=("stdlib",)), folder / "corpus")
    tokenizer = train_tokenizer(["import os\nreturn self.value\n"] * 9, TokenizerConfig(vocab_size=300))
    write_shards(folder / "corpus", tokenizer, folder / "shards")
    return folder / "shards"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--shards", type=Path, help="made of the standard library when not given")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        shards = arguments.shards or make_shards(folder)
        ways = {
            name: run(shards, folder / str(number), arguments.steps, *way)
            for number, (name, way) in enumerate(WAYS.items())
        }
    from hortus.device import describe_machine

    one = ways["one process"]["step_seconds"]
    for way in ways.values():
        way["speed_over_one"] = one / way["step_seconds"]
        way["data_share"] = (way["data_seconds"] + way["share_seconds"]) / way["step_seconds"]
        way["save_share_every_100"] = way["save_seconds"] / (100 * way["step_seconds"])
    shape = {**SHAPE, "batch": BATCH, "sequence": LENGTH, "threads_a_process": 1}
    text = json.dumps({"machine": describe_machine(), "shape": shape, "ways": ways}, indent=1)
    print(text)
    if arguments.out is not None:
        arguments.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
