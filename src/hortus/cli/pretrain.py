"""hortus pretrain: token shards and a tokenizer in, a BLOOM artifact out."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from hortus.objectives.config import PretrainConfig


def pretrain(
    shards: Path,
    *,
    tokenizer: Path,
    output: Path,
    resume: Annotated[bool, Parameter(negative=())] = False,
    json: Annotated[bool, Parameter(name="--json", negative=())] = False,
    config: Annotated[PretrainConfig | None, Parameter(name="*")] = None,
) -> int:
    """Train a BLOOM of any size on a corpus, from nothing.

    Parameters
    ----------
    shards
        Folder of token shards, as the recipe stage `shards` writes it.
    tokenizer
        Folder of the tokenizer that made them.
    output
        Where model/ (the artifact) and run/ (checkpoints, metrics.jsonl) go.
    resume
        Go on from the last good checkpoint.
    json
        Print one JSON object.
    config
        Model and training.
    """
    from hortus.objectives.pretrain import pretrain as train
    from hortus.tokenizer import Tokenizer

    settings = config if config is not None else PretrainConfig()
    result, network = train(settings, shards, Tokenizer.load(tokenizer), output, resume=resume)
    numbers = {
        "model": str(output / "model"),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "steps": result.steps,
        "stopped": result.stopped,
        "best": result.best,
        "seconds": result.seconds,
        "energy_kwh": result.energy_kwh,
    }
    if json:
        print(json_format.dumps(numbers))
    else:
        print(f"{result.steps} steps, ended by {result.stopped}; model: {output / 'model'}")
    return 0
