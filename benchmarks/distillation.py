"""Distillation here against the published script's step, and what a student of a BLOOM wins.

    python benchmarks/distillation.py step        # BERT-base -> DistilBERT-base, 16 x 128 tokens
    python benchmarks/distillation.py inference   # both at batch 1 and 32, 128 tokens
    python benchmarks/distillation.py decoder --run runs/quickstart --output runs/decoder

step: loss, backward pass, clipping and AdamW of one batch without padding, float32, two threads, the same
weights on both sides, in turns in one process: ours on the fly, ours from stored top-64 logits, and the
published script's loss re-stated in plain transformers and torch. Hidden words are drawn beforehand. The
losses must agree. The limit is the arithmetic at the measured peak of matrix products.

decoder: the finished quickstart's BLOOM as teacher; a student of fewer layers distilled on its shards, and
the same student from fresh weights trained by the next token alone for as much processor time. Scored in
bits per byte on the held-out documents, macro average.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from hortus.artifact import write_json
from hortus.corpus import PackedLoader
from hortus.device import describe_machine, matmul_peak_flops
from hortus.distillation import DistillationConfig, distill, make_student
from hortus.distillation.task import Distillation
from hortus.evaluation.config import HeldOutConfig
from hortus.evaluation.held_out import bits_per_byte, held_out_documents
from hortus.language import LanguageModel
from hortus.models import build_network, family
from hortus.models.bert import published
from hortus.objectives.causal import CausalLanguageModeling
from hortus.training import Trainer, TrainingConfig
from hortus.training.optimizers import build_optimizer

RESULTS = Path(__file__).parent / "results" / "distillation.json"
ROWS, TOKENS, TOP, HIDDEN_SHARE = 16, 128, 64, 0.15
SETTINGS = DistillationConfig(layers=6, epochs=1)
Step = Callable[[], Any]


def main() -> None:
    """Measure one row, merge it into the results and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("row", choices=sorted(MEASURES))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--run", type=Path, help="decoder: the folder of a finished quickstart")
    parser.add_argument("--output", type=Path, default=Path("runs/decoder"))
    parser.add_argument("--steps", type=int, default=800, help="decoder: steps of the distillation")
    options = parser.parse_args()
    torch.manual_seed(0)
    result = MEASURES[options.row](options)
    rows = json.loads(RESULTS.read_text())["rows"] if RESULTS.is_file() else {}
    rows[options.row] = result
    write_json(RESULTS, {"machine": describe_machine(), "rows": rows})
    print(json.dumps(result, indent=1))


def in_turns(sides: dict[str, Step], rounds: int) -> dict[str, float]:
    """Median seconds of each side, after one run of each."""
    taken: dict[str, list[float]] = {side: [] for side in sides}
    for number in range(rounds + 1):
        for side, step in sides.items():
            began = time.perf_counter()
            step()
            if number:
                taken[side].append(time.perf_counter() - began)
    return {side: statistics.median(values) for side, values in taken.items()}


def transformers_twin(network: Any) -> Any:
    """The same network in transformers, in evaluation mode."""
    import transformers

    kind = {"bert": "Bert", "distilbert": "DistilBert"}[network.model_type]
    config = getattr(transformers, f"{kind}Config")(**network.config.to_hugging_face())
    peer = getattr(transformers, f"{kind}ForMaskedLM")(config).eval()
    names = family(network.model_type).names
    state = {names.published(name): x.detach().clone() for name, x in network.named_parameters()}
    peer.load_state_dict(state, strict=False)
    return peer


