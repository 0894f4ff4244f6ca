"""T5 and DistilBERT here against transformers, on the same weights, two threads, in one process.

    python benchmarks/inference.py ranking       # T5 v1.1-small's shape: 5 choices, 64 inputs of 256 tokens
    python benchmarks/inference.py generation    # T5 v1.1-small's shape: greedy, batch 8, 64 tokens
    python benchmarks/inference.py embedding     # DistilBERT-base shape: 512 texts of 8 to 256 tokens
    python benchmarks/inference.py embedding --add    # one more round, to those already stored

The sides take turns; a figure is the median of the rounds, after a warm-up on less. They must agree: choices
and embeddings within 1e-3, generated tokens but for ties. The peer scores choices as T0's script does, one
call a choice with the inputs in batches of 8, generates by `generate`, and embeds padded batches of 32 in the
given order. Weights are random: speed does not depend on them. BLOOM, the server: benchmarks/serving.py.

A row's limit is what the machine allows: the arithmetic at the measured peak of matrix products, or for a
step of generation the weights read once at the speed at which a large array is read, whichever is longer.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hortus.artifact import write_json
from hortus.device import describe_machine, matmul_peak_flops
from hortus.language import GenerationConfig
from hortus.language.generation import Row, continue_rows
from hortus.language.sources import score_targets
from hortus.language.states import hidden_states, mean_states
from hortus.models import build_network, family
from hortus.models.distilbert import published as distilbert
from hortus.models.t5 import published as t5

RESULTS = Path(__file__).parent / "results" / "inference.json"
CPU = torch.device("cpu")
INPUTS, INPUT_TOKENS, CHOICES, CHOICE_TOKENS, PEER_BATCH = 64, 256, 5, 4, 8
ROWS, SOURCE_TOKENS, NEW = 8, 32, 64
SHORTEST, LONGEST, PADDED_BATCH = 8, 256, 32

Step = Callable[[], Any]


def main() -> None:
    """Measure one row, merge it into the results and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("row", choices=sorted(MEASURES))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--add", action="store_true", help="add the rounds to those already stored")
    parser.add_argument("--texts", type=int, default=512, help="of the row embedding")
    options = parser.parse_args()
    torch.set_num_threads(2)
    torch.manual_seed(0)
    with torch.inference_mode():
        figures, sides = MEASURES[options.row](options)
        taken: dict[str, list[float]] = {side: [] for side in sides}
        for _ in range(options.rounds):
            for side, step in sides.items():
                taken[side].append(seconds(step))
    rows = json.loads(RESULTS.read_text())["rows"] if RESULTS.is_file() else {}
    if options.add and options.row in rows:
        taken = {side: rows[options.row]["seconds"][side] + values for side, values in taken.items()}
    rows[options.row] = summary(figures, taken)
    write_json(RESULTS, {"machine": describe_machine(), "rows": rows})
    print(json.dumps(rows[options.row], indent=1))


def summary(figures: dict[str, Any], taken: dict[str, list[float]]) -> dict[str, Any]:
    """The row with medians, the ratio, the limit of the ratio and our share of it."""
    ours, peer = statistics.median(taken["ours"]), statistics.median(taken["peer"])
    limit = peer / figures["limit_seconds"]
    return figures | {
        "our_seconds": ours,
        "peer_seconds": peer,
        "ratio": peer / ours,
        "limit": limit,
        "share_of_limit": peer / ours / limit,
        "seconds": taken,
    }


def seconds(step: Step) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def pair(config: Any, peer_class: str) -> tuple[Any, Any]:
    """Our network and transformers' with the same weights."""
    import transformers

    described = config.to_hugging_face()
    ours = build_network(described).eval()
    kind = {"t5": "T5Config", "distilbert": "DistilBertConfig"}[ours.model_type]
    peer = getattr(transformers, peer_class)(getattr(transformers, kind)(**described)).eval()
    names = family(ours.model_type).names
    if ours.model_type == "t5":  # whose constructor ties a head that is not to be tied
        peer.lm_head.weight = torch.nn.Parameter(ours.head_weight.detach().clone())
    peer.load_state_dict({names.published(name): x for name, x in ours.named_parameters()}, strict=False)
    return ours, peer


