"""The text, tokenizers and shards of an ablation: one of each for every combination of data factors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hortus.budget.ablation_config import AblateConfig
from hortus.budget.ablation_trial import POOLED
from hortus.corpus import CorpusConfig
from hortus.corpus.config import ShardsConfig
from hortus.corpus.shards import ShardFolder
from hortus.corpus.stage import SHARDS
from hortus.corpus.stage import STAGE as CORPUS
from hortus.errors import DataError
from hortus.recipe import Stage, StageContext
from hortus.tokenizer import TokenizerConfig
from hortus.tokenizer.stage import STAGE as TOKENIZER

__all__ = ["prepare_data"]


def prepare_data(config: AblateConfig, setting: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """What a job says of its data; made where it is not there yet.

    Held-out text is always that of the common sources, in the setting's own tokens, so that bits per byte
    compare across corpora and tokenizers.
    """
    common = {**config.corpus, "sources": tuple(config.sources)}
    own = {**config.corpus, "sources": tuple(setting.get("sources", config.sources))}
    tokens = {"vocab_size": setting.get("vocab_size", config.vocab_size), "monolingual_check": False}
    text = _made(folder, CORPUS, CorpusConfig(**own), {})
    scored_text = _made(folder, CORPUS, CorpusConfig(**common), {})
    tokenizer = _made(folder, TOKENIZER, TokenizerConfig(**tokens), {"corpus": text})
    inputs = {"tokenizer": tokenizer}
    shards = _made(folder, SHARDS, ShardsConfig(), inputs | {"corpus": text})
    held_out = _made(folder, SHARDS, ShardsConfig(), inputs | {"corpus": scored_text})
    languages = setting.get("languages", config.languages)
    return {
        "tokenizer": str(tokenizer),
        "shards": str(shards),
        "held_out": str(held_out),
        "scored": _scored(held_out, config.floor_bytes),
        "alpha": setting.get("alpha", config.alpha),
        "code_share": setting.get("code_share", config.code_share),
        "languages": None if languages is None else list(languages),
    }


def _made(folder: Path, stage: Stage, config: Any, inputs: Mapping[str, Path]) -> Path:
    """The output of a stage with these settings, from its folder or made now."""
    content = [repr(config), *(f"{kind} {path.name}" for kind, path in sorted(inputs.items()))]
    kind = type(config).__name__.removesuffix("Config").lower()
    place = folder / f"{kind}-{hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]}"
    if not (place / "done").is_file():
        place.mkdir(parents=True, exist_ok=True)
        stage.run(config, StageContext(folder=place, inputs=inputs, resume=False, recipe={}))
        (place / "done").touch()
    return place


def _scored(shards: Path, floor_bytes: int) -> dict[str, list[str]]:
    """Groups of languages that are scored: one each, and those of little text together."""
    sizes = ShardFolder(shards, verify=False).num_bytes("validation")
    if not sizes:
        raise DataError("no document is held out to score on", do="raise corpus.validation_fraction")
    groups = {language: [language] for language, size in sizes.items() if size >= floor_bytes}
    small = [language for language in sizes if language not in groups]
    return groups | ({POOLED: small} if small else {})