def measure_step(options: argparse.Namespace) -> dict[str, Any]:
    """A distillation step of three kinds."""
    torch.set_num_threads(2)
    teacher: Any = build_network(published("base-uncased").to_hugging_face()).eval()
    # Without dropout, so that the sides' losses can be compared.
    quiet = dataclasses.replace(teacher.config, hidden_dropout=0.0, attention_dropout=0.0)
    teacher.config = quiet
    student = make_student(teacher, SETTINGS)
    peers = transformers_twin(student).train(), transformers_twin(teacher)
    batch = hidden_batch(teacher.config.vocab_size)
    ours = our_step(student, teacher, SETTINGS, batch)
    stored_settings = dataclasses.replace(SETTINGS, store_top=TOP)
    task = Distillation(copy.deepcopy(student), teacher, stored_settings)
    _, top = task.answer(batch)
    answers = dict(zip(("top_log_probabilities", "top_indices", "top_rest"), top, strict=True))
    stored = our_step(task.network, teacher, stored_settings, batch | answers)
    published_step = peer_step(*peers, batch)
    first = ours(), published_step()
    if abs(first[0] - first[1]) > 1e-3 * abs(first[1]):
        raise SystemExit(f"the two sides have the losses {first[0]} and {first[1]}")
    seconds = in_turns({"ours": ours, "published": published_step, "stored": stored}, options.rounds)
    flops = step_flops(teacher.config, 6)
    peak = matmul_peak_flops(torch.device("cpu"), torch.float32)
    return {
        "seconds": seconds,
        "losses": first,
        "ratio": seconds["published"] / seconds["ours"],
        "stored_ratio": seconds["ours"] / seconds["stored"],
        "limit_seconds": {name: count / peak for name, count in flops.items()},
        "limit_ratio": seconds["published"] * peak / flops["on the fly"],
        "stored_limit_ratio": flops["on the fly"] / flops["stored"],
    }


def hidden_batch(num_tokens: int) -> dict[str, torch.Tensor]:
    """Random words without padding, 15 % of them hidden."""
    ids = torch.randint(1000, num_tokens, (ROWS, TOKENS))
    chosen = torch.rand(ROWS, TOKENS) < HIDDEN_SHARE
    return {
        "input_ids": ids.masked_fill(chosen, 103),
        "attention_mask": torch.ones_like(ids),
        "targets": ids.masked_fill(~chosen, -100),
    }


def our_step(
    student: Any, teacher: Any, settings: DistillationConfig, batch: dict[str, torch.Tensor]
) -> Step:
    """Loss, backward pass, clipping and update as the Trainer does them."""
    task = Distillation(student, teacher, settings)
    optimizer = build_optimizer(task.parameter_groups(0.0), settings)
    parameters = list(student.parameters())

    def step() -> float:
        loss, count, _ = task.loss(batch)
        loss.backward()
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        norm = float(torch.nn.utils.get_total_norm(gradients)) / float(count)
        torch._foreach_mul_(gradients, min(1.0, 5.0 / norm) / float(count))
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return float(loss.detach()) / float(count)

    return step


