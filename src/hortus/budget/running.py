"""A plan as something to run: a recipe for hortus, and Megatron's arguments where it needs a pipeline."""

from __future__ import annotations

import math
from typing import Any

from hortus.budget.planning import Candidate, Plan

__all__ = ["learning_rate", "megatron_arguments", "recipe"]

_WARMUP_SAMPLES = 183_105  # of every published BLOOM: 375 million tokens
_CHECKPOINT_SECONDS = 3 * 3600


def learning_rate(parameters: float) -> float:
    """Peak rate: a power law through the published BLOOMs, 3e-4 at 0.56B and 6e-5 at 176B.

    >>> f"{learning_rate(7.07e9):.1e}"
    '1.5e-04'
    """
    return float(f"{3e-4 * (parameters / 559e6) ** -0.28:.2g}")


def recipe(plan: Plan) -> dict[str, Any]:
    """The recipe that trains the chosen model. Its corpus is a stand-in: set corpus.sources to your own text.

    A plan with a pipeline gets one too, for the shape; hortus itself runs it with tensor and data
    parallelism only (see `megatron_arguments`).
    """
    one, rate = plan.chosen, learning_rate(plan.chosen.parameters)
    name = f"plan-{one.shape.num_layers}x{one.shape.hidden_size}"
    training: dict[str, Any] = {
        "stage": "pretrain",
        "name": name,
        "num_layers": one.shape.num_layers,
        "hidden_size": one.shape.hidden_size,
        "num_heads": one.shape.num_heads,
        "sequence_length": plan.config.sequence_length,
        "checkpoint_activations": one.layout.checkpointing,
        "alpha": plan.config.alpha,
        "steps": one.steps,
        "batch_size": one.batch_size,
        "micro_batch_size": one.layout.micro_batch,
        "learning_rate": rate,
        "min_learning_rate": rate / 10,
        "warmup_samples": _warmup(one),
        "checkpoint_every": max(1, round(_CHECKPOINT_SECONDS / one.step_seconds)),
    }
    if one.layout.tensor_parallel > 1:
        training["tensor_parallel"] = one.layout.tensor_parallel
    return {
        "name": name,
        "description": f"{one.parameters:,} parameters on {one.tokens:,.0f} tokens, planned by hortus budget",
        "folder": f"runs/{name}",
        "stages": {
            "corpus": {"sources": ["chatterbot", "stdlib"]},
            "tokenizer": {"vocab_size": plan.config.vocab_size},
            "shards": {},
            "training": training,
            "held_out": {},
            "model": {"name": name},
        },
    }


def _warmup(one: Candidate) -> int:
    return min(_WARMUP_SAMPLES, max(1, one.steps * one.batch_size // 100))


def megatron_arguments(plan: Plan) -> list[str]:
    """Arguments of pretrain_gpt.py for the chosen model, one flag with its value an entry.

    They are those of BigScience's Megatron-DeepSpeed, which has ALiBi, the norm after the embedding and the
    pipeline that counts the embedding as a layer.
    """
    one, rate = plan.chosen, learning_rate(plan.chosen.parameters)
    samples = one.steps * one.batch_size
    flags: dict[str, Any] = {
        "num-layers": one.shape.num_layers,
        "hidden-size": one.shape.hidden_size,
        "num-attention-heads": one.shape.num_heads,
        "seq-length": plan.config.sequence_length,
        "max-position-embeddings": plan.config.sequence_length,
        "position-embedding-type": "alibi",
        "tensor-model-parallel-size": one.layout.tensor_parallel,
        "pipeline-model-parallel-size": one.layout.pipeline_parallel,
        "micro-batch-size": one.layout.micro_batch,
        "global-batch-size": one.batch_size,
        "train-samples": samples,
        "lr": rate,
        "min-lr": rate / 10,
        "lr-decay-style": "cosine",
        "lr-decay-samples": samples,
        "lr-warmup-samples": _warmup(one),
        "adam-beta1": 0.9,
        "adam-beta2": 0.95,
        "weight-decay": 0.1,
        "clip-grad": 1.0,
        "init-method-std": f"{math.sqrt(1 / (3 * one.shape.hidden_size)):.4f}",
        "make-vocab-size-divisible-by": 128,
        "pp-partition-method": "type:transformer|embedding",
    }
    switches = ["bf16", "embed-layernorm"]
    if one.layout.checkpointing:
        switches.append("checkpoint-activations")
    return [f"--{name} {value}" for name, value in flags.items()] + [f"--{name}" for name in switches]
