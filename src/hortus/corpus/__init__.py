"""From files to training batches: sources, steps, deduplication, split, token shards, packed loader."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hortus.corpus.build import CorpusStatistics, build_corpus, read_statistics
    from hortus.corpus.config import CorpusConfig, ShardsConfig
    from hortus.corpus.loader import PackedLoader, ValidationLoader
    from hortus.corpus.shards import ShardFolder, write_shards

__all__ = [
    "CorpusConfig",
    "CorpusStatistics",
    "PackedLoader",
    "ShardFolder",
    "ShardsConfig",
    "ValidationLoader",
    "build_corpus",
    "read_statistics",
    "write_shards",
]

_PLACES = {
    "CorpusConfig": "config",
    "ShardsConfig": "config",
    "CorpusStatistics": "build",
    "build_corpus": "build",
    "read_statistics": "build",
    "ShardFolder": "shards",
    "write_shards": "shards",
    "PackedLoader": "loader",
    "ValidationLoader": "loader",
}


def __getattr__(name: str) -> Any:
    # Resolved when used: the loader needs torch, and reading the configuration must not import it.
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
