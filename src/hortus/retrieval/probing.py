"""Probing: put every question to a model, keep its answers, score them by every rule (Mallen et al. 2023,
section 4).

Greedy, 15 tokens, first line. What a run has asked is in the cache after every few hundred questions, so a
run that was broken off, by an endpoint that went away for one, goes on where it was. Fixed examples are
read once for all the questions that share them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hortus.evaluation.cache import Question as CacheKey
from hortus.evaluation.cache import ResponseCache, model_hash
from hortus.retrieval.config import ProbeConfig
from hortus.retrieval.prompts import GENREAD, build_prompt, draw_shots
from hortus.retrieval.questions import Question
from hortus.retrieval.scoring import contains_answer, first_line, score_answers

__all__ = ["Asking", "Probe", "probe", "write_passages"]

_AT_ONCE = 256  # questions between two writes to the cache: what a broken run can lose
_LEAST = -50.0  # log-probability of an answer without a word
_GENREAD_TOKENS = 150


@dataclass(frozen=True)
class Probe:
    """What a model answered, one entry a question.

    answers: first lines.
    scores: metric -> (N,).
    confidence: (N,) log-probabilities of the answers in nats, if they were asked for.
    hits: (N,) whether the passage holds an answer; None without passages.
    prompt_tokens: mean length of the prompts, in the model's tokens, or in words of a remote model.
    seconds: processor and waiting time a question; 0 where all answers were known.
    """

    questions: tuple[Question, ...]
    answers: list[str]
    scores: dict[str, np.ndarray]
    confidence: np.ndarray | None
    hits: np.ndarray | None
    prompt_tokens: float
    seconds: float

    @property
    def accuracy(self) -> float:
        """By the published rule."""
        return float(self.scores["substring"].mean())


def probe(
    model: Any,
    questions: Sequence[Question],
    config: ProbeConfig | None = None,
    *,
    pool: Sequence[Question] | None = None,
    passages: Mapping[str, str] | None = None,
    cache: str | Path | None = None,
    progress: bool = False,
) -> Probe:
    """Ask a model every question.

    Args:
        model: a `hortus.language.LanguageModel`, or a `RemoteModel` for any OpenAI-compatible endpoint.
        pool: rows that examples are drawn from; None is `questions`, as published. Give a training split
        for
            prompts that show nothing of what is scored.
        passages: question's id -> passage that stands before it; examples whose ids it has get theirs.
        cache: a file in which answers are kept between runs.
        progress: show bars on stderr.

    Raises:
        ConfigError, DataError: the examples cannot be drawn.
        DeviceError: an endpoint does not answer; what it has answered is kept.
    """
    config = config or ProbeConfig()
    pool = questions if pool is None else pool
    shots = [draw_shots(question, pool, config) for question in questions]
    prompts = [
        build_prompt(question, mine, passages) for question, mine in zip(questions, shots, strict=True)
    ]
    began = time.perf_counter()
    with Asking(model, cache, progress) as asking:
        written = [""] * len(prompts)
        for rows in _together(questions, config):
            new = asking.generate([prompts[row] for row in rows], config.max_new_tokens, config.batch_size)
            for row, text in zip(rows, new, strict=True):
                written[row] = text
        seconds = time.perf_counter() - began if asking.num_asked else 0.0
        answers = [first_line(text) for text in written]
        confidence = asking.confidence(prompts, answers) if config.confidence else None
    hits = None
    if passages is not None:
        hits = np.array([contains_answer(passages.get(one.id, ""), one.answers) for one in questions])
    return Probe(
        questions=tuple(questions),
        answers=answers,
        scores=score_answers(answers, [one.answers for one in questions]),
        confidence=confidence,
        hits=hits,
        prompt_tokens=_mean_length(model, prompts),
        seconds=seconds / max(1, len(prompts)),
    )


def _together(questions: Sequence[Question], config: ProbeConfig) -> list[list[int]]:
    """Rows whose prompts begin alike, so that the beginning is read once."""
    if config.shots == 0 or config.drawing == "fresh":
        return [list(range(len(questions)))]
    groups: dict[str, list[int]] = {}
    for row, question in enumerate(questions):
        groups.setdefault(question.relation, []).append(row)
    return list(groups.values())


def _mean_length(model: Any, prompts: Sequence[str]) -> float:
    tokenizer = getattr(model, "tokenizer", None)
    if tokenizer is None:
        return float(np.mean([len(prompt.split()) for prompt in prompts]))
    return float(np.mean([len(row) for row in tokenizer.encode_batch(list(prompts))]))


def write_passages(
    model: Any, questions: Sequence[Question], *, cache: str | Path | None = None, progress: bool = False
) -> dict[str, str]:
    """GenRead: the model writes the passage itself (Yu et al. 2023), 150 tokens, question's id ->
    passage."""
    prompts = [GENREAD.format(question=question.question) for question in questions]
    with Asking(model, cache, progress) as asking:
        texts = asking.generate(prompts, _GENREAD_TOKENS, 16)
    return {question.id: text.strip() for question, text in zip(questions, texts, strict=True)}


class Asking:
    """A model and its kept answers.

    Args:
        model: local or remote.
        cache: a file, or None to keep nothing.
    """

    def __init__(self, model: Any, cache: str | Path | None = None, progress: bool = False):
        self._model, self._progress = model, progress
        self._local = hasattr(model, "network")
        self._cache = None
        if cache is not None:
            name = model_hash(model) if self._local else f"{model.url} {model.name}"
            self._cache = ResponseCache(cache, name)
        self.num_asked = 0

    def __enter__(self) -> Asking:
        return self

    def __exit__(self, *_: object) -> None:
        if self._cache is not None:
            self._cache.close()

    def generate(self, prompts: Sequence[str], max_new_tokens: int, batch_size: int) -> list[str]:
        """Greedy continuations; prompts that are too long lose their beginning."""
        how = json.dumps({"max_new_tokens": max_new_tokens})
        keys = [("generate", prompt, how) for prompt in prompts]
        # A remote endpoint cuts, or refuses, by rules of its own.
        options = {"truncate": True, "batch_size": batch_size} if self._local else {}

        def ask(part: Sequence[CacheKey]) -> list[str]:
            texts = [text for _, text, _ in part]
            written: list[str] = self._model.generate(
                texts, max_new_tokens=max_new_tokens, temperature=0.0, progress=self._progress, **options
            )
            return written

        return self._answers(keys, ask)

    def confidence(self, prompts: Sequence[str], answers: Sequence[str]) -> np.ndarray:
        """(N,) log-probabilities of the model's own answers, in nats."""
        keys = [("rank", prompt, answer.strip()) for prompt, answer in zip(prompts, answers, strict=True)]
        options = {"truncate": True, "progress": self._progress} if self._local else {}

        def ask(part: Sequence[CacheKey]) -> list[float]:
            scored = self._model.rank([p for _, p, _ in part], [[a] for _, _, a in part], **options)
            return [float(values[0]) for values in scored]

        known = self._answers([key for key in keys if key[2]], ask)
        found = iter(known)
        return np.array([next(found) if key[2] else _LEAST for key in keys])

    def _answers(self, keys: Sequence[CacheKey], ask: Any) -> list[Any]:
        known = {} if self._cache is None else self._cache.read(list(dict.fromkeys(keys)))
        unknown = [key for key in dict.fromkeys(keys) if key not in known]
        self.num_asked += len(unknown)
        for start in range(0, len(unknown), _AT_ONCE):
            part = unknown[start : start + _AT_ONCE]
            new = dict(zip(part, ask(part), strict=True))
            known |= new
            if self._cache is not None:
                self._cache.write(new)
        return [known[key] for key in keys]
