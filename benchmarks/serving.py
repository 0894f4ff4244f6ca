"""Decoding with packed weights, and serving many clients, against transformers and llama.cpp.

    python benchmarks/serving.py decode                 # BLOOM-560m's shape, batch 1, against transformers
    python benchmarks/serving.py gguf FILE              # write that model as q8_0 for the next row
    python benchmarks/serving.py llama FILE PYTHON      # against llama.cpp in a venv of its own
    python benchmarks/serving.py server                 # 16 clients, against `transformers serve`

The llama.cpp venv is benchmarks/peers/llama_cpp.txt, PYTHON its interpreter. Weights are random: speed does
not depend on them. Two threads; in `decode` the sides take turns in one process and must write the same
tokens in float32; in `server` each side runs as its own process under the same load.

The limit of a decode row is the time of reading the weights once a token, at the speed at which this machine
reads a large array in the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from hortus.device import describe_machine
from hortus.language import GenerationConfig, LanguageModel
from hortus.language.generation import Row, continue_rows
from hortus.models.bloom import FAMILY, Bloom, BloomConfig
from hortus.models.decoder import pack_network
from hortus.tokenizer import Tokenizer, TokenizerConfig, train_tokenizer

RESULTS = Path(__file__).parent / "results" / "serving.json"
PROMPT, NEW = 16, 24
SMALL = {"vocab_size": 16_384, "hidden_size": 512, "num_layers": 8, "num_heads": 8}
CLIENTS = 16


def main() -> None:
    """Measure one row, store it and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("row", choices=["decode", "gguf", "llama", "server"])
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("python", nargs="?", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=48)
    parser.add_argument("--sides", nargs="+", default=["ours", "peer"])
    options = parser.parse_args()
    torch.set_num_threads(2)
    torch.manual_seed(0)
    if options.row == "gguf":
        from hortus.language.export.gguf import _write

        _write(LanguageModel(_network(BloomConfig()), _tokenizer(300)), options.file, "q8_0")
        return
    rows = {
        "decode": lambda: decode(options.rounds),
        "llama": lambda: llama(options.file, options.python, options.rounds),
        "server": lambda: server(options.requests, options.sides),
    }
    figures = rows[options.row]()
    stored = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    stored[options.row] = figures | {"machine": describe_machine()}
    RESULTS.write_text(json.dumps(stored, indent=2) + "\n")
    print(json.dumps(figures, indent=2))


def decode(rounds: int) -> dict[str, Any]:
    """Milliseconds a token of batch 1: transformers in float32, ours in float32, bfloat16 and int8."""
    import transformers

    config = BloomConfig()
    network = _network(config)
    with torch.device("meta"):
        peer = transformers.BloomForCausalLM(
            transformers.BloomConfig(**_peer_shape(config), dtype=torch.float32)
        )
    tensors = {FAMILY.names.published(name): x.detach() for name, x in network.named_parameters()}
    peer.load_state_dict(tensors, strict=False, assign=True)
    peer.tie_weights()
    peer.eval()
    peer.generation_config.eos_token_id = None
    prompt = torch.randint(config.vocab_size, (1, PROMPT))
    ours, theirs = _milliseconds(network, prompt), _peer_milliseconds(peer, prompt)
    taken: dict[str, list[float]] = {"transformers float32": [], "ours float32": []}
    written = {}
    _note("built")
    for _ in range(rounds):
        for side, run in (("transformers float32", theirs), ("ours float32", ours)):
            milliseconds, written[side] = run()
            taken[side].append(milliseconds)
            _note(f"{side} {milliseconds:.1f} ms a token")
    if written["transformers float32"] != written["ours float32"]:
        raise SystemExit("the two sides write different tokens")
    sizes = {"ours float32": 4, "ours int8": 1, "ours bfloat16": 2}
    del peer, tensors, theirs
    # int8 is packed from what bfloat16 kept: the speed is the same, and both need not fit beside fp32.
    for packing in ("bfloat16", "int8"):
        packed = _repacked(network, packing)
        run = _milliseconds(packed, prompt)
        _note(f"packed as {packing}")
        taken[f"ours {packing}"] = [run()[0] for _ in range(rounds)]
        _note(f"{taken[f'ours {packing}']} ms a token")
    gigabytes = _read_speed()
    medians = {side: statistics.median(values) for side, values in taken.items()}
    limits = {side: config.num_parameters * size / gigabytes / 1e6 for side, size in sizes.items()}
    return {
        "work": f"BLOOM-560m's shape, batch 1, {PROMPT} + {NEW} tokens, greedy, 2 threads",
        "milliseconds_a_token": medians,
        "ratio_to_transformers": {s: medians["transformers float32"] / medians[s] for s in sizes},
        "limit_milliseconds": limits,
        "share_of_limit": {side: limits[side] / medians[side] for side in sizes},
        "read_gigabytes_a_second": gigabytes,
        "all": taken,
    }


