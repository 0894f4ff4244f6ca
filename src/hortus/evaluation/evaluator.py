"""`evaluate`: a model, tasks, and scores with their prompts, spread and errors."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hortus.errors import ConfigError
from hortus.evaluation.asking import Asker
from hortus.evaluation.cache import ResponseCache, model_hash
from hortus.evaluation.files import read_tasks
from hortus.evaluation.metrics import choice_scores, coding_scores, generation_scores
from hortus.evaluation.outcome import Evaluation, TaskResult, VariantResult
from hortus.evaluation.tasks import Task, Variant, prompted_task
from hortus.prompts import TaskConfig

__all__ = ["GENERATION", "evaluate"]

GENERATION = {"max_new_tokens": 64, "temperature": 0.0, "stop": ("\n",)}
"""Settings of generated answers where neither task nor caller says otherwise."""


def evaluate(
    model: Any,
    tasks: Sequence[Task | TaskConfig | str | Path] | str | Path,
    *,
    limit: int | None = None,
    num_fewshot: int = 0,
    fewshot_split: str | None = None,
    mutual_info: bool = False,
    generation: Mapping[str, Any] | None = None,
    cache: str | Path | None = None,
    draws: int = 1000,
    seed: int = 1234,
    progress: bool = False,
) -> Evaluation:
    """Ask a model every question of the tasks and score its answers.

    Args:
        model: a `LanguageModel`, or anything with its `rank`, `score` and `generate`.
        tasks: `Task`s; prompted datasets as `TaskConfig`; files that `hortus.evaluation.read_tasks` knows.
        limit: the first rows of each dataset only.
        num_fewshot: answered examples before each prompt, of prompted datasets.
        fewshot_split: the split those come from; None takes other rows of the same one.
        mutual_info: also score choices after nothing, which doubles the work, for acc_mutual_info.
        generation: settings of generated answers, over `GENERATION` and under a task's own.
        cache: a file of answers (see `ResponseCache`).
        draws: resamplings for the errors of metrics that are no means.
        seed: of few-shot draws, random template filters and resampling.

    Raises:
        ConfigError: a setting is out of range, or there is no task.
        DataError: a task has no usable row, or a file is missing or malformed.

    >>> from hortus.evaluation import Document, Variant
    >>> class Model:
    ...     def rank(self, texts, choices, truncate=False):
    ...         return [np.array([-float(len(choice)) for choice in mine]) for mine in choices]
    >>> document = Document(0, "Shortest?", ("ab", "a"), gold=(1,))
    >>> task = Task("short", (Variant("plain", "choice", (document,)),))
    >>> evaluate(Model(), [task]).tasks["short"].variants[0].scores["acc"].value
    1.0
    """
    began = time.perf_counter()
    if limit is not None and limit < 1:
        raise ConfigError(f"limit={limit} leaves no row", allowed="1 or more, or None for all")
    if num_fewshot < 0:
        raise ConfigError(f"num_fewshot={num_fewshot}", allowed="0 or more")
    sources = [tasks] if isinstance(tasks, str | Path) else tasks
    found = [
        one
        for source in sources
        for one in (read_tasks(source, limit) if isinstance(source, str | Path) else [source])
    ]
    opened = [
        prompted_task(one, limit=limit, num_fewshot=num_fewshot, fewshot_split=fewshot_split, seed=seed)
        if isinstance(one, TaskConfig)
        else one
        for one in found
    ]
    names = [task.name for task in opened]
    if len(set(names)) < len(names) or not names:
        raise ConfigError(
            f"tasks: {', '.join(names) or 'none'}", allowed="one or more, each with its own name"
        )
    has_network = hasattr(model, "network") or isinstance(getattr(model, "fingerprint", None), str)
    hashed = model_hash(model) if cache is not None or has_network else ""
    with ResponseCache(cache, hashed) if cache is not None else nullcontext() as kept:
        asker = Asker(model, kept, progress)
        runner = _Runner(model, asker, mutual_info, dict(generation or {}), draws, seed)
        results = runner.run(opened)
    settings = {"limit": limit, "num_fewshot": num_fewshot, "seed": seed, "bootstrap_iters": draws}
    name = str(getattr(getattr(model, "card", None), "name", "") or type(model).__name__)
    return Evaluation(
        name, hashed, results, settings, time.perf_counter() - began, asker.num_asked, asker.num_cached
    )


@dataclass
class _Runner:
    model: Any
    asker: Asker
    mutual_info: bool
    generation: dict[str, Any]
    draws: int
    seed: int
    _tokens: dict[str, int] = field(default_factory=dict)

    def run(self, tasks: Sequence[Task]) -> dict[str, TaskResult]:
        # All prompts of all tasks at once: lengths sort better, and equal inputs meet.
        ranked = [d for t in tasks for v in t.variants if v.kind == "choice" for d in v.documents]
        if ranked:
            self.asker.rank([d.input for d in ranked], [d.choices for d in ranked])
        return {
            task.name: TaskResult(
                task, tuple(self._variant(variant) for variant in task.variants if variant.documents)
            )
            for task in tasks
        }

    def _variant(self, variant: Variant) -> VariantResult:
        documents = variant.documents
        inputs = [document.input for document in documents]
        if variant.kind == "perplexity":
            values = self.asker.score(inputs).tolist()
            return VariantResult(variant, coding_scores(documents, values, self.draws, self.seed), values)
        if variant.kind == "generate":
            settings = GENERATION | self.generation | dict(variant.settings)
            texts = [_picked(variant.pattern, text) for text in self.asker.generate(inputs, settings)]
            scores = generation_scores(documents, texts, variant.metrics, self.draws, self.seed)
            return VariantResult(variant, scores, texts)
        choices = [document.choices for document in documents]
        log_probabilities = self.asker.rank(inputs, choices)
        alone = self._unconditional(choices) if self.mutual_info else None
        counting = self._num_tokens if hasattr(self.model, "tokenizer") else None
        return VariantResult(
            variant, choice_scores(documents, log_probabilities, counting, alone), log_probabilities
        )

    def _unconditional(self, choices: Sequence[Sequence[str]]) -> list[np.ndarray]:
        """Log-probabilities after nothing: of the choice as a text; for an encoder-decoder after no input."""
        if getattr(getattr(self.model, "network", None), "architecture", "decoder") == "encoder-decoder":
            return self.asker.rank([""] * len(choices), choices)
        flat = self.asker.score([choice for mine in choices for choice in mine])
        return np.split(flat, np.cumsum([len(mine) for mine in choices])[:-1])

    def _num_tokens(self, choice: str) -> int:
        if choice not in self._tokens:
            self._tokens[choice] = len(self.model.tokenizer.encode(" " + choice))
        return self._tokens[choice]


def _picked(pattern: str, text: str) -> str:
    found = re.search(pattern, text) if pattern else None
    return found.group(1) if found else text
