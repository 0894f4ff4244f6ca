"""Predicted against measured: memory of a training process, time of a step.

    python benchmarks/budget.py memory --out benchmarks/results/budget_memory.json
    python benchmarks/budget.py time --out benchmarks/results/budget_time.json

Each shape trains in a process of its own: the real Trainer, AdamW, fp32, three steps and a checkpoint. Its
peak resident memory is compared with hortus.budget.process; what a process holds before it trains is measured
with one tiny shape, which is not among those judged. Time: the best of several steps against
hortus.budget.estimate on this machine as hortus.budget.measure_machine finds it just before.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

# Words, width, layers, heads, rows, tokens, activations recomputed.
SHAPES = [
    (4096, 192, 3, 4, 8, 512, False),
    (8192, 256, 6, 4, 4, 512, False),
    (16384, 512, 8, 8, 4, 512, False),
    (16384, 512, 8, 8, 1, 2048, False),
    (16384, 512, 8, 8, 8, 256, True),
    (50257, 384, 6, 6, 2, 512, False),
    (100_000, 256, 4, 4, 2, 512, False),
    (8192, 768, 6, 12, 2, 512, False),
    (4096, 1024, 4, 16, 1, 512, False),
    (32_000, 320, 12, 5, 8, 128, True),
]
TINY = (256, 32, 1, 2, 1, 64, False)


def network_config(shape: tuple[Any, ...]) -> Any:
    from hortus.models.bloom.config import BloomConfig

    words, width, layers, heads, *_ = shape
    return BloomConfig(vocab_size=words, hidden_size=width, num_layers=layers, num_heads=heads)


def train(shape: tuple[Any, ...], steps: int) -> dict[str, float]:
    """Train in this process; the peak memory and the fastest step."""
    import torch

    from hortus.device import peak_memory_bytes
    from hortus.models.bloom import Bloom
    from hortus.objectives.causal import CausalLanguageModeling
    from hortus.training import TensorData, Trainer, TrainingConfig

    words, _, _, _, rows, length, checkpointing = shape
    network = Bloom(network_config(shape))
    network.activation_checkpointing = checkpointing
    data = TensorData({"input_ids": torch.randint(words, (rows * steps, length))}, batch_size=rows)
    config = TrainingConfig(steps=steps, batch_size=rows, device="cpu", dtype="float32", log_every=1)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(config, CausalLanguageModeling(network), data, folder=folder, quiet=True)
        history = trainer.train().history
    ends = [record["seconds"] for record in history if "loss" in record]
    taken = [later - earlier for earlier, later in zip(ends, ends[1:], strict=False)]
    return {"peak_bytes": peak_memory_bytes(), "step_seconds": min(taken)}


def apart(shape: tuple[Any, ...], steps: int) -> dict[str, float]:
    """The same in a process of its own."""
    call = [sys.executable, __file__, "train", json.dumps(shape), str(steps)]
    result = subprocess.run(call, capture_output=True, text=True)
    if result.returncode:
        raise SystemExit(result.stderr)
    return json.loads(result.stdout)


def memory() -> list[dict[str, Any]]:
    from hortus.budget.process import process_memory

    base = apart(TINY, 3)["peak_bytes"]
    rows = []
    for shape in SHAPES:
        measured = apart(shape, 3)["peak_bytes"]
        predicted = process_memory(
            network_config(shape), shape[4], shape[5], checkpointing=shape[6], base_bytes=base
        )
        rows.append(row(shape, "bytes", predicted.total, measured))
    return rows


def step_time() -> list[dict[str, Any]]:
    from hortus.budget import Layout, estimate_step, measure_machine

    rows = []
    for shape in SHAPES:
        device = measure_machine.__wrapped__()  # before each shape anew, for a clock moves
        products = {width: round(flops / 1e9) for width, flops in device.matmul_by_width.items()}
        print(f"  {products} GFLOP/s, memory {device.bandwidth / 1e9:.1f} GB/s", file=sys.stderr)
        layout = Layout(micro_batch=shape[4], zero_stage=0, checkpointing=shape[6])
        predicted = estimate_step(network_config(shape), layout, device, shape[4], shape[5]).total
        measured = train(shape, 3)["step_seconds"]
        rows.append(row(shape, "seconds", predicted, measured))
    return rows


def row(shape: tuple[Any, ...], what: str, predicted: float, measured: float) -> dict[str, Any]:
    error = predicted / measured - 1
    scale = 1e6 if what == "bytes" else 1
    print(f"{shape!s:50s} {predicted / scale:9.3f} {measured / scale:9.3f} {error:+.1%}", file=sys.stderr)
    return {"shape": shape, f"predicted_{what}": predicted, f"measured_{what}": measured, "error": error}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["memory", "time", "train"])
    parser.add_argument("rest", nargs="*")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.what == "train":
        print(json.dumps(train(tuple(json.loads(options.rest[0])), int(options.rest[1]))))
        return
    from hortus.device import describe_machine

    rows = memory() if options.what == "memory" else step_time()
    errors = [abs(entry["error"]) for entry in rows]
    summary = {"mean_error": statistics.mean(errors), "largest_error": max(errors)}
    print(json.dumps(summary))
    if options.out is not None:
        options.out.write_text(json.dumps({**summary, "machine": describe_machine(), "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
