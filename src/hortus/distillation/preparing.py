"""Data in, what the Trainer gets of them: rows or token shards, hidden words, stored logits."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from hortus.corpus import PackedLoader, ValidationLoader
from hortus.distillation.batching import BucketedExamples
from hortus.distillation.config import DistillationConfig
from hortus.distillation.masking import BatchMasking, masking_weights
from hortus.distillation.ranked import prepare_ranked
from hortus.distillation.store import StoredLogits, network_hash, rows_hash, store_logits
from hortus.distillation.task import Distillation
from hortus.distillation.tasks import prepare_task
from hortus.errors import ArtifactError, ConfigError
from hortus.language import LanguageModel
from hortus.objectives import language_modeling
from hortus.objectives.examples import Examples
from hortus.objectives.rows import read_rows
from hortus.training import Data

__all__ = ["Prepared", "all_texts", "prepare"]

_SHARDS = "index.json"


@dataclass
class Prepared:
    """What the Trainer gets, and a sentence on the data."""

    task: Any
    training: Data
    validation: Data | None
    description: str


def all_texts(data: Path, validation: Path | None, settings: DistillationConfig) -> Iterator[str]:
    """Every text of every row: whatever the task reads is among them.

    Raises:
        ConfigError: token shards, which the larger tokenizer made.
    """
    if (data / _SHARDS).is_file():
        raise ConfigError("trim_vocabulary with token shards", allowed="rows of text")
    for path in (data, validation):
        for row in read_rows(path, settings, []) if path is not None else ():
            for text in _strings(row):
                yield text
                if settings.task == "ranked":  # a choice follows a space
                    yield f" {text}"


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from _strings(list(value.values()))
    elif isinstance(value, Sequence):
        for one in value:
            yield from _strings(one)


def prepare(
    model: LanguageModel,
    student: nn.Module,
    data: Path,
    validation: Path | None,
    settings: DistillationConfig,
    folder: Path,
) -> Prepared:
    """What the Trainer needs to distil a student.

    Args:
        folder: where stored logits go, in `logits`.

    Raises:
        ConfigError: data that do not go with the teacher.
        ArtifactError: shards or stored logits of something else.
        DataError: rows that do not fit the task.
    """
    if settings.task != "lm":
        of_task = prepare_ranked if settings.task == "ranked" else prepare_task
        return Prepared(*of_task(model, student, data, validation, settings))
    training: Any
    held_out: Data | None
    masking = None
    if (data / _SHARDS).is_file():
        training, held_out = _shards(model, data, settings)
        description = f"Token shards, {sum(training.shards.tokens('train').values()):,} tokens."
    else:
        rows = language_modeling.prepare(student, model.tokenizer, data, validation, settings)
        training, held_out, description = rows.training, rows.validation, rows.description
        if isinstance(training, Examples):
            size = settings.micro_batch_size or settings.batch_size
            training = BucketedExamples(training, settings.bucket_width, size)
            if model.network.architecture == "encoder":
                masking = _masking(model, training, settings)
    task = Distillation(student, model.network, settings, masking)
    if not settings.store_top:
        return Prepared(task, training, held_out, description)
    stored = _stored(model, task, training, settings, folder / "logits")
    # Validation sees the teacher too, training does not.
    return Prepared(task, stored, held_out, description)


def _shards(
    model: LanguageModel, data: Path, settings: DistillationConfig
) -> tuple[PackedLoader, ValidationLoader]:
    if model.network.architecture != "decoder" or settings.store_top:
        raise ConfigError(
            "token shards go with decoders and a teacher that runs every time", do="give rows of text instead"
        )
    length = settings.max_length or model.max_length
    training = PackedLoader(data, length, seed=settings.seed)
    if training.shards.tokenizer_fingerprint != model.tokenizer.fingerprint():
        raise ArtifactError(
            f"the shards in {data} were made with another tokenizer than the teacher's",
            do="encode the corpus with the teacher's tokenizer",
        )
    return training, ValidationLoader(data, length, batch_size=8)


def _masking(model: LanguageModel, data: BucketedExamples, settings: DistillationConfig) -> BatchMasking:
    tokenizer = model.tokenizer
    assert tokenizer.mask_id is not None  # the rows were prepared for masked language modelling
    smoothing = 0.7 if settings.mask_smoothing is None else settings.mask_smoothing
    weights = masking_weights(data.rows, tokenizer.vocab_size, tokenizer.special_ids(), smoothing)
    return BatchMasking(weights, mask_id=tokenizer.mask_id, share=settings.mask_share)


def _stored(
    model: LanguageModel, task: Distillation, training: Any, settings: DistillationConfig, folder: Path
) -> StoredLogits:
    names = ("temperature", "store_top", "soft_over", "mask_share", "mask_smoothing", "seed")
    identity = {
        "teacher": network_hash(model.network),
        "tokenizer": model.tokenizer.fingerprint(),
        "data": rows_hash(training),
        "settings": {name: getattr(settings, name) for name in names},
    }
    store_logits(training, task.answer, folder, identity, _say)
    return StoredLogits(folder, identity, settings.seed)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
