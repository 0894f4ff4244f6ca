"""BLOOM here against transformers' BloomForCausalLM: training, memory, prefill and generation.

    python benchmarks/bloom.py                              # every row (about 15 minutes on two cores)
    python benchmarks/bloom.py --rows training prefill      # some of them
    python benchmarks/bloom.py --rows long --rounds 3 --add # more rounds to those already stored

Both sides have the same weights, the same number format (bfloat16 where the processor multiplies in it, else
float32) and two threads, and take turns, each in a process of its own: in one process the first to free its
activations would make the other fetch them from the system again. After warm steps a figure is the median
of the rounds; the peer is the faster of its eager and compiled medians. A step is forward, backward,
clipping and fused AdamW. Prefill fills the key-value cache of a prompt and gives the last logits.

Peak memory is taken in a fresh process a side: the largest resident set over two steps, less the resident
set after importing the libraries, so weights, gradients and optimizer state count. For the peer it is the
smaller of eager and compiled.

The limit of a speed row is what this machine would give if the row's arithmetic ran at the measured peak of
matrix products: 6 FLOPs (2 in prefill) a parameter and token, and causal attention at 6·L·T·D (2·L·T·D) a
token. The limit of a memory row is weights, gradients and AdamW's two moments, 16 bytes a parameter.

Results are merged into benchmarks/results/bloom.json.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from hortus.device import choose_dtype, describe_machine, matmul_peak_flops
from hortus.models.bloom import FAMILY, Bloom, BloomConfig
from hortus.models.layers.cache import StaticCache
from hortus.objectives.causal import CausalLanguageModeling

RESULTS = Path(__file__).parent / "results" / "bloom.json"
CPU = torch.device("cpu")
LAYERS, WIDTH, HEADS = 8, 512, 8
SIDES = ["ours", "compiled", "eager"]
Step = Callable[[], Any]

# Row: (kind, batch, tokens, vocabulary, target).
ROWS: dict[str, tuple[str, int, int, int, float]] = {
    "training": ("training", 4, 512, 16_384, 1.2),
    "long": ("training", 1, 2048, 16_384, 1.8),
    "vocabulary": ("training", 4, 512, 250_880, 1.2),
    "prefill": ("prefill", 4, 512, 16_384, 1.25),
    "long-memory": ("memory", 1, 2048, 16_384, 0.45),
    "vocabulary-memory": ("memory", 4, 512, 250_880, 0.42),
}


def main() -> None:
    """Measure the chosen rows, merge them into the results and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=[*ROWS, "generation"], default=[*ROWS, "generation"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--warm", type=int, default=2, help="steps of each side before the rounds")
    parser.add_argument("--add", action="store_true", help="keep the stored rounds and add to them")
    parser.add_argument("--peer", nargs="+", choices=["eager", "compiled"], default=["compiled", "eager"])
    parser.add_argument("--dtype", default="auto", help="of training: auto, float32 or bfloat16")
    parser.add_argument("--peak-of", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--work-as", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(2)
    dtype = choose_dtype(options.dtype, CPU)
    if options.peak_of:
        print(peak_bytes(options.peak_of, options.rows[0], dtype))
        return
    if options.work_as:
        work(options.work_as, options.rows[0], dtype)
        return
    for row in options.rows:
        if row != "generation":
            earlier = stored().get(row, {}).get("all", {}) if options.add else {}
            save(row, measure(row, dtype, options, earlier))
    if "generation" in options.rows:
        generation = Path(__file__).with_name("bloom_generation.py")
        subprocess.run([sys.executable, str(generation)], check=True)
    show()


def measure(
    row: str, dtype: torch.dtype, options: argparse.Namespace, earlier: dict[str, Any]
) -> dict[str, Any]:
    """One row: figures of both sides, their ratio and the ratio's limit."""
    kind, batch, tokens, vocabulary, target = ROWS[row]
    title = {"work": f"{kind} {batch}x{tokens}, vocabulary {vocabulary:,}", "target": target}
    if kind == "memory":
        return title | {"dtype": name_of(dtype)} | memory_figures(row, dtype, options.peer, earlier)
    dtype = torch.float32 if kind == "prefill" else dtype
    config = BloomConfig(vocab_size=vocabulary, hidden_size=WIDTH, num_layers=LAYERS, num_heads=HEADS)
    peak = matmul_peak_flops(CPU, dtype)  # before the workers, whose threads spin
    taken = alternate_processes(row, dtype, options)
    taken = {side: earlier.get(side, []) + taken.get(side, []) for side in {*earlier, *taken}}
    medians = {side: statistics.median(values) for side, values in taken.items()}
    mode = min(medians.keys() - {"ours"}, key=lambda side: medians[side])
    figures: dict[str, Any] = {
        "our_seconds": medians["ours"],
        "peer_seconds": medians[mode],
        "peer_mode": mode,
    }
    passes = 3 if kind == "training" else 1
    # The embedding is multiplied in the head only, which prefill runs on one token a row.
    matrices = config.num_parameters - (0 if kind == "training" else config.num_embedding_parameters)
    product_flops = 2 * passes * matrices * batch * tokens
    attention_flops = 2 * passes * LAYERS * tokens * WIDTH * batch * tokens
    return (
        title
        | figures
        | {
            "dtype": name_of(dtype),
            "ratio": figures["peer_seconds"] / figures["our_seconds"],
            "our_tokens_per_second": batch * tokens / figures["our_seconds"],
            "peer_tokens_per_second": batch * tokens / figures["peer_seconds"],
            "product_flops": product_flops,
            "flops": product_flops + attention_flops,
            "peak_flops": max(peak, matmul_peak_flops.__wrapped__(CPU, dtype)),
            "all": {side: [round(value, 4) for value in taken[side]] for side in sorted(taken)},
        }
    )


def limited(rows: dict[str, Any]) -> dict[str, Any]:
    """The rows with limits and shares by the largest peak that any row of their number format saw.

    The processor's clock moves by a quarter within minutes; a peak taken in a slow one is no limit.
    """
    peaks: dict[str, float] = {}
    for figures in rows.values():
        peaks[figures["dtype"]] = max(peaks.get(figures["dtype"], 0.0), figures.get("peak_flops", 0.0))
    return {row: figures | _shares(figures, peaks[figures["dtype"]]) for row, figures in rows.items()}


def _shares(figures: dict[str, Any], peak: float) -> dict[str, float]:
    """What the peak says about one row; nothing about a memory row."""
    if "flops" not in figures:
        return {}
    limit = figures["peer_seconds"] * peak / figures["flops"]
    shares = {
        f"{side}_share_of_peak": figures["product_flops"] / figures[f"{side}_seconds"] / peak
        for side in ("our", "peer")
    }
    return {"limit": limit, "share_of_limit": figures["ratio"] / limit, "largest_peak_flops": peak} | shares


def build(vocabulary: int) -> tuple[BloomConfig, Bloom, Any]:
    """The shape and the two networks with equal weights, ours first."""
    import transformers

    torch.manual_seed(0)
    config = BloomConfig(vocab_size=vocabulary, hidden_size=WIDTH, num_layers=LAYERS, num_heads=HEADS)
    ours = Bloom(config)
    peer = build_peer(transformers, config)
    state = {FAMILY.names.published(name): tensor for name, tensor in ours.state_dict().items()}
    missing, unexpected = peer.load_state_dict(state, strict=False)
    if unexpected or missing != ["lm_head.weight"]:
        raise SystemExit(f"the two networks do not match: {missing} {unexpected}")
    return config, ours, peer


def build_peer(transformers: Any, config: BloomConfig) -> Any:
    """transformers' BLOOM of the same shape."""
    shape = config.to_hugging_face()
    del shape["model_type"], shape["architectures"]
    return transformers.BloomForCausalLM(transformers.BloomConfig(**shape))


@contextlib.contextmanager
def mixed_precision(dtype: torch.dtype) -> Iterator[None]:
    """Autocast over fp32 weights, on both sides alike."""
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        yield


def training_step(side: str, network: Any, prompt: torch.Tensor, dtype: torch.dtype) -> Step:
    """One optimizer step of a side: "ours", "eager" or "compiled"."""
    network.train()
    if side == "ours":
        task = CausalLanguageModeling(network)

        def loss() -> torch.Tensor:
            total, count, _ = task.loss({"input_ids": prompt})
            return total / count
    else:
        network.config.use_cache = False
        forward = torch.compile(network, dynamic=False) if side == "compiled" else network

        def loss() -> torch.Tensor:
            return forward(input_ids=prompt, labels=prompt).loss

    parameters = list(network.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        with mixed_precision(dtype):
            value = loss()
        value.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        return value.item()

    return step


def prefill_step(side: str, network: Any, prompt: torch.Tensor, dtype: torch.dtype) -> Step:
    """Cache and last logits of a prompt."""
    network.eval()
    batch, tokens = prompt.shape
    if side == "ours":

        def step() -> torch.Tensor:
            cache = StaticCache(
                num_layers=LAYERS, batch=batch, num_heads=HEADS, capacity=tokens, head_size=WIDTH // HEADS
            )
            return network.head(network.hidden(prompt, cache=cache)[:, -1])

        return step
    network.config.use_cache = True
    forward = torch.compile(network, dynamic=False) if side == "compiled" else network
    return lambda: forward(input_ids=prompt, use_cache=True, logits_to_keep=1).logits


def alternate(steps: dict[str, Step], rounds: int) -> dict[str, list[float]]:
    """Seconds of each side, one step each in turn in this process, after one warm step of each."""
    for step in steps.values():
        step()
    taken: dict[str, list[float]] = {side: [] for side in steps}
    for _ in range(rounds):
        for side, step in steps.items():
            taken[side].append(seconds(step))
    return taken


def alternate_processes(row: str, dtype: torch.dtype, options: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds of each side, one step each in turn, after warm steps."""
    command = [sys.executable, __file__, "--rows", row, "--dtype", name_of(dtype), "--work-as"]
    sides = ["ours", *options.peer]
    taken: dict[str, list[float]] = {side: [] for side in sides}
    with contextlib.ExitStack() as stack:
        pipes: dict[str, Any] = {}
        for side in sides:
            pipe = subprocess.Popen(
                [*command, side], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            pipes[side] = stack.enter_context(pipe)
            for _ in range(options.warm):
                ask(pipes[side])
        for _ in range(options.rounds):
            for side in sides:
                taken[side].append(ask(pipes[side]))
        for pipe in pipes.values():
            pipe.stdin.close()
    return taken


def ask(pipe: Any) -> float:
    """Seconds that a worker needed for one more step."""
    pipe.stdin.write("step\n")
    pipe.stdin.flush()
    answer = pipe.stdout.readline()
    if not answer:
        raise SystemExit("a worker ended early; its message is above")
    time.sleep(0.1)  # its threads spin for a moment after the last product
    return float(answer)


def work(side: str, row: str, dtype: torch.dtype) -> None:
    """Take one step for every line of input, answering with its seconds."""
    kind, batch, tokens, vocabulary, _ = ROWS[row]
    _, ours, peer = build(vocabulary)
    network = ours if side == "ours" else peer
    del ours, peer
    prompt = torch.randint(0, vocabulary, (batch, tokens), generator=torch.Generator().manual_seed(1))
    make = training_step if kind == "training" else prefill_step
    with torch.inference_mode(kind == "prefill"):
        step = make(side, network, prompt, dtype)
        for _ in sys.stdin:
            print(seconds(step), flush=True)


def seconds(step: Step) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def memory_figures(row: str, dtype: torch.dtype, modes: list[str], earlier: dict[str, Any]) -> dict[str, Any]:
    """Peak bytes of both sides, each in a process of its own."""
    command = [sys.executable, __file__, "--rows", row, "--dtype", name_of(dtype), "--peak-of"]
    peaks = dict(earlier)
    for side in ["ours", *modes]:
        if side not in peaks:
            done = subprocess.run([*command, side], check=True, stdout=subprocess.PIPE, text=True)
            peaks[side] = int(done.stdout.split()[-1])
    better = min(peaks.keys() - {"ours"}, key=lambda side: peaks[side])
    _, _, _, vocabulary, _ = ROWS[row]
    shape = BloomConfig(vocab_size=vocabulary, hidden_size=WIDTH, num_layers=LAYERS, num_heads=HEADS)
    ratio, limit = peaks["ours"] / peaks[better], 16 * shape.num_parameters / peaks[better]
    return {
        "our_bytes": peaks["ours"],
        "peer_bytes": peaks[better],
        "peer_mode": better,
        "ratio": ratio,
        "limit": limit,
        "share_of_limit": limit / ratio,
        "all": peaks,
    }


def peak_bytes(side: str, row: str, dtype: torch.dtype) -> int:
    """Growth of the largest resident set over two training steps of one side."""
    import transformers

    _, batch, tokens, vocabulary, _ = ROWS[row]
    config = BloomConfig(vocab_size=vocabulary, hidden_size=WIDTH, num_layers=LAYERS, num_heads=HEADS)
    transformers.BloomForCausalLM  # noqa: B018  (imported lazily: load its code before the baseline)
    baseline = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    torch.manual_seed(0)
    network = Bloom(config) if side == "ours" else build_peer(transformers, config)
    step = training_step(side, network, torch.randint(0, vocabulary, (batch, tokens)), dtype)
    for _ in range(2):
        step()
    return 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - baseline)


def name_of(dtype: torch.dtype) -> str:
    """ "float32" and the like."""
    return str(dtype).removeprefix("torch.")


def stored() -> dict[str, Any]:
    """Rows measured so far."""
    return json.loads(RESULTS.read_text())["rows"] if RESULTS.is_file() else {}


def save(row: str, figures: dict[str, Any]) -> None:
    """Merge one row into the results file."""
    rows = limited(stored() | {row: figures | {"machine": describe_machine()}})
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"rows": rows}, indent=1) + "\n")


def show() -> None:
    """Print every stored row."""
    heads = ("dtype", "ours", "peer", "ratio", "target", "limit", "share")
    print("{:44s} {:9s} {:>12s} {:>12s} {:>6s} {:>6s} {:>6s} {:>6s}".format("work", *heads))
    for figures in stored().values():
        if "our_bytes" in figures:
            ours, peer = (f"{figures[side] / 1e9:.2f} GB" for side in ("our_bytes", "peer_bytes"))
        else:
            ours, peer = (
                f"{figures[side]:.0f} tok/s" for side in ("our_tokens_per_second", "peer_tokens_per_second")
            )
        print(
            f"{figures['work']:44s} {figures['dtype']:9s} {ours:>12s} {peer:>12s} {figures['ratio']:6.2f}"
            f" {figures['target']:6.2f} {figures['limit']:6.2f} {figures['share_of_limit']:6.0%}"
        )
        if "our_share_of_peak" in figures:
            print(
                f"    share of {figures['largest_peak_flops'] / 1e9:.0f} GFLOP/s:"
                f" ours {figures['our_share_of_peak']:.0%},"
                f" peer ({figures['peer_mode']}) {figures['peer_share_of_peak']:.0%}"
            )


if __name__ == "__main__":
    main()
