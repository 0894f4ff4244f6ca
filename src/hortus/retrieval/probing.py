"""Probing: put every question to a model, keep its answers, score them by every rule (Mallen et al. 2023,
section 4).

Greedy, 15 tokens, first line. What a run has asked is in the cache after every few hundred questions, so a
run that was broken off, by an endpoint that went away for one, goes on where it was. Fixed examples are
read once for all the questions that share them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hortus.evaluation.asking import Asker
from hortus.evaluation.cache import ResponseCache, model_hash
from hortus.retrieval.config import ProbeConfig
from hortus.retrieval.prompts import GENREAD, build_prompt, draw_shots
from hortus.retrieval.questions import Question
from hortus.retrieval.scoring import contains_answer, first_line, score_answers

__all__ = ["Probe", "asking", "greedy", "own_confidence", "probe", "write_passages"]

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
        pool: rows that examples are drawn from; None is `questions`, as published. Give a training split for
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
    with asking(model, cache, progress) as asker:
        written = [""] * len(prompts)
        for rows in _together(questions, config):
            new = asker.generate(
                [prompts[row] for row in rows], greedy(config.max_new_tokens), config.batch_size
            )
            for row, text in zip(rows, new, strict=True):
                written[row] = text
        seconds = time.perf_counter() - began if asker.num_asked else 0.0
        answers = [first_line(text) for text in written]
        confidence = own_confidence(asker, prompts, answers) if config.confidence else None
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


def greedy(max_new_tokens: int) -> dict[str, Any]:
    """Settings of generation: the likeliest token each time."""
    return {"max_new_tokens": max_new_tokens, "temperature": 0.0}


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
    """GenRead: the model writes the passage itself (Yu et al. 2023), 150 tokens: question's id -> passage."""
    prompts = [GENREAD.format(question=question.question) for question in questions]
    with asking(model, cache, progress) as asker:
        texts = asker.generate(prompts, greedy(_GENREAD_TOKENS))
    return {question.id: text.strip() for question, text in zip(questions, texts, strict=True)}


@contextmanager
def asking(model: Any, cache: str | Path | None = None, progress: bool = False) -> Iterator[Asker]:
    """What puts questions to a model, local or remote, and keeps the answers in a file where one is given."""
    kept = ResponseCache(cache, model_hash(model)) if cache is not None else nullcontext()
    with kept as opened:
        yield Asker(model, opened, progress)


def own_confidence(asker: Asker, prompts: Sequence[str], answers: Sequence[str]) -> np.ndarray:
    """(N,) log-probabilities of the model's own answers, in nats."""
    rows = [row for row, answer in enumerate(answers) if answer.strip()]
    found = asker.rank([prompts[row] for row in rows], [[answers[row].strip()] for row in rows])
    confidence = np.full(len(answers), _LEAST)
    confidence[rows] = [values[0] for values in found]
    return confidence