def peer_step(student: Any, teacher: Any, batch: dict[str, torch.Tensor]) -> Step:
    """The published script's loss: whole logits, selected by the mask."""
    optimizer = torch.optim.AdamW(student.parameters(), 5e-4, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.0)
    ids, mask, labels = batch["input_ids"], batch["attention_mask"], batch["targets"]

    def step() -> float:
        with torch.no_grad():
            theirs = teacher(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        mine = student(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        chosen = mask.bool().unsqueeze(-1).expand_as(mine.logits)
        own, other = (
            torch.masked_select(side.logits, chosen).view(-1, side.logits.size(-1)) for side in (mine, theirs)
        )
        divergence = F.kl_div((own / 2).log_softmax(-1), (other / 2).softmax(-1), reduction="batchmean")
        loss = 5.0 * divergence * 4
        loss = loss + 2.0 * F.cross_entropy(mine.logits.view(-1, own.size(-1)), labels.view(-1))
        states, others = mine.hidden_states[-1], theirs.hidden_states[-1]
        wide = mask.bool().unsqueeze(-1).expand_as(states)
        states, others = (torch.masked_select(x, wide).view(-1, x.size(-1)) for x in (states, others))
        loss = loss + F.cosine_embedding_loss(states, others, states.new_ones(len(states)))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 5.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    return step


def step_flops(config: Any, layers: int) -> dict[str, float]:
    """Arithmetic of the matrix products of a step; a backward pass is twice its forward one."""
    tokens, width = ROWS * TOKENS, config.hidden_size
    layer = 2 * tokens * (4 * width**2 + 2 * width * config.intermediate_size) + 4 * tokens * TOKENS * width
    head = 2 * tokens * width * (config.vocab_size + width)
    student = 3 * (layers * layer + head)
    return {"on the fly": student + config.num_layers * layer + head, "stored": student}


@torch.inference_mode()
def measure_inference(options: argparse.Namespace) -> dict[str, Any]:
    """Teacher and student of the base shape, states of texts of 128 tokens."""
    torch.set_num_threads(2)
    teacher: Any = build_network(published("base-uncased").to_hugging_face()).eval()
    student = make_student(teacher, SETTINGS).eval()
    result: dict[str, Any] = {}
    for size, rounds in ((1, 15), (32, 3)):
        ids = torch.randint(1000, 30000, (size, TOKENS))
        models = {"teacher": teacher, "student": student}
        sides: dict[str, Step] = {name: partial(one.hidden, ids) for name, one in models.items()}
        seconds = in_turns(sides, rounds)
        result[f"batch {size}"] = {
            "milliseconds": {name: 1000 * value for name, value in seconds.items()},
            "ratio": seconds["teacher"] / seconds["student"],
        }
    return result


def measure_decoder(options: argparse.Namespace) -> dict[str, Any]:
    """A BLOOM's student against the same student from nothing."""
    if options.run is None:
        raise SystemExit("decoder needs --run, the folder of a finished quickstart")
    torch.set_num_threads(1)
    teacher, shards = options.run / "training" / "model", options.run / "shards"
    shape: dict[str, Any] = {
        "batch_size": 1,
        "learning_rate": 2e-3,
        "min_learning_rate": 2e-5,
        "schedule": "cosine",
        "device": "cpu",
        "compile": "off",
        "log_every": 100,
    }
    settings = DistillationConfig(
        **shape, epochs=None, steps=options.steps, layers=1, max_length=512, weight_hard=2.0, clip_norm=1.0
    )
    began = time.process_time()
    result = distill(teacher, shards, options.output / "distilled", settings)
    spent = time.process_time() - began
    model = LanguageModel.load(result.model, device="cpu", dtype="float32")
    fresh: Any = make_student(
        LanguageModel.load(teacher, device="cpu", dtype="float32").network,
        dataclasses.replace(settings, initialization="random"),
    )
    scratch = scratch_training(fresh, shards, spent, shape, options)
    documents = held_out_documents(options.run / "corpus", HeldOutConfig(max_bytes=8_000))
    models = {
        "teacher": LanguageModel.load(teacher, device="cpu", dtype="float32"),
        "distilled": model,
        "from nothing": LanguageModel(fresh, model.tokenizer, max_length=model.max_length),
    }
    return {
        "parameters": [result.teacher_parameters, result.student_parameters],
        "steps": {"distilled": options.steps, "from nothing": scratch},
        "processor_seconds": spent,
        **held_out_scores(models, documents),
    }


@torch.inference_mode()
def held_out_scores(models: dict[str, LanguageModel], documents: dict[str, list[str]]) -> dict[str, Any]:
    """Bits per byte by group and on average; the mean KL from the teacher's next token, in nats."""
    bits = {
        name: {group: bits_per_byte(one, texts) for group, texts in documents.items()}
        for name, one in models.items()
    }
    teacher = models["teacher"]
    rows = [teacher.tokenizer.encode(text)[:256] for texts in documents.values() for text in texts]
    divergence, tokens = dict.fromkeys(models, 0.0), 0
    for row in rows:
        if len(row) < 2:
            continue
        ids = torch.tensor([row])
        expected = teacher.network(ids).log_softmax(-1)
        tokens += len(row)
        for name, one in models.items():
            found = one.network(ids).log_softmax(-1)
            divergence[name] += float(F.kl_div(found, expected, log_target=True, reduction="sum"))
    return {
        "bits_per_byte": {name: statistics.fmean(groups.values()) for name, groups in bits.items()},
        "bits_per_byte_by_group": bits,
        "divergence": {name: total / tokens for name, total in divergence.items()},
    }


def scratch_training(
    network: Any, shards: Path, budget: float, shape: dict[str, Any], options: argparse.Namespace
) -> int:
    """Train by the next token for as much processor time; returns the steps that this is."""

    def train(one: Any, steps: int, name: str) -> float:
        config = TrainingConfig(
            **shape, steps=steps, weight_decay=0.0, warmup_samples=max(steps // 20, 1), betas=(0.9, 0.98)
        )
        data = PackedLoader(shards, 512, seed=config.seed)
        began = time.process_time()
        Trainer(config, CausalLanguageModeling(one), data, folder=options.output / name).train()
        return time.process_time() - began

    probe = 60
    steps = round(budget / train(copy.deepcopy(network), probe, "probe") * probe)
    train(network, steps, "from-nothing")
    return steps


MEASURES: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "step": measure_step,
    "inference": measure_inference,
    "decoder": measure_decoder,
}

if __name__ == "__main__":
    main()
