"""Evaluation: tasks, metrics, statistics, results. Nothing heavy is imported until a name is used.

result = evaluate(model, ["arc_easy.jsonl", TaskConfig(...)], cache="answers.sqlite")
result.rows(), result.compare(other), result.to_json()
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hortus.registry import lazy_attributes

if TYPE_CHECKING:
    from hortus.evaluation.cache import ResponseCache, model_hash
    from hortus.evaluation.evaluator import evaluate
    from hortus.evaluation.files import read_tasks
    from hortus.evaluation.metrics import Score
    from hortus.evaluation.outcome import Evaluation, TaskResult, VariantResult
    from hortus.evaluation.statistics import Comparison, Spread, paired_bootstrap, spread_of
    from hortus.evaluation.tasks import Document, Task, Variant, prompted_task

__all__ = [
    "Comparison",
    "Document",
    "Evaluation",
    "ResponseCache",
    "Score",
    "Spread",
    "Task",
    "TaskResult",
    "Variant",
    "VariantResult",
    "evaluate",
    "model_hash",
    "paired_bootstrap",
    "prompted_task",
    "read_tasks",
    "spread_of",
]

_PLACES = {
    "cache": ("ResponseCache", "model_hash"),
    "evaluator": ("evaluate",),
    "files": ("read_tasks",),
    "metrics": ("Score",),
    "outcome": ("Evaluation", "TaskResult", "VariantResult"),
    "statistics": ("Comparison", "Spread", "paired_bootstrap", "spread_of"),
    "tasks": ("Document", "Task", "Variant", "prompted_task"),
}

__getattr__ = lazy_attributes(__name__, {name: place for place, names in _PLACES.items() for name in names})
