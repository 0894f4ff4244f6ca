"""Recall@k: the share of questions for which one of the first k passages holds an answer."""

from __future__ import annotations

from collections.abc import Sequence

from hortus.retrieval.bm25 import Hit
from hortus.retrieval.questions import Question
from hortus.retrieval.scoring import contains_answer

__all__ = ["recall_at"]


def recall_at(
    questions: Sequence[Question], found: Sequence[Sequence[Hit]], ks: Sequence[int] = (1, 5, 20)
) -> dict[int, float]:
    """k -> recall@k; an answer counts as whole words of title or text, case and accents aside.

    >>> from hortus.retrieval.passages import Passage
    >>> question = Question("1", "What color is snow?", "snow", "color", ("white",))
    >>> hits = [Hit(Passage("a", "", "Coal is black."), 2.0), Hit(Passage("b", "", "Snow is white."), 1.0)]
    >>> recall_at([question], [hits], ks=(1, 2))
    {1: 0.0, 2: 1.0}
    """
    first = []
    for question, hits in zip(questions, found, strict=True):
        texts = [f"{hit.passage.title} {hit.passage.text}" for hit in hits[: max(ks)]]
        places = (n for n, text in enumerate(texts) if contains_answer(text, question.answers))
        first.append(next(places, max(ks)))
    return {k: sum(place < k for place in first) / max(1, len(first)) for k in ks}
