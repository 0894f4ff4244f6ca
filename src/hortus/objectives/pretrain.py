"""Pretraining: token shards and a tokenizer in, a BLOOM artifact out. A recipe stage and a command."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from hortus.artifact import ModelCard, read_json, write_json
from hortus.corpus import PackedLoader, ValidationLoader
from hortus.models import build_network, save_network
from hortus.objectives.causal import CausalLanguageModeling
from hortus.objectives.config import PretrainConfig
from hortus.recipe import Stage, StageContext, StageResult
from hortus.report import Block, Curves, Table
from hortus.tokenizer import Tokenizer
from hortus.training import Trainer, TrainingResult

__all__ = ["STAGE", "pretrain"]


def pretrain(
    config: PretrainConfig,
    shards: Path,
    tokenizer: Tokenizer,
    folder: Path,
    *,
    resume: bool = False,
    recipe: Mapping[str, Any] | None = None,
) -> tuple[TrainingResult, nn.Module]:
    """Train a BLOOM and write it to `folder`, with checkpoints in folder/checkpoints while it trains.

    Raises:
        ConfigError: width not divisible by heads, and what the Trainer refuses.
        DataError: the shards are empty or corrupt.
    """
    network: Any = build_network(_network_config(config, tokenizer))
    network.activation_checkpointing = config.checkpoint_activations
    task = CausalLanguageModeling(network)
    data = PackedLoader(
        shards,
        sequence_length=config.sequence_length,
        seed=config.seed,
        alpha=config.alpha,
        code_share=config.code_share,
        keep_boundaries=config.document_boundaries,
    )
    validation = ValidationLoader(
        shards,
        sequence_length=config.sequence_length,
        batch_size=8,
        keep_boundaries=config.document_boundaries,
    )
    run = folder / "run"
    parameters = sum(parameter.numel() for parameter in network.parameters())
    # What a scaling law needs to know beside metrics.jsonl.
    write_json(run / "scale.json", {"parameters": parameters, "tokens_per_sample": config.sequence_length})
    trainer = Trainer(config, task, data, folder=run, validation=validation)
    result = trainer.train(resume=resume)
    if trainer.ranks.size > 1:
        weights, network = trainer.ranks.gather(network), build_network(_network_config(config, tokenizer))
        network.load_state_dict(weights, strict=trainer.ranks.first)
    if trainer.ranks.first and not result.interrupted:
        save_network(
            network,
            folder / "model",
            _card(config, data, result),
            recipe=dict(recipe or {}),
            extra=lambda place: _save_tokenizer(tokenizer, place, config.sequence_length),
        )
    return result, network


def _save_tokenizer(tokenizer: Tokenizer, folder: Path, longest: int) -> None:
    """ALiBi runs at any length; what the model was trained with is what its users should count on."""
    tokenizer.save(folder)
    settings = folder / "tokenizer_config.json"
    write_json(settings, read_json(settings) | {"model_max_length": longest})


def _network_config(config: PretrainConfig, tokenizer: Tokenizer) -> dict[str, Any]:
    return {
        "model_type": "bloom",
        "vocab_size": tokenizer.vocab_size,
        "hidden_size": config.hidden_size,
        "n_layer": config.num_layers,
        "n_head": config.num_heads,
        "hidden_dropout": config.hidden_dropout,
    }


def _card(config: PretrainConfig, data: PackedLoader, result: TrainingResult) -> ModelCard:
    return ModelCard(
        name=config.name,
        kind="bloom",
        languages=tuple(data.shares),
        data=f"{result.samples * config.sequence_length:,} tokens in {len(data.shares)} languages, "
        f"sampled with p proportional to size^{config.alpha}.",
        results={"validation loss, nats a token": result.best["validation_loss"]} if result.best else {},
        **result.footprint,
    )


def run(config: PretrainConfig, context: StageContext) -> StageResult:
    """Train on the recipe's shards and tokenizer."""
    tokenizer = Tokenizer.load(context.inputs["tokenizer"])
    result, network = pretrain(
        config,
        context.inputs["shards"],
        tokenizer,
        context.folder,
        resume=context.resume,
        recipe=context.recipe,
    )
    parameters = sum(parameter.numel() for parameter in network.parameters())
    tokens = result.samples * config.sequence_length
    numbers = {
        "parameters": parameters,
        "steps": result.steps,
        "tokens": tokens,
        "loss": result.metrics.get("loss"),
        "tokens_per_second": tokens / max(result.seconds, 1e-9),
        "energy_kwh": result.energy_kwh,
    }
    stopped = f"stopped by {result.stopped} at step {result.steps}" if result.interrupted else None
    return StageResult(numbers, _blocks(config, result, parameters), stopped)


def _blocks(config: PretrainConfig, result: TrainingResult, parameters: int) -> list[Block]:
    shape: list[list[Any]] = [
        ["parameters", parameters],
        ["layers × width × heads", f"{config.num_layers} × {config.hidden_size} × {config.num_heads}"],
        ["sequence length", config.sequence_length],
        ["tokens seen", result.samples * config.sequence_length],
        ["steps", result.steps],
        ["ended by", result.stopped],
        ["minutes", result.seconds / 60],
    ]
    blocks: list[Block] = [Table("The model and its training", ["what", "value"], shape)]
    losses = {
        "training": _series(result.history, "loss"),
        "validation": _series(result.history, "validation_loss"),
    }
    losses = {name: series for name, series in losses.items() if series[0]}
    blocks.append(Curves("Loss", "step", "nats a token", losses))
    for key, label in (("learning_rate", "learning rate"), ("tokens_per_second", "tokens a second")):
        series = _series(result.history, key)
        if series[0]:
            blocks.append(Curves(label.capitalize(), "step", label, {label: series}))
    return blocks


def _series(history: list[dict[str, Any]], key: str) -> tuple[list[float], list[float]]:
    points = [(record["step"], record[key]) for record in history if record.get(key) is not None]
    return [step for step, _ in points], [value for _, value in points]


STAGE = Stage(PretrainConfig, run, needs=("tokenizer", "shards"), parallel=True)
