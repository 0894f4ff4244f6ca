"""Results in the shape of lm-evaluation-harness's results file, so that its readers read ours.

A task with one prompt is a task there; with several, each prompt is a task (`rte/GPT-3 style`) and the
dataset a group, whose `acc,none` is the mean over prompts, beside `acc_median,none` and `acc_iqr,none`. What
its readers do not know and ignore stands in `prompts`: each prompt's hash, and what became of the rows.
"""

from __future__ import annotations

import hashlib
import math
import time
from typing import TYPE_CHECKING, Any

import hortus
from hortus.device import describe_machine

if TYPE_CHECKING:
    from hortus.evaluation.outcome import Evaluation, TaskResult, VariantResult

__all__ = ["results_json"]

_OUTPUT_TYPES = {
    "choice": "multiple_choice",
    "generate": "generate_until",
    "perplexity": "loglikelihood_rolling",
}


def results_json(evaluation: Evaluation) -> dict[str, Any]:
    """Plain values for JSON: results, groups, configs, versions, n-shot, n-samples, prompts, config."""
    whole: dict[str, Any] = {"results": {}, "groups": {}, "group_subtasks": {}, "configs": {}, "versions": {}}
    whole |= {"n-shot": {}, "higher_is_better": {}, "n-samples": {}, "prompts": {}, "task_hashes": {}}
    for name, result in evaluation.tasks.items():
        several = len(result.variants) > 1
        subtasks = []
        for part in result.variants:
            key = f"{name}/{part.variant.name}" if several else name
            subtasks.append(key)
            _add_variant(whole, key, result, part)
        whole["group_subtasks"][name] = subtasks if several else []
        if several:
            whole["groups"][name] = _group(name, result)
            whole["results"][name] = whole["groups"][name]
    return whole | {
        "config": {
            "model": "hortus",
            "model_args": evaluation.model,
            "model_hash": evaluation.model_hash,
            **evaluation.settings,
            "numpy_seed": evaluation.settings["seed"],
            "fewshot_seed": evaluation.settings["seed"],
        },
        "requests": {"asked": evaluation.num_asked, "cached": evaluation.num_cached},
        "hortus_version": hortus.__version__,
        "machine": describe_machine(),
        "date": time.time(),
        "total_evaluation_time_seconds": str(evaluation.seconds),
    }


def _add_variant(whole: dict[str, Any], key: str, result: TaskResult, part: VariantResult) -> None:
    variant, num_documents = part.variant, len(part.variant.documents)
    values: dict[str, Any] = {"alias": key, "sample_len": num_documents}
    for metric, score in part.scores.items():
        values[f"{metric},none"] = score.value
        values[f"{metric}_stderr,none"] = _plain(score.standard_error)
    whole["results"][key] = values
    whole["higher_is_better"][key] = {m: score.higher_is_better for m, score in part.scores.items()}
    total = sum(variant.counts.get(status, 0) for status in ("ok", "skipped", "unlabelled", "malformed"))
    whole["n-samples"][key] = {"original": total or num_documents, "effective": num_documents}
    whole["n-shot"][key] = result.task.num_fewshot
    whole["versions"][key] = 1
    whole["configs"][key] = {
        "task": key,
        "output_type": _OUTPUT_TYPES[variant.kind],
        "doc_to_text": variant.prompt.partition("\0")[0],
        "num_fewshot": result.task.num_fewshot,
        "target_delimiter": " ",
        "fewshot_delimiter": "\n\n",
    }
    whole["prompts"][key] = {"hash": variant.prompt_hash, **variant.counts}
    digest = hashlib.sha256()
    for document in variant.documents:
        digest.update(repr((document.input, document.choices, document.targets)).encode("utf-8", "replace"))
    whole["task_hashes"][key] = digest.hexdigest()


def _group(name: str, result: TaskResult) -> dict[str, Any]:
    values: dict[str, Any] = {"alias": name}
    for metric in result.metrics():
        scores = result.scores(metric)
        if any(score.by_document is None for score in scores):
            values[f"{metric},none"] = sum(score.value for score in scores) / len(scores)
            continue
        spread = result.spread(metric)
        values[f"{metric},none"] = spread.mean
        values[f"{metric}_stderr,none"] = _plain(spread.standard_error)
        values[f"{metric}_median,none"] = spread.median
        values[f"{metric}_iqr,none"] = spread.interquartile_range
    return values


def _plain(error: float) -> float | str:
    # The harness writes N/A where there is no error; NaN is no JSON.
    return "N/A" if math.isnan(error) else error
