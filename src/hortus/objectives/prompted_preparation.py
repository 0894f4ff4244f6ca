"""`hortus finetune --task prompted`: a mixture file in, task, training data and validation data out.

Validation examples come from the training datasets only, so that no held-out task can choose a checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hortus.config import from_mapping, load_yaml
from hortus.errors import ConfigError
from hortus.objectives.finetune import Preparation
from hortus.objectives.finetune_config import FinetuneConfig
from hortus.objectives.prompted import PackedMixture, PromptedFinetuning, packed_examples
from hortus.objectives.prompted_config import PromptedMixtureConfig
from hortus.objectives.prompted_packing import Layout, Truncation
from hortus.prompts import Dataset, Mixture, OverlapReport, hold_out, load_dataset
from hortus.prompts.catalogue import expand_catalogue
from hortus.tokenizer import Tokenizer

__all__ = ["layout_of", "open_mixtures", "prepare"]


def prepare(
    network: Any, tokenizer: Tokenizer, data: Path, validation: Path | None, config: FinetuneConfig
) -> Preparation:
    """Open the mixture of a YAML file (`PromptedMixtureConfig`).

    Raises:
        ConfigError: nothing ends the endless stream, the mixture trains on what it holds out, or a
            validation file was given.
        DataError: a dataset or template file is missing or does not fit.
    """
    if config.steps is None and config.max_minutes is None:
        raise ConfigError("a mixture has no end", allowed="--steps or --max-minutes", do="set one of them")
    if validation is not None:
        raise ConfigError(
            "prompted finetuning validates on its training datasets", do="set validation_split in the mixture"
        )
    settings = from_mapping(PromptedMixtureConfig, load_yaml(data))
    layout = layout_of(settings, network, tokenizer)
    mixture, held = open_mixtures(replace(settings, seed=config.seed), config.validation_share)
    training = PackedMixture(mixture, tokenizer, layout, seed=config.seed)
    examples = held.take(settings.validation_examples)
    overlap = mixture.overlap(settings.overlap_words) if settings.overlap_words else {}
    return Preparation(
        PromptedFinetuning(network),
        training,
        packed_examples(examples, tokenizer, layout, Truncation()),
        description=_description(mixture, overlap),
    )


def layout_of(settings: PromptedMixtureConfig, network: Any, tokenizer: Tokenizer) -> Layout:
    """How examples become this network's rows.

    Raises:
        ConfigError: a network that generates nothing, or a tokenizer without an end token.
    """
    kind = getattr(network, "architecture", "decoder")
    end = tokenizer.eos_id
    if kind == "encoder" or end is None:
        what = (
            "a tokenizer without end token" if end is None else f"a network of the kind {network.model_type}"
        )
        raise ConfigError(f"{what} cannot be finetuned on prompts", allowed="bloom or t5 with its tokenizer")
    return Layout(
        encoder_decoder=kind == "encoder-decoder",
        sequence_length=settings.sequence_length,
        input_length=settings.input_length,
        target_length=settings.target_length,
        by_example=settings.by_example,
        end_id=end,
        start_id=getattr(network.config, "decoder_start_token_id", None) or 0,
        pad_id=tokenizer.pad_id or 0,
    )


def open_mixtures(settings: PromptedMixtureConfig, share: float) -> tuple[Mixture, Mixture]:
    """The mixture to train on and the one to validate with: the same tasks, other rows."""
    config = expand_catalogue(settings.placed())
    training: dict[str, Dataset] = {}
    validation: dict[str, Dataset] = {}
    for task in config.training:
        dataset = load_dataset(task.data)
        if settings.validation_split is not None:
            training[task.name] = dataset
            validation[task.name] = load_dataset(replace(task.data, split=settings.validation_split))
        else:
            training[task.name], validation[task.name] = hold_out(dataset, share)
    other = replace(config, seed=config.seed + 1)
    return Mixture(config, datasets=training), Mixture(other, datasets=validation)


def _description(mixture: Mixture, overlap: Mapping[str, OverlapReport]) -> str:
    names = dict.fromkeys(task.dataset_name for task in mixture.tasks)
    text = f"{len(mixture.tasks)} prompted tasks of {len(names)} datasets: {', '.join(names)}."
    if overlap:
        shares = ", ".join(f"{name} {100 * report.share:.1f} %" for name, report in overlap.items())
        text += f" Held-out rows that share an n-gram with training rows: {shares}."
    return text
