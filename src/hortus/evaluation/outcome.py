"""What an evaluation found: scores by prompt, their spread by task, comparisons, and plain values of it all.

    result.tasks["super_glue/rte"].spread("acc")       # over its prompts
    result.compare(other)["super_glue/rte"]            # paired bootstrap against another model
    result.to_json()                                   # in lm-evaluation-harness's shape

Legend: P prompts, N documents.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hortus.errors import ConfigError, nearest
from hortus.evaluation.metrics import Score
from hortus.evaluation.results import results_json
from hortus.evaluation.statistics import Comparison, Spread, paired_bootstrap, score_table, spread_of
from hortus.evaluation.tasks import Task, Variant

__all__ = ["Evaluation", "TaskResult", "VariantResult"]


@dataclass(frozen=True)
class VariantResult:
    """Scores of a task under one prompt, and the answers they were made from, one a document."""

    variant: Variant
    scores: Mapping[str, Score]
    answers: Sequence[Any]


@dataclass(frozen=True)
class TaskResult:
    """Scores of a task under all its prompts."""

    task: Task
    variants: tuple[VariantResult, ...]

    def metrics(self) -> list[str]:
        """Names of the metrics that any prompt was measured by."""
        return list(dict.fromkeys(name for variant in self.variants for name in variant.scores))

    def scores(self, metric: str) -> list[Score]:
        """The metric's scores under the prompts that were measured by it."""
        return [variant.scores[metric] for variant in self.variants if metric in variant.scores]

    def table(self, metric: str) -> np.ndarray:
        """(P, N): each prompt's score of each document, NaN where the prompt did not apply.

        Raises:
            ConfigError: the metric was not measured, or is no mean over documents.
        """
        found = [score.by_document for score in self.scores(metric) if score.by_document is not None]
        if not found:
            raise ConfigError(
                f"{self.task.name} has no {metric!r} of single documents", do=nearest(metric, self.metrics())
            )
        return score_table(found)

    def spread(self, metric: str = "acc") -> Spread:
        """Mean with its error, median and quartiles over the prompts. See `table` for what it raises."""
        return spread_of(self.table(metric))

    @property
    def main_metric(self) -> str:
        """What is shown when nothing is asked for: accuracy, else the task's first metric."""
        return "acc" if "acc" in self.metrics() else self.metrics()[0]


@dataclass(frozen=True)
class Evaluation:
    """What a model scored: by task, with everything that the scores depend on.

    `num_asked` questions went to the model, `num_cached` were answered by the cache.
    """

    model: str
    model_hash: str
    tasks: Mapping[str, TaskResult]
    settings: Mapping[str, Any]
    seconds: float
    num_asked: int
    num_cached: int

    def rows(self) -> list[dict[str, Any]]:
        """One row a task: its main metric over its prompts."""
        return [_row(name, result) for name, result in self.tasks.items()]

    def compare(
        self, other: Evaluation, *, metric: str | None = None, over: str = "mean", draws: int = 2000
    ) -> dict[str, Comparison]:
        """This model's scores minus `other`'s, by task, documents resampled in pairs.

        Raises:
            ConfigError: the metric was not measured by document.
            DataError: the two did not answer the same documents.
        """
        return {
            name: paired_bootstrap(
                other.tasks[name].table(metric or result.main_metric),
                result.table(metric or result.main_metric),
                over=over,
                draws=draws,
            )
            for name, result in self.tasks.items()
            if name in other.tasks
        }

    def to_json(self) -> dict[str, Any]:
        """The results as lm-evaluation-harness writes them, with the prompts' hashes."""
        return results_json(self)

    def samples(self) -> Iterator[dict[str, Any]]:
        """Every document with its answer, as plain values."""
        for name, result in self.tasks.items():
            for part in result.variants:
                for place, document in enumerate(part.variant.documents):
                    answer = part.answers[place]
                    scored = {
                        metric: score.by_document[document.index]
                        for metric, score in part.scores.items()
                        if score.by_document is not None
                    }
                    yield {
                        "task": name,
                        "prompt": part.variant.name,
                        "prompt_hash": part.variant.prompt_hash,
                        "doc_id": document.index,
                        "input": document.input,
                        "choices": list(document.choices),
                        "gold": list(document.gold),
                        "targets": list(document.targets),
                        "answer": answer.tolist() if isinstance(answer, np.ndarray) else answer,
                        **scored,
                    }


def _row(name: str, result: TaskResult) -> dict[str, Any]:
    metric = result.main_metric
    scores = result.scores(metric)
    values = [score.value for score in scores]
    low, median, high = np.percentile(values, [25, 50, 75])
    error = scores[0].standard_error if len(scores) == 1 else math.nan
    if all(score.by_document is not None for score in scores):
        error = result.spread(metric).standard_error
    return {
        "task": name,
        "metric": metric,
        "prompts": len(scores),
        "mean": float(np.mean(values)),
        "stderr": error,
        "median": float(median),
        "iqr": float(high - low),
    }
