"""Choose the documents to hold out: whole clusters, by hash, with a floor for small languages.

A cluster is held out when a hash of its documents falls below `validation_fraction`. So the choice does
not depend on the order of files, and adding documents moves no other, except near a floor: languages
that hold out less than `validation_floor_bytes` that way take their next clusters in hash order. No
language holds out more than `validation_limit` of its bytes, or than `validation_ceiling_bytes`.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from hortus.corpus.config import CorpusConfig

__all__ = ["SplitEntry", "choose_validation"]


@dataclass(frozen=True, slots=True)
class SplitEntry:
    """What the split needs to know of one document."""

    id: str
    language: str
    num_bytes: int
    cluster: int


def choose_validation(entries: Sequence[SplitEntry], config: CorpusConfig) -> set[int]:
    """The numbers of the clusters to hold out.

    >>> entries = [SplitEntry(str(i), "en", 100, i) for i in range(1000)]
    >>> 20 < len(choose_validation(entries, CorpusConfig(validation_fraction=0.05))) < 90
    True
    """
    totals: dict[str, int] = defaultdict(int)
    sizes: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    names: dict[int, str] = {}
    for entry in entries:
        totals[entry.language] += entry.num_bytes
        sizes[entry.cluster][entry.language] += entry.num_bytes
        names[entry.cluster] = min(names.get(entry.cluster, entry.id), entry.id)
    limits = {
        language: min(config.validation_limit * total, config.validation_ceiling_bytes)
        for language, total in totals.items()
    }
    floor = config.validation_floor_bytes if config.validation_fraction > 0 else 0
    held: dict[str, int] = defaultdict(int)
    chosen: set[int] = set()
    for draw, number in sorted((_draw(name, config.seed), number) for number, name in names.items()):
        parts = sizes[number]
        wanted = draw < config.validation_fraction or any(held[language] < floor for language in parts)
        if wanted and all(held[language] + size <= limits[language] for language, size in parts.items()):
            chosen.add(number)
            for language, size in parts.items():
                held[language] += size
    return chosen


def _draw(name: str, seed: int) -> float:
    digest = hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
