"""The student: a smaller network of the teacher's family, made of its layers (DistilBERT, section 2).

A BERT's student is a DistilBERT; any other family's is one of its own. Every tensor is the teacher's of the
same name, its layer number translated, or the leading block of it where the student is narrower: the first
columns, the first heads (head width stays), the first inner units. Token types and the pooler have no place
in a DistilBERT and are dropped, as published.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any, Literal

import torch

from hortus.distillation.config import DistillationConfig
from hortus.errors import ConfigError
from hortus.models import build_network, family
from hortus.models.distilbert import DistilBertConfig

__all__ = ["choose_layers", "copy_layers", "make_student", "student_config"]


def choose_layers(
    num_teacher: int,
    num_student: int,
    rule: Literal["published", "stride"] = "published",
    chosen: Sequence[int] = (),
) -> list[int]:
    """The teacher's layers that the student's come from.

    Args:
        rule: published rounds i (L_t - 1) / (L_s - 1), which gives the published list; stride is
            floor(i L_t / L_s).
        chosen: the layers themselves.

    Raises:
        ConfigError: more layers than the teacher has, or a list out of range or of another length.

    >>> choose_layers(12, 6), choose_layers(12, 6, "stride")
    ([0, 2, 4, 7, 9, 11], [0, 2, 4, 6, 8, 10])
    """
    if chosen:
        outside = [layer for layer in chosen if not 0 <= layer < num_teacher]
        if outside:
            raise ConfigError(
                f"layer_list names layer {outside[0]}", allowed=f"0 to {num_teacher - 1}, the teacher's"
            )
        if len(chosen) != num_student:
            raise ConfigError(f"layer_list has {len(chosen)} layers", allowed=f"{num_student}, as layers")
        return list(chosen)
    if not 1 <= num_student <= num_teacher:
        raise ConfigError(
            f"a student of {num_student} layers",
            allowed=f"1 to {num_teacher}, the teacher's",
            do="set layers",
        )
    if rule == "stride":
        return [index * num_teacher // num_student for index in range(num_student)]
    last = max(num_student - 1, 1)
    return [int(index * (num_teacher - 1) / last + 0.5) for index in range(num_student)]


def student_config(teacher: Any, settings: DistillationConfig) -> dict[str, Any]:
    """The content of the student's config.json.

    Raises:
        ConfigError: larger than the teacher, or a width that its heads do not divide.
    """
    config = teacher.config
    changes: dict[str, Any] = {"num_layers": _number_of_layers(config.num_layers, settings)}
    if teacher.architecture == "encoder-decoder":
        changes["num_decoder_layers"] = _number_of_layers(config.decoder_layers, settings)
    if settings.width is not None:
        changes |= _narrow(config, settings.width)
    if teacher.model_type != "bert":
        changed = dataclasses.replace(config, **changes)
        return family(teacher.model_type).write_config(changed) | {"model_type": teacher.model_type}
    # The classifier's dropout is each family's own.
    shared = {field.name for field in dataclasses.fields(DistilBertConfig)} - {"classifier_dropout"}
    values = {name: getattr(config, name) for name in shared if hasattr(config, name)}
    return DistilBertConfig(**values | changes).to_hugging_face()


def _number_of_layers(of_teacher: int, settings: DistillationConfig) -> int:
    wanted = settings.layers or len(settings.layer_list) or max(of_teacher // 2, 1)
    if wanted > of_teacher:
        raise ConfigError(
            f"a student of {wanted} layers is larger than its teacher",
            allowed=f"1 to {of_teacher}",
            do="set layers",
        )
    return wanted


def _narrow(config: Any, width: int) -> dict[str, int]:
    """Sizes at another width: heads of the same width, inner sizes in proportion."""
    head, whole = config.hidden_size // config.num_heads, config.hidden_size
    if not 0 < width <= whole or width % head:
        raise ConfigError(
            f"width={width}", allowed=f"multiples of the head width {head}, at most the teacher's {whole}"
        )
    changes = {"hidden_size": width, "num_heads": width // head}
    for name in ("intermediate_size", "inner_size"):
        if hasattr(config, name):
            changes[name] = getattr(config, name) * width // whole
    return changes


def make_student(teacher: Any, settings: DistillationConfig) -> Any:
    """A student in training mode, initialised as the settings say.

    Raises:
        ConfigError: as `student_config` and `choose_layers`.

    >>> from hortus.models.bert import Bert, BertConfig
    >>> teacher = Bert(BertConfig(vocab_size=32, hidden_size=16, num_layers=4, num_heads=4))
    >>> student = make_student(teacher, DistillationConfig(layers=2))
    >>> torch.equal(student.blocks[1].expand.weight, teacher.blocks[3].expand.weight)
    True
    """
    student: Any = build_network(student_config(teacher, settings))
    weight = next(teacher.parameters())
    student.to(device=weight.device, dtype=weight.dtype)
    if settings.initialization == "teacher":
        copy_layers(teacher, student, settings)
    if settings.freeze_positions and hasattr(student, "position_embedding"):
        student.position_embedding.weight.requires_grad_(False)
    return student.train()


@torch.no_grad()
def copy_layers(teacher: Any, student: Any, settings: DistillationConfig) -> list[str]:
    """Copy every tensor that has a counterpart; returns the names of those that stay as they were drawn.

    Raises:
        ConfigError: as `choose_layers`.
    """
    layers = {
        stack: choose_layers(of_teacher, of_student, settings.layer_rule, settings.layer_list)
        for stack, of_teacher, of_student in _stacks(teacher.config, student.config)
    }
    source = dict(teacher.named_parameters())
    fresh = []
    for name, parameter in student.named_parameters():
        transform = name.startswith(("masked_head.transform", "masked_head.norm"))
        origin = source.get(_origin(name, layers))
        if origin is None or (transform and not settings.copy_head_transform):
            fresh.append(name)
            continue
        parameter.copy_(origin[tuple(slice(size) for size in parameter.shape)])
    return fresh


def _stacks(teacher: Any, student: Any) -> list[tuple[str, int, int]]:
    """Beginning of the names of a stack's layers, and how many layers teacher and student have there."""
    if hasattr(teacher, "decoder_layers"):
        return [
            ("encoder.blocks.", teacher.num_layers, student.num_layers),
            ("decoder.blocks.", teacher.decoder_layers, student.decoder_layers),
        ]
    return [("blocks.", teacher.num_layers, student.num_layers)]


def _origin(name: str, layers: dict[str, list[int]]) -> str:
    """The teacher's name of a student's parameter."""
    for stack, chosen in layers.items():
        if name.startswith(stack):
            number = re.match(r"\d+", name[len(stack) :])
            assert number is not None
            return f"{stack}{chosen[int(number.group())]}{name[len(stack) + number.end() :]}"
    return name
