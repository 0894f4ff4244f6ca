"""From files to training batches: sources, steps, deduplication, split, token shards, packed loader."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hortus.registry import lazy_attributes

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

_HOMES = {
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

# Resolved when used: the loader needs torch, and reading the configuration must not import it.
__getattr__ = lazy_attributes(__name__, _HOMES)
