"""The recipe stage `model`: the finished artifact, with what was measured on its card."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hortus.artifact import read_json
from hortus.language.config import GenerationConfig
from hortus.recipe import Stage, StageContext, StageResult

__all__ = ["STAGE", "PublishConfig"]

# What reads well from a small model; a user's flags replace it.
_READABLE = GenerationConfig(temperature=0.8, top_p=0.95, repetition_penalty=1.1)


@dataclass(frozen=True, kw_only=True)
class PublishConfig:
    """What the card says beside what was measured, and how the model generates by default."""

    name: str | None = None
    """The model's name; the training stage's by default."""
    licence: str = "apache-2.0"
    """SPDX identifier of the licence that you give the model."""
    rail: bool = False
    """Add the BigScience RAIL use restrictions and name that licence."""
    notes: str = ""
    """A paragraph for the card."""
    generation: GenerationConfig = _READABLE
    """Settings that `generate` and `chat` start from."""


def run(config: PublishConfig, context: StageContext) -> StageResult:
    """Write the model folder from the training stage's model and the evaluation's results."""
    from hortus.language.model import LanguageModel

    model = LanguageModel.load(context.inputs["pretrain"] / "model", device="cpu")
    model.card = dataclasses.replace(
        model.card,
        name=config.name or model.card.name,
        licence=config.licence,
        rail=config.rail,
        notes=config.notes,
        results={**model.card.results, **_results(context)},
    )
    model.generation_config = config.generation
    model.recipe = dict(context.recipe)
    model.save(context.folder)
    return StageResult({"model": str(context.folder)})


def _results(context: StageContext) -> dict[str, Any]:
    folder: Path | None = context.inputs.get("held_out")
    return read_json(folder / "results.json") if folder is not None else {}


STAGE = Stage(PublishConfig, run, needs=("pretrain",), uses=("held_out",))
