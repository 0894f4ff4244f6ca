"""From rendered prompts to tiles: choices are ranked, open answers written and measured.

`hortus.evaluation.Asker` puts the questions: each distinct one once, answers kept on disk by model, filled
prompt and choice, so that a wording that was tried before costs a look-up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hortus.evaluation import Document
from hortus.evaluation.asking import Asker
from hortus.evaluation.metrics import generation_scores
from hortus.prompts import Rendered
from hortus.studio.config import Task

__all__ = ["Answered", "answer"]

_RIGHT = 0.5  # a graded score (F1, ROUGE) from which a tile counts as right


@dataclass(frozen=True)
class Answered:
    """What a model said to one filled prompt. Probabilities are over the choices."""

    state: str
    predicted: str | None = None
    gold: str | None = None
    confidence: float | None = None
    score: float | None = None
    log_probabilities: list[float] | None = None
    probabilities: list[float] | None = None
    written: str | None = None

    def tile(self, row: int) -> list[Any]:
        return [row, self.state, self.predicted, self.gold, self.confidence, self.score]


def answer(asker: Asker, task: Task, rendered: Sequence[Rendered]) -> list[Answered]:
    """The model's answers to rendered prompts, in order."""
    usable = [one for one in rendered if one.status in ("ok", "unlabelled") and one.input]
    ranked = [one for one in usable if one.choices]
    open_ended = [one for one in usable if not one.choices]
    answers: dict[int, Answered] = {}
    for one, (scores, compared) in zip(ranked, _rank(asker, task, ranked), strict=True):
        answers[id(one)] = _chosen(one, scores, compared)
    if open_ended:
        settings = {"max_new_tokens": task.max_new_tokens, "stop": list(task.stop), "temperature": 0.0}
        texts = asker.generate([one.input for one in open_ended], settings)
        for one, text in zip(open_ended, texts, strict=True):
            answers[id(one)] = _written(one, text.strip(), task.metric)
    return [answers.get(id(one), Answered("none")) for one in rendered]


def _rank(asker: Asker, task: Task, rendered: Sequence[Rendered]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Each prompt's choices: log-probabilities, and what they are compared by."""
    if not rendered:
        return []
    choices = [one.choices or [] for one in rendered]
    scores = asker.rank([one.input for one in rendered], choices)
    if task.scoring == "per_character":
        lengths = [np.array([max(1, len(choice)) for choice in mine]) for mine in choices]
        return [(one, one / length) for one, length in zip(scores, lengths, strict=True)]
    if task.scoring == "beyond_prior":
        priors = asker.rank([""] * len(choices), choices)
        return [(one, one - prior) for one, prior in zip(scores, priors, strict=True)]
    return [(one, one) for one in scores]


def _chosen(rendered: Rendered, scores: np.ndarray, compared: np.ndarray) -> Answered:
    shifted = np.exp(compared - compared.max()) if np.isfinite(compared.max()) else np.ones(len(compared))
    probabilities = shifted / shifted.sum()
    best = int(np.argmax(compared))
    choices = rendered.choices or []
    state, gold, score = _judged(rendered, float(choices[best] in rendered.targets))
    return Answered(
        state,
        choices[best],
        gold,
        float(probabilities[best]),
        score,
        # JSON has no infinity, which is what an endpoint that writes gives to what it did not write.
        [float(value) if np.isfinite(value) else -1e9 for value in scores],
        probabilities.tolist(),
    )


def _written(rendered: Rendered, text: str, metric: str) -> Answered:
    document = Document(0, rendered.input, targets=tuple(rendered.targets))
    by_document = generation_scores([document], [text], [metric])[metric].by_document or {}
    state, gold, score = _judged(rendered, by_document.get(0, 0.0))
    return Answered(state, text, gold, None, score, written=text)


def _judged(rendered: Rendered, score: float) -> tuple[str, str | None, float | None]:
    """State, right answer and score; without a right answer there is nothing to judge by."""
    if not rendered.targets:
        return "none", None, None
    return "right" if score >= _RIGHT else "wrong", rendered.targets[0], score