@torch.no_grad()
def _network(config: BloomConfig) -> Bloom:
    """Random weights, quickly: half a thousand million draws would take longer than the measurement."""
    with torch.device("meta"):
        network = Bloom(config)
    network.to_empty(device="cpu")
    block = 0.02 * torch.randn(2**20 + 7919)  # no multiple of a row, so that no two rows are equal
    for name, parameter in network.named_parameters():
        if "norm" in name:
            parameter.fill_(0.0 if name.endswith("bias") else 1.0)
            continue
        for piece in parameter.view(-1).split(block.numel()):
            piece.copy_(block[: piece.numel()])
    return network.eval()


def _note(what: str) -> None:
    print(f"{time.process_time():6.1f} s of processor time: {what}", file=sys.stderr, flush=True)


def _peer_shape(config: BloomConfig) -> dict[str, Any]:
    shape = FAMILY.write_config(config)
    return {name: value for name, value in shape.items() if name not in ("model_type", "architectures")}


def _repacked(network: Any, packing: str) -> Any:
    """The network packed; a copy only of what packing replaces."""
    import copy

    memo = {id(parameter): parameter for parameter in network.parameters()}
    packed = copy.deepcopy(network, memo)
    pack_network(packed, packing)
    return packed


def _milliseconds(network: Any, prompt: torch.Tensor) -> Callable[[], tuple[float, list[int]]]:
    def run() -> tuple[float, list[int]]:
        row = Row(prompt[0].tolist(), torch.zeros(NEW + 1), NEW + 1)
        moments = []
        vocabulary = network.config.vocab_size
        for _ in continue_rows(network, [row], GenerationConfig(), ends=(), pad_id=3, num_tokens=vocabulary):
            moments.append(time.perf_counter())
        return 1000 * (moments[-1] - moments[0]) / NEW, row.tokens

    return run


def _peer_milliseconds(peer: Any, prompt: torch.Tensor) -> Callable[[], tuple[float, list[int]]]:
    class Clock:
        def __init__(self) -> None:
            self.moments: list[float] = []

        def put(self, value: torch.Tensor) -> None:
            self.moments.append(time.perf_counter())

        def end(self) -> None:
            pass

    def run() -> tuple[float, list[int]]:
        clock = Clock()
        mask = torch.ones_like(prompt)
        tokens = peer.generate(
            prompt, attention_mask=mask, max_new_tokens=NEW + 1, do_sample=False, streamer=clock
        )
        moments = clock.moments[1:]  # the first is the prompt
        return 1000 * (moments[-1] - moments[0]) / NEW, tokens[0, PROMPT:].tolist()

    return run


def _read_speed() -> float:
    """Gigabytes a second at which two threads read a large array."""
    array = torch.ones(128 * 2**20)
    taken = []
    for _ in range(6):
        start = time.perf_counter()
        array.sum()
        taken.append(time.perf_counter() - start)
    return 4 * array.numel() / min(taken) / 1e9


_LLAMA = """
import json, sys, time, llama_cpp
llama = llama_cpp.Llama(sys.argv[1], n_ctx=128, n_threads=2, n_threads_batch=2, verbose=False)
new, rounds = int(sys.argv[2]), int(sys.argv[3])
taken = []
for _ in range(rounds):
    llama.reset()
    llama.eval(list(range(1000, 1016)))
    start = time.perf_counter()
    for token in range(new):
        llama.eval([2000 + token])
    taken.append(1000 * (time.perf_counter() - start) / new)
print(json.dumps(taken))
"""


def llama(file: Path, python: Path, rounds: int) -> dict[str, Any]:
    """Milliseconds a token: llama.cpp with q8_0, ours with int8 weights."""
    network = _network(BloomConfig())
    pack_network(network, "int8")
    run = _milliseconds(network, torch.randint(network.config.vocab_size, (1, PROMPT)))
    ours, theirs = [], []
    for _ in range(2):
        ours += [run()[0] for _ in range(rounds)]
        arguments = [str(python), "-c", _LLAMA, str(file), str(NEW), str(rounds)]
        theirs += json.loads(subprocess.run(arguments, capture_output=True, text=True, check=True).stdout)
    medians = {"ours int8": statistics.median(ours), "llama.cpp q8_0": statistics.median(theirs)}
    return {
        "work": f"BLOOM-560m's shape, batch 1, {NEW} tokens after {PROMPT}, 2 threads",
        "milliseconds_a_token": medians,
        "ratio": medians["llama.cpp q8_0"] / medians["ours int8"],
        "all": {"ours int8": ours, "llama.cpp q8_0": theirs},
    }