def agree(ours: Any, peer: Any, tolerance: float) -> None:
    """End the run where the two sides differ."""
    gap = float(np.abs(np.asarray(ours) - np.asarray(peer)).max())
    if gap > tolerance:
        raise SystemExit(f"the two sides differ by {gap}")


def agree_but_for_ties(network: Any, sources: torch.Tensor, ours: Any, peer: Any) -> None:
    """End the run where the sides choose different tokens that are not equally likely to rounding."""
    for source, mine, theirs in zip(sources, ours, peer, strict=True):
        first = next((n for n, pair in enumerate(zip(mine, theirs, strict=True)) if pair[0] != pair[1]), None)
        if first is None:
            continue
        logits = network(source[None], torch.tensor([[0, *mine[:first]]]))[0, -1]
        gap = float((logits[mine[first]] - logits[theirs[first]]).abs() / logits.abs().max())
        print(f"token {first}: a gap of {gap:.1e} of the largest logit")
        if gap > 1e-4:
            raise SystemExit("the two sides write different tokens")


def ranking(_: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Step]]:
    """T5 scoring of answer choices."""
    config = t5("v1.1-small")
    ours, peer = pair(config, "T5ForConditionalGeneration")
    sources = torch.randint(3, config.vocab_size, (INPUTS, INPUT_TOKENS))
    choices = torch.randint(3, config.vocab_size, (INPUTS, CHOICES, CHOICE_TOKENS))
    choices[..., -1] = 1

    def our_scores(number: int = INPUTS) -> Any:
        return np.stack(score_targets(ours, sources[:number].tolist(), choices[:number].tolist(), 0, False))

    def peer_scores(number: int = INPUTS) -> Any:
        scores = torch.zeros(number, CHOICES)
        for start in range(0, number, PEER_BATCH):
            ids = sources[start : start + PEER_BATCH]
            for choice in range(CHOICES):
                labels = choices[start : start + PEER_BATCH, choice].contiguous()
                logits = peer(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels).logits
                picked = logits.log_softmax(-1).gather(2, labels[..., None])[..., 0].sum(1)
                scores[start : start + PEER_BATCH, choice] = picked
        return scores

    agree(our_scores(PEER_BATCH), peer_scores(PEER_BATCH), 1e-3)
    inner, width = config.num_heads * config.head_size, config.hidden_size
    feed_forward = 3 * width * config.inner_size
    tokens, written = INPUTS * INPUT_TOKENS, INPUTS * CHOICES * CHOICE_TOKENS
    flops = tokens * config.num_layers * 2 * (4 * width * inner + feed_forward)
    flops += tokens * config.num_layers * 4 * INPUT_TOKENS * inner  # attention
    flops += tokens * config.decoder_layers * 2 * 2 * width * inner  # keys and values of the source
    flops += written * (config.decoder_layers * 2 * (6 * width * inner + feed_forward))
    flops += written * (config.decoder_layers * 4 * INPUT_TOKENS * inner + 2 * width * config.vocab_size)
    figures = {
        "work": f"{CHOICES} choices of {CHOICE_TOKENS} tokens for {INPUTS} inputs of {INPUT_TOKENS}, fp32",
        "target": 3.0,
        "limit_seconds": flops / matmul_peak_flops(CPU, torch.float32),
    }
    return figures, {"ours": our_scores, "peer": peer_scores}


