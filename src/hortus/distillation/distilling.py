"""Distillation: a teacher, data and settings in, a student out.

Legend: V vocabulary.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hortus.artifact import resolve_folder
from hortus.corpus import PackedLoader, ValidationLoader
from hortus.distillation.batching import BucketedExamples
from hortus.distillation.config import DistillationConfig
from hortus.distillation.masking import BatchMasking, masking_weights
from hortus.distillation.ranked import prepare_ranked
from hortus.distillation.store import StoredLogits, network_hash, rows_hash, store_logits
from hortus.distillation.student import make_student
from hortus.distillation.task import Distillation
from hortus.distillation.tasks import prepare_task
from hortus.errors import ArtifactError, ConfigError
from hortus.language import LanguageModel
from hortus.language.trimming import trim_vocabulary
from hortus.objectives import language_modeling
from hortus.objectives.examples import Examples
from hortus.objectives.rows import read_rows
from hortus.training import Data, Trainer, TrainingResult

__all__ = ["DistillationResult", "distill"]

_SHARDS = "index.json"


@dataclass(frozen=True)
class DistillationResult:
    """A student and how it came about.

    model: the student's folder.
    teacher: the folder of a teacher with the same tokenizer: the given one, or what trimming left of it.
    teacher_parameters, student_parameters: tied ones once.
    """

    model: Path
    teacher: Path
    training: TrainingResult
    teacher_parameters: int
    student_parameters: int


@dataclass
class _Prepared:
    """What the Trainer gets, and a sentence on the data."""

    task: Any
    training: Data
    validation: Data | None
    description: str


def distill(
    teacher: str | Path,
    data: str | Path,
    folder: str | Path,
    config: DistillationConfig | None = None,
    *,
    validation: Path | None = None,
    resume: bool = False,
) -> DistillationResult:
    """Train a smaller model to answer as a teacher does; write folder/model and folder/run.

    With trim_vocabulary also folder/teacher, the teacher with the tokens that the data use.

    Args:
        teacher: a folder or a hub id.
        data: rows as `hortus finetune` reads them for the task; for a decoder's lm also token shards.
        folder: where the result goes; folder/logits keeps stored logits.
        validation: rows for validation; None keeps a share of the data's.
        resume: go on from the last good checkpoint.

    Raises:
        ConfigError: a student larger than its teacher, layers out of range, hidden words in a decoder.
        ArtifactError: different vocabularies, or stored logits of something else.
        DataError: rows that do not fit the task.
    """
    settings, folder = config or DistillationConfig(), Path(folder)
    torch.manual_seed(settings.seed)
    place = resolve_folder(teacher)
    model = _open(place)
    _check(model.network, settings)
    if settings.trim_vocabulary:
        place = folder / "teacher"
        model = trim_vocabulary(model, _texts(Path(data), validation, settings))
        model.save(place)
    student = _student(model, settings)
    prepared = _prepare(model, student, Path(data), validation, settings, folder)
    trained: Any = prepared.task.network
    settings = _with_warmup(settings, prepared.training)
    trainer = Trainer(
        settings, prepared.task, prepared.training, folder=folder / "run", validation=prepared.validation
    )
    result = trainer.train(resume=resume)
    counts = [sum(p.numel() for p in network.parameters()) for network in (model.network, trained)]
    if not result.interrupted:
        card = _card(model, trained, settings, prepared.description, result, counts)
        LanguageModel(
            trained, model.tokenizer, model.generation_config, card, max_length=model.max_length
        ).save(folder / "model")
    return DistillationResult(folder / "model", place, result, *counts)


def _open(model: str | Path) -> LanguageModel:
    return LanguageModel.load(resolve_folder(model), device="cpu", dtype="float32")


def _check(teacher: Any, settings: DistillationConfig) -> None:
    encoder = teacher.architecture == "encoder"
    masks = settings.soft_over == "hidden" or settings.mask_smoothing is not None
    if masks and (not encoder or settings.task != "lm"):
        raise ConfigError(
            f"masking for a {teacher.model_type} with task={settings.task}: nothing is hidden there",
            allowed="mask_smoothing and soft_over=hidden with an encoder's task lm",
            do="leave them out",
        )
    heads = {"lm": "masked_lm", "classify": "classify", "answer": "answer"}
    wanted = heads.get(settings.task)
    if encoder and getattr(teacher.config, "head", None) != wanted:
        raise ConfigError(
            f"task={settings.task} with a teacher whose head is {teacher.config.head}",
            allowed=f"a teacher with the head {wanted}" if wanted else "a decoder or encoder-decoder",
            do="finetune the teacher on the task first",
        )
    if not encoder and settings.task in ("classify", "answer"):
        raise ConfigError(f"task={settings.task} with a {teacher.model_type}", allowed="encoders")


def _texts(data: Path, validation: Path | None, settings: DistillationConfig) -> Iterator[str]:
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


def _student(model: LanguageModel, settings: DistillationConfig) -> nn.Module:
    """The student: made from the teacher, or opened and compared with it."""
    if settings.student is None:
        return make_student(model.network, settings)
    other = _open(settings.student)
    if other.tokenizer.fingerprint() != model.tokenizer.fingerprint():
        raise ArtifactError(
            f"{settings.student} has another vocabulary than the teacher "
            f"({other.tokenizer.vocab_size} and {model.tokenizer.vocab_size} tokens)",
            allowed="the same tokenizer for both",
            do="make the student from the teacher: leave out student",
        )
    sizes = [sum(p.numel() for p in one.network.parameters()) for one in (other, model)]
    if sizes[0] > sizes[1]:
        raise ConfigError(
            f"the student has {sizes[0]:,} parameters", allowed=f"at most the teacher's {sizes[1]:,}"
        )
    return other.network.train()


def _prepare(
    model: LanguageModel,
    student: nn.Module,
    data: Path,
    validation: Path | None,
    settings: DistillationConfig,
    folder: Path,
) -> _Prepared:
    if settings.task != "lm":
        prepare = prepare_ranked if settings.task == "ranked" else prepare_task
        return _Prepared(*prepare(model, student, data, validation, settings))
    training: Any
    held_out: Data | None
    if (data / _SHARDS).is_file():
        training, held_out = _shards(model, data, settings)
        description, masking = (
            f"Token shards, {sum(training.shards.tokens('train').values()):,} tokens.",
            None,
        )
    else:
        rows = language_modeling.prepare(student, model.tokenizer, data, validation, settings)
        training, held_out, description = rows.training, rows.validation, rows.description
        masking = None
        if isinstance(training, Examples):
            size = settings.micro_batch_size or settings.batch_size
            training = BucketedExamples(training, settings.bucket_width, size)
            if model.network.architecture == "encoder":
                masking = _masking(model, training, settings)
    task = Distillation(student, model.network, settings, masking)
    if not settings.store_top:
        return _Prepared(task, training, held_out, description)
    stored = _stored(model, task, training, settings, folder / "logits")
    # Validation sees the teacher too, training does not.
    return _Prepared(task, stored, held_out, description)


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


def _with_warmup(settings: DistillationConfig, data: Data) -> DistillationConfig:
    """The published warm-up, a share of all samples, where none is set and the end is known."""
    ends = []
    if settings.epochs is not None and data.length is not None:
        ends.append(settings.epochs * data.length)
    if settings.steps is not None:
        ends.append(settings.steps * settings.batch_size)
    if settings.warmup_samples or not ends:
        return settings
    return dataclasses.replace(settings, warmup_samples=round(settings.warmup_share * min(ends)))


def _card(
    model: LanguageModel,
    student: Any,
    settings: DistillationConfig,
    description: str,
    result: TrainingResult,
    counts: list[int],
) -> Any:
    weights = ", ".join(f"{weight:g}" for weight in settings.weights)
    best = result.best or {}
    return dataclasses.replace(
        model.card,
        name=settings.name or f"{model.card.name}-distilled",
        kind=str(student.model_type),
        data=f"Distilled from {model.card.name} ({counts[0]:,} parameters to {counts[1]:,}) for the task "
        f"{settings.task!r}, temperature {settings.temperature:g}, weights of soft, hard and cosine loss "
        f"{weights}. {description} The teacher's data: {model.card.data or 'not recorded.'}",
        results={
            name.replace("validation_", "validation "): value
            for name, value in best.items()
            if name.startswith("validation_") and isinstance(value, float)
        },
        **result.footprint,
    )


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
