"""Putting questions to a model: each distinct one once, the longest together, kept answers first.

Choices of equal inputs are asked together whichever prompt or task they came from, so that an input is read
once; `LanguageModel.rank` shares it between its choices and batches by length.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hortus.evaluation.cache import Question, ResponseCache

__all__ = ["Asker"]

_AT_ONCE = 1024  # questions between two writes to the cache: what an interruption can lose
_WRITTEN_AT_ONCE = 256  # the same for generation, which takes longer


class Asker:
    """Answers from memory, from the cache, or from the model.

    Args:
        model: has `rank`, `score` and `generate`, as `hortus.language.LanguageModel`.
        cache: where answers are kept beyond this run.
        progress: show the model's own bars.
    """

    def __init__(self, model: Any, cache: ResponseCache | None = None, progress: bool = False):
        self._model, self._cache, self._progress = model, cache, progress
        self._known: dict[Question, Any] = {}
        self.num_asked = self.num_cached = 0

    def rank(self, inputs: Sequence[str], choices: Sequence[Sequence[str]]) -> list[np.ndarray]:
        """Log-probabilities of every input's choices: (number of choices,) each, in nats."""
        rows = list(zip(inputs, choices, strict=True))
        unknown = self._recall([("rank", text, choice) for text, mine in rows for choice in mine])
        by_text: dict[str, list[str]] = {}
        for _, text, choice in unknown:
            by_text.setdefault(text, []).append(choice)
        texts = sorted(by_text, key=len, reverse=True)
        for start in range(0, len(texts), _AT_ONCE):
            part = texts[start : start + _AT_ONCE]
            answers = self._model.rank(part, [by_text[text] for text in part], truncate=True)
            self._keep(
                {
                    ("rank", text, choice): float(value)
                    for text, values in zip(part, answers, strict=True)
                    for choice, value in zip(by_text[text], values, strict=True)
                }
            )
        return [np.array([self._known["rank", text, choice] for choice in mine]) for text, mine in rows]

    def score(self, texts: Sequence[str]) -> np.ndarray:
        """(number of texts,) log-probabilities of whole texts, in nats."""
        unknown = [text for _, text, _ in self._recall([("score", text, "") for text in texts])]
        for start in range(0, len(unknown), _AT_ONCE):
            part = unknown[start : start + _AT_ONCE]
            values = self._model.score(part, progress=self._progress).log_probabilities
            self._keep({("score", text, ""): float(v) for text, v in zip(part, values, strict=True)})
        return np.array([self._known["score", text, ""] for text in texts])

    def generate(
        self, texts: Sequence[str], settings: Mapping[str, Any], batch_size: int | None = None
    ) -> list[str]:
        """Continuations under the same settings; texts that are too long lose their beginning."""
        batch = {} if batch_size is None else {"batch_size": batch_size}
        how = json.dumps(dict(settings), sort_keys=True)
        unknown = [text for _, text, _ in self._recall([("generate", text, how) for text in texts])]
        for start in range(0, len(unknown), _WRITTEN_AT_ONCE):
            part = unknown[start : start + _WRITTEN_AT_ONCE]
            answers = self._model.generate(part, truncate=True, progress=self._progress, **batch, **settings)
            self._keep({("generate", text, how): a for text, a in zip(part, answers, strict=True)})
        return [self._known["generate", text, how] for text in texts]

    def _recall(self, questions: Sequence[Question]) -> list[Question]:
        """What is known neither here nor in the cache, without repetitions."""
        unknown = [one for one in dict.fromkeys(questions) if one not in self._known]
        if self._cache is not None:
            found = self._cache.read(unknown)
            self.num_cached += len(found)
            self._known |= found
            unknown = [one for one in unknown if one not in found]
        self.num_asked += len(unknown)
        return unknown

    def _keep(self, answers: Mapping[Question, float | str]) -> None:
        self._known |= answers
        if self._cache is not None:
            self._cache.write(answers)
