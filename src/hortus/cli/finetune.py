"""hortus finetune: a model and examples in, a model that does the task out."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from hortus.objectives.finetune_config import FinetuneConfig


def finetune(
    model: str,
    *,
    task: str,
    data: Path,
    output: Path,
    validation: Path | None = None,
    resume: Annotated[bool, Parameter(negative=())] = False,
    json: Annotated[bool, Parameter(name="--json", negative=())] = False,
    config: Annotated[FinetuneConfig | None, Parameter(name="*")] = None,
) -> int:
    """Train a model further: on texts, prompts, to classify, or to find answers.

    Parameters
    ----------
    model
        A folder or a hub id.
    task
        lm (texts in the column text), classify (text, label), answer (question, context, answer) or
        prompted (a mixture of prompted datasets).
    data
        The training rows: jsonl, csv, tsv or parquet; of prompted, the mixture's yaml file.
    output
        Where model/ (the artifact), run/ (checkpoints, metrics.jsonl) and, with adapters, adapter/ go.
    validation
        Rows to choose the best checkpoint by (default: a share of the training rows).
    resume
        Go on from the last good checkpoint.
    json
        Print one JSON object.
    config
        Rows, adapters and training.
    """
    from hortus.objectives.finetune import finetune as train

    settings = config if config is not None else FinetuneConfig()
    result, prepared = train(model, task, data, output, settings, validation=validation, resume=resume)
    numbers = {
        "model": str(output / "model"),
        "steps": result.steps,
        "stopped": result.stopped,
        "best": result.best,
        "baselines": dict(prepared.baselines),
        "seconds": result.seconds,
        "energy_kwh": result.energy_kwh,
    }
    if json:
        print(json_format.dumps(numbers))
        return 0
    best = {name: value for name, value in (result.best or {}).items() if name.startswith("validation_")}
    for name, value in {**best, **prepared.baselines}.items():
        print(f"{name.replace('_', ' ')}: {value:.4f}")
    print(f"{result.steps} steps, ended by {result.stopped}; model: {output / 'model'}")
    return 0
