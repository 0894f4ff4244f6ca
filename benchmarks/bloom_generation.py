"""Generation here against transformers' `generate`: 32 prompt tokens, 128 new ones, fp32, greedy.

    python benchmarks/bloom_generation.py                       # both rows (about 4 minutes on two cores)
    python benchmarks/bloom_generation.py --batch 1 --rounds 5

Both sides have the same weights and two threads and take turns in one process; a figure is the median of the
rounds, prompt included. Both must write the same tokens, or the script stops. The peer is the faster of its
eager and its compiled forward (--peer).

The limit is what this machine's memory allows: every step reads all weights once, at the speed at which a
256 MB array is read; with several rows also their arithmetic at the measured peak of matrix products.

Rows are merged into benchmarks/results/bloom.json; `bloom.py` prints them with its own.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from typing import Any

import torch

from bloom import CPU, alternate, build, save, seconds, stored
from hortus.device import matmul_peak_flops
from hortus.language import GenerationConfig
from hortus.language.generation import Row, continue_rows
from hortus.models.decoder import open_decoder

PROMPT, NEW, VOCABULARY = 32, 128, 16_384
TARGETS = {1: 1.5, 8: 2.0}


def main() -> None:
    """Measure the chosen rows, merge them into the results and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--batch", nargs="+", type=int, choices=sorted(TARGETS), default=sorted(TARGETS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peer", nargs="+", choices=["eager", "compiled"], default=["compiled", "eager"])
    options = parser.parse_args()
    torch.set_num_threads(2)
    for batch in options.batch:
        save(f"generation-{batch}", measure(batch, options.rounds, options.peer))
        show(stored()[f"generation-{batch}"])


def measure(batch: int, rounds: int, modes: list[str]) -> dict[str, Any]:
    """One row: tokens a second of both sides, their ratio and the ratio's limit."""
    config, ours, peer = build(VOCABULARY)
    ours.eval()
    prompt = torch.randint(0, VOCABULARY, (batch, PROMPT))
    steps = {"ours": lambda: our_tokens(ours, prompt)}
    steps |= {mode: peer_run(peer, prompt, mode) for mode in modes}
    written = [step() for step in steps.values()]
    if any(not torch.equal(written[0], other) for other in written[1:]):
        raise SystemExit("the two sides write different tokens")
    taken = alternate(steps, rounds)
    medians = {side: statistics.median(values) for side, values in taken.items()}
    mode = min(modes, key=lambda side: medians[side])
    limit_seconds = NEW * step_seconds(4 * config.num_parameters, 2 * config.num_parameters * batch)
    ratio, limit = medians[mode] / medians["ours"], medians[mode] / limit_seconds
    return {
        "work": f"generation {batch}x({PROMPT}+{NEW}), vocabulary {VOCABULARY:,}",
        "target": TARGETS[batch],
        "dtype": "float32",
        "path": type(open_decoder(ours, batch, PROMPT)).__name__,
        "our_seconds": medians["ours"],
        "peer_seconds": medians[mode],
        "peer_mode": mode,
        "our_tokens_per_second": batch * NEW / medians["ours"],
        "peer_tokens_per_second": batch * NEW / medians[mode],
        "limit_tokens_per_second": batch * NEW / limit_seconds,
        "ratio": ratio,
        "limit": limit,
        "share_of_limit": ratio / limit,
        "all_seconds": {side: [round(value, 4) for value in values] for side, values in taken.items()},
    }


def our_tokens(network: Any, prompt: torch.Tensor) -> torch.Tensor:
    """(B, NEW) greedy tokens by hortus's token loop."""
    uniforms = torch.zeros(NEW, dtype=torch.float64)
    rows = [Row(ids, uniforms, NEW) for ids in prompt.tolist()]
    for _ in continue_rows(network, rows, GenerationConfig(), ends=(), pad_id=3, num_tokens=VOCABULARY):
        pass
    return torch.tensor([row.tokens for row in rows])


def peer_run(peer: Any, prompt: torch.Tensor, mode: str) -> Callable[[], torch.Tensor]:
    """(B, NEW) greedy tokens by transformers' generate, its forward eager or compiled."""
    peer.eval()
    peer.generation_config.eos_token_id = None
    eager = peer.forward
    forward = torch.compile(eager, dynamic=True) if mode == "compiled" else eager
    mask = torch.ones_like(prompt)

    def run() -> torch.Tensor:
        peer.forward = forward
        try:
            written = peer.generate(prompt, attention_mask=mask, max_new_tokens=NEW, do_sample=False)
        finally:
            peer.forward = eager
        return written[:, PROMPT:]

    return run


def step_seconds(weight_bytes: int, flops: int) -> float:
    """The least time of one step: the weights read once, or the arithmetic, whichever is longer."""
    array = torch.ones(64 * 2**20)
    array.sum()
    read = min(seconds(lambda: array.sum()) for _ in range(5))
    return max(weight_bytes * read / (4 * array.numel()), flops / matmul_peak_flops(CPU, torch.float32))


def show(figures: dict[str, Any]) -> None:
    """Print one row."""
    print(
        f"{figures['work']}: ours {figures['our_tokens_per_second']:.0f} tok/s ({figures['path']}), "
        f"peer ({figures['peer_mode']}) {figures['peer_tokens_per_second']:.0f}, "
        f"ratio {figures['ratio']:.2f} (target {figures['target']}), "
        f"limit {figures['limit_tokens_per_second']:.0f} tok/s, share of it {figures['share_of_limit']:.0%}"
    )


if __name__ == "__main__":
    main()
