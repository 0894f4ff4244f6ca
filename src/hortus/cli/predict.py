"""hortus predict: one line of JSON in, one line of JSON out, by any task that a model can do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from hortus.artifact import load
from hortus.cli.generate import read_rows, write_rows
from hortus.errors import ArtifactError, DataError

__all__ = ["predict"]

Task = Literal["rank", "embed", "fill_mask", "classify", "answer"]
Rows = Sequence[dict[str, Any]]


def predict(
    model: str,
    task: Task,
    *,
    input: Path,
    output: Path | None = None,
    top: int = 5,
    truncate: Annotated[bool, Parameter(negative=())] = False,
    device: str = "auto",
    dtype: str = "auto",
    json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> int:
    """Rank choices, embed texts, fill masks, classify, or answer questions, for every line of a file.

    Parameters
    ----------
    model
        A folder or a hub id.
    task
        rank, embed, fill_mask, classify or answer.
    input
        A JSONL file. Each line is an object with "text"; rank needs "choices" too, classify takes "second"
        for pairs, answer needs "question" and "context" instead.
    output
        Where the lines go, each with what was predicted added; without it, to stdout.
    top
        Words for each mask.
    truncate
        Cut texts that are too long instead of refusing them.
    device
        auto, cpu, cuda, cuda:N or mps.
    dtype
        auto, float32, bfloat16 or float16.
    json
        Print one JSON object instead of lines.
    """
    needed = ("question", "context") if task == "answer" else ("text",)
    rows = read_rows(input, needed)
    opened = load(model, device=device, dtype=dtype)
    if not hasattr(opened, task):
        raise ArtifactError(
            f"{model} cannot {task.replace('_', ' ')}", do="give the folder of a language model"
        )
    options: dict[str, Any] = {} if task == "answer" else {"truncate": truncate}
    if task == "fill_mask":
        options["top"] = top
    found = _TASKS[task](opened, rows, options)
    write_rows([row | new for row, new in zip(rows, found, strict=True)], output, json)
    return 0


def _column(rows: Rows, name: str) -> list[Any]:
    for number, row in enumerate(rows, start=1):
        if name not in row:
            raise DataError(f"line {number} has no {name!r}", allowed=f"{name!r} in every line, or in none")
    return [row[name] for row in rows]


def _rank(model: Any, rows: Rows, options: dict[str, Any]) -> list[dict[str, Any]]:
    choices = _column(rows, "choices")
    for number, mine in enumerate(choices, start=1):
        if not isinstance(mine, list) or not mine:
            raise DataError(f"line {number}: choices is {mine!r:.40}", allowed="a list of texts")
    scores = model.rank(_column(rows, "text"), choices, **options)
    return [
        {"log_probabilities": mine.tolist(), "choice": options_of[int(mine.argmax())]}
        for mine, options_of in zip(scores, choices, strict=True)
    ]


def _embed(model: Any, rows: Rows, options: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"embedding": row.tolist()} for row in model.embed(_column(rows, "text"), **options)]


def _fill_mask(model: Any, rows: Rows, options: dict[str, Any]) -> list[dict[str, Any]]:
    filled = model.fill_mask(_column(rows, "text"), **options)
    return [
        {"masks": [[{"text": word.text, "probability": word.probability} for word in best] for best in masks]}
        for masks in filled
    ]


def _classify(model: Any, rows: Rows, options: dict[str, Any]) -> list[dict[str, Any]]:
    paired = any("second" in row for row in rows)
    labels = model.classify(_column(rows, "text"), _column(rows, "second") if paired else None, **options)
    return [{"label": label.label, "probabilities": label.probabilities} for label in labels]


def _answer(model: Any, rows: Rows, options: dict[str, Any]) -> list[dict[str, Any]]:
    answers = model.answer(_column(rows, "question"), _column(rows, "context"), **options)
    names = ("answer", "probability", "start", "end")
    return [dict(zip(names, answer, strict=True)) for answer in answers]


_TASKS: dict[str, Callable[[Any, Rows, dict[str, Any]], list[dict[str, Any]]]] = {
    "rank": _rank,
    "embed": _embed,
    "fill_mask": _fill_mask,
    "classify": _classify,
    "answer": _answer,
}