def generation(_: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Step]]:
    """T5 greedy generation."""
    config = t5("v1.1-small")
    ours, peer = pair(config, "T5ForConditionalGeneration")
    sources = torch.randint(3, config.vocab_size, (ROWS, SOURCE_TOKENS))
    peer.generation_config.eos_token_id = None
    uniforms = torch.zeros(NEW, dtype=torch.float64)

    def our_tokens(new: int = NEW) -> Any:
        rows = [Row(source, uniforms, new) for source in sources.tolist()]
        settings = GenerationConfig(max_new_tokens=new)
        for _ in continue_rows(ours, rows, settings, ends=(), pad_id=0, num_tokens=config.vocab_size):
            pass
        return [row.tokens for row in rows]

    def peer_tokens(new: int = NEW) -> Any:
        mask = torch.ones_like(sources)
        written = peer.generate(
            sources, attention_mask=mask, max_new_tokens=new, do_sample=False, decoder_start_token_id=0
        )
        return written[:, 1:].tolist()

    agree_but_for_ties(ours, sources, our_tokens(), peer_tokens())
    weights = sum(x.numel() for x in ours.decoder.parameters()) + ours.head_weight.numel()
    array = torch.ones(64 * 2**20)
    array.sum()
    read = min(seconds(lambda: array.sum()) for _ in range(5)) / (4 * array.numel())
    peak = matmul_peak_flops(CPU, torch.float32)
    figures = {
        "work": f"greedy, batch {ROWS}, sources of {SOURCE_TOKENS}, {NEW} tokens, fp32",
        "target": 2.5,
        "limit_seconds": NEW * max(4 * weights * read, 2 * weights * ROWS / peak),
        "memory_gigabytes_per_second": 1e-9 / read,
    }
    return figures, {"ours": our_tokens, "peer": peer_tokens}


def embedding(options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Step]]:
    """DistilBERT mean embeddings of texts of mixed lengths."""
    config = distilbert("base-uncased")
    ours, peer = pair(config, "DistilBertForMaskedLM")
    random = np.random.default_rng(0)
    lengths = random.integers(SHORTEST, LONGEST + 1, options.texts).tolist()
    rows = [random.integers(999, 30000, length).tolist() for length in lengths]
    encoder = peer.distilbert

    def our_states(number: int = options.texts) -> Any:
        return mean_states(ours, rows[:number], 0, False)

    def peer_states(number: int = options.texts) -> Any:
        pieces = []
        for start in range(0, number, PADDED_BATCH):
            part = rows[start : start + PADDED_BATCH]
            longest = max(map(len, part))
            ids = torch.tensor([row + [0] * (longest - len(row)) for row in part])
            mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in part])
            states = encoder(ids, attention_mask=mask).last_hidden_state
            pieces.append((states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))
        return torch.cat(pieces)

    agree(our_states(PADDED_BATCH), peer_states(PADDED_BATCH), 1e-3)
    matrices = 2 * config.num_block_parameters * sum(lengths)
    scores = config.num_layers * 4 * config.hidden_size * sum(length**2 for length in lengths)
    figures = {
        "work": f"{options.texts} texts of {SHORTEST} to {LONGEST} tokens ({sum(lengths)} in all), fp32",
        "target": 1.7,
        "limit_seconds": (matrices + scores) / matmul_peak_flops(CPU, torch.float32),
        "padding": padding(ours, lengths),
        "peer_padding": peer_padding(lengths),
        "bfloat16_tokens_per_second": half_speed(ours),
    }
    return figures, {"ours": our_states, "peer": peer_states}


def padding(network: Any, lengths: Sequence[int]) -> float:
    """Share of padding in our batches."""

    class Counter:
        architecture = "encoder"
        cells = 0

        def parameters(self) -> Any:
            return network.parameters()

        def hidden(self, ids: torch.Tensor, mask: Any) -> torch.Tensor:
            self.cells += ids.numel()
            return torch.zeros(1)

    counter = Counter()
    for _ in hidden_states(counter, [[1] * length for length in lengths], 0, progress=False):
        pass
    return 1 - sum(lengths) / counter.cells


def peer_padding(lengths: Sequence[int]) -> float:
    """Share of padding in batches in the given order."""
    parts = [lengths[start : start + PADDED_BATCH] for start in range(0, len(lengths), PADDED_BATCH)]
    return 1 - sum(lengths) / sum(len(part) * max(part) for part in parts)


def half_speed(network: Any) -> float:
    """Tokens a second in bfloat16, on a little text: where it is emulated, more would take an hour."""
    import copy

    half = copy.deepcopy(network).bfloat16()
    rows = [[1] * 32] * 2
    mean_states(half, rows[:1], 0, False)
    return 64 / seconds(lambda: mean_states(half, rows, 0, False))


MEASURES: dict[str, Callable[[argparse.Namespace], tuple[dict[str, Any], dict[str, Step]]]] = {
    "ranking": ranking,
    "generation": generation,
    "embedding": embedding,
}


if __name__ == "__main__":
    main()
