"""The tables that say where things live, resolved only when they are used.

A new artifact kind or recipe stage is one line here; nothing registers itself by being imported.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from hortus.errors import DeviceError

__all__ = ["KINDS", "STAGES", "lazy_attributes", "require", "resolve"]

# config.json's model_type -> the function that opens such a folder.
KINDS: dict[str, str] = {
    "bert": "hortus.language.model:LanguageModel.load",
    "bloom": "hortus.language.model:LanguageModel.load",
    "distilbert": "hortus.language.model:LanguageModel.load",
    "hacnet": "hortus.affinity.model:HACNet.load",
    "hortus_decoder": "hortus.language.model:LanguageModel.load",
    "lda": "hortus.topics.lda:LatentDirichletAllocation.load",
    "t5": "hortus.language.model:LanguageModel.load",
    "vcnet": "hortus.counterfactual.storage:load",
}

# A recipe's stage kind -> its hortus.recipe.Stage.
STAGES: dict[str, str] = {
    "corpus": "hortus.corpus.stage:STAGE",
    "tokenizer": "hortus.tokenizer.stage:STAGE",
    "shards": "hortus.corpus.stage:SHARDS",
    "mixture": "hortus.corpus.stage:MIXTURE",
    "pretrain": "hortus.objectives.pretrain:STAGE",
    "labelled": "hortus.objectives.labelled:STAGE",
    "encoder": "hortus.objectives.encoder_stage:STAGE",
    "distill": "hortus.distillation.stage:DISTILL",
    "proof": "hortus.distillation.stage:PROOF",
    "on_device": "hortus.distillation.stage:ON_DEVICE",
    "ablation": "hortus.distillation.stage:ABLATION",
    "ablate": "hortus.budget.ablation:STAGE",
    "prompted": "hortus.objectives.prompted_stage:STAGE",
    "zero_shot": "hortus.evaluation.zero_shot:STAGE",
    "held_out": "hortus.evaluation.held_out:STAGE",
    "samples": "hortus.evaluation.samples:STAGE",
    "model": "hortus.language.publish:STAGE",
    "topics": "hortus.topics.stage:STAGE",
    "world": "hortus.retrieval.stage:WORLD",
    "probe": "hortus.retrieval.stage:PROBE",
    "adapt": "hortus.retrieval.stage:ADAPT",
    "complexes": "hortus.affinity.stage:COMPLEXES",
    "affinity": "hortus.affinity.stage:STAGE",
    "counterfactual": "hortus.counterfactual.stage:STAGE",
}


def resolve(reference: str) -> Any:
    """Import what "package.module:name.name" names.

    >>> resolve("hortus.errors:nearest").__name__
    'nearest'
    """
    module_name, _, path = reference.partition(":")
    value: Any = importlib.import_module(module_name)
    for name in path.split("."):
        value = getattr(value, name)
    return value


def lazy_attributes(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a room: its public names, imported from their modules when they are first used.

    A room's configuration is read without importing torch or a compiler, so its `__init__` imports nothing.

    Args:
        package: the room's `__name__`.
        homes: public name -> module in that package.

    >>> lazy_attributes("hortus", {"Stage": "recipe"})("Stage").__name__
    'Stage'
    """

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{homes[name]}"), name)

    return get


def require(module: str, *, extra: str) -> ModuleType:
    """Import an optional dependency, or say which extra brings it.

    Raises:
        DeviceError: the module is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise
        raise DeviceError(
            f"the package {module!r} is not installed", do=f"run: pip install 'hortus[{extra}]'"
        ) from error