def server(count: int, sides: list[str]) -> dict[str, Any]:
    """Tokens a second and p95 waits of 16 clients, each side a process of its own."""
    random.seed(0)
    tokenizer = _tokenizer(SMALL["vocab_size"])
    model = LanguageModel(Bloom(BloomConfig(initializer_range=0.05, **SMALL)), tokenizer)
    ids = tokenizer.encode(_text()[200_000:400_000])
    starts = [random.randrange(len(ids) - 256) for _ in range(count)]
    prompts = [tokenizer.decode(ids[start : start + random.randint(16, 256)]) for start in starts]
    requests = [{"prompt": p, "max_tokens": random.randint(16, 128), "stream": True} for p in prompts]
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "small")
        for side in sides:
            with _running(side, f"{folder}/small") as port:
                name = "small" if side == "ours" else f"{folder}/small"
                warm = [request | {"max_tokens": 4} for request in requests[:2]]
                asyncio.run(_load(port, name, warm))
                results[side], texts = asyncio.run(_load(port, name, requests))
            if side == "ours":
                expected = [
                    model.generate(request["prompt"], max_new_tokens=request["max_tokens"])
                    for request in requests
                ]
                results[side]["equal_to_offline"] = sum(map(str.__eq__, texts, expected)) / count
    figures = {"work": f"{CLIENTS} clients, {count} texts, prompts 16-256, outputs 16-128, 33M parameters"}
    if len(results) == 2:
        rates = [results[side]["tokens_per_second"] for side in ("ours", "peer")]
        figures["ratio"] = rates[0] / rates[1]
    return figures | results


@contextmanager
def _running(side: str, folder: str) -> Any:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    scripts = Path(sys.executable).parent
    commands = {
        "ours": [scripts / "hortus", "serve", folder, "--port", port],
        "peer": [scripts / "transformers", "serve", folder, "--port", port, "--device", "cpu"],
    }
    process = subprocess.Popen(list(map(str, commands[side])), stdout=subprocess.DEVNULL)
    try:
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(60)


async def _load(port: int, name: str, requests: list[dict[str, Any]]) -> tuple[dict[str, Any], list[str]]:
    waiting = list(enumerate(requests))[::-1]
    texts, first, between, tokens = [""] * len(requests), [], [], 0

    async def client() -> None:
        nonlocal tokens
        while waiting:
            number, request = waiting.pop()
            moments = [time.perf_counter()]
            async for piece in _stream(port, request | {"model": name}):
                if piece:
                    moments.append(time.perf_counter())
                    texts[number] += piece
            tokens += request["max_tokens"]
            first.append(moments[1] - moments[0])
            between.extend(b - a for a, b in zip(moments[1:], moments[2:], strict=False))

    start = time.perf_counter()
    await asyncio.gather(*[client() for _ in range(CLIENTS)])
    seconds = time.perf_counter() - start
    waits = {"first_token_p95": _p95(first), "between_tokens_p95": _p95(between)}
    return {"tokens_per_second": tokens / seconds, "seconds": seconds} | waits, texts


async def _stream(port: int, body: dict[str, Any]) -> Any:
    """The pieces of one streamed completion; a bare client, so that the load costs little."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    data = json.dumps(body).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\nConnection: close\r\n"
    writer.write(f"{head}Content-Type: application/json\r\n\r\n".encode() + data)
    while line := await reader.readline():
        if line.startswith(b"HTTP/") and b" 200 " not in line:
            raise SystemExit(f"the server answered {line!r}")
        if line.startswith(b"data:") and b"[DONE]" not in line:
            for choice in json.loads(line[5:]).get("choices", []):
                yield choice["text"]
    writer.close()


def _p95(values: list[float]) -> float:
    return statistics.quantiles(values, n=20)[-1] if len(values) > 1 else 0.0


def _text() -> str:
    """Text that every Python has: the standard library's own source."""
    files = sorted(Path(json.__file__).parents[1].glob("*.py"))
    return "\n".join(file.read_text(encoding="utf-8", errors="ignore") for file in files)[:1_500_000]


def _tokenizer(size: int) -> Tokenizer:
    text = _text()
    return train_tokenizer(
        [text[i : i + 2000] for i in range(0, len(text), 2000)], TokenizerConfig(vocab_size=size)
    )


if __name__ == "__main__":
    main()
