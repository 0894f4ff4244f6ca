"""Distillation: a teacher, data and settings in, a student out."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hortus.artifact import resolve_folder
from hortus.distillation.config import DistillationConfig
from hortus.distillation.preparing import all_texts, prepare
from hortus.distillation.student import make_student
from hortus.errors import ArtifactError, ConfigError
from hortus.language import LanguageModel
from hortus.language.trimming import trim_vocabulary
from hortus.training import Data, Trainer, TrainingResult

__all__ = ["DistillationResult", "distill"]


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
        model = trim_vocabulary(model, all_texts(Path(data), validation, settings))
        model.save(place)
    student = _student(model, settings)
    prepared = prepare(model, student, Path(data), validation, settings, folder)
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
