"""Prompts as published (Mallen et al. 2023, section 4 and appendix): "Q: ... A:", examples, passages.

What differs: every question has a random generator of its own, seeded with the seed and the question's id,
so that the order of the questions, or a run broken off, changes nothing. The distribution is the published
one.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from hortus.errors import ConfigError, DataError
from hortus.retrieval.config import ProbeConfig
from hortus.retrieval.questions import Question

__all__ = ["GENREAD", "build_prompt", "draw_shots", "format_prompt"]

GENREAD = "Generate a background document from Wikipedia to answer the given question. {question}"
_BETWEEN = "\n\n"


def format_prompt(question: str) -> str:
    """The question as the model is asked it.

    >>> format_prompt("What color is snow?")
    'Q: What color is snow? A:'
    """
    return f"Q: {question} A:"


def build_prompt(
    question: Question, shots: Sequence[Question] = (), passages: Mapping[str, str] | None = None
) -> str:
    """Examples and the question, a blank line between them; each after its own passage where it has one.

    Args:
        passages: question's id -> passage text.

    >>> snow = Question("1", "What color is snow?", "snow", "color", ("white",))
    >>> coal = Question("2", "What color is coal?", "coal", "color", ("black", "jet"))
    >>> build_prompt(snow, [coal])
    'Q: What color is coal? A: black\\n\\nQ: What color is snow? A:'
    >>> build_prompt(snow, passages={"1": "Snow is white."})
    'Snow is white.\\n\\nQ: What color is snow? A:'
    """
    passages = passages or {}
    parts = []
    for one in (*shots, question):
        if passages.get(one.id):
            parts.append(passages[one.id])
        label = "" if one is question else f" {one.label}"
        parts.append(format_prompt(one.question) + label)
    return _BETWEEN.join(parts)


def draw_shots(question: Question, pool: Sequence[Question], config: ProbeConfig) -> list[Question]:
    """The examples of one question; never the question itself.

    With source "others", shots // (number of other relations) rows come from each relation but the
    question's, then all are shuffled: one each for PopQA's 15 shots. With "sample" they are drawn from all
    rows alike, as published for EntityQuestions.

    Raises:
        ConfigError: fewer shots than relations to draw from.
        DataError: too few rows.
    """
    if config.shots == 0:
        return []
    key = question.id if config.drawing == "fresh" else question.relation
    draw = random.Random(f"{config.seed} {key}")
    if config.source == "sample":
        rows = [one for one in pool if one.id != question.id]
        _check_enough(rows, config.shots, "the pool")
        return draw.sample(rows, config.shots)
    groups: dict[str, list[Question]] = {}
    for one in pool:
        if one.relation != question.relation:
            groups.setdefault(one.relation, []).append(one)
    each = config.shots // max(1, len(groups))
    if each == 0:
        raise ConfigError(
            f"shots={config.shots} for {len(groups)} other relations",
            allowed=f"0, or {len(groups)} or more",
            do='or draw with source="sample"',
        )
    chosen = []
    for relation, rows in groups.items():
        _check_enough(rows, each, f"the relation {relation!r}")
        chosen += draw.sample(rows, each)
    draw.shuffle(chosen)
    return chosen


def _check_enough(rows: Sequence[Question], needed: int, where: str) -> None:
    if len(rows) < needed:
        raise DataError(f"{where} has {len(rows)} rows for {needed} examples", do="take fewer shots")
