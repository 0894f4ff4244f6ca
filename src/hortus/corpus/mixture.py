"""How much of what is in the mixture: target ratios, temperature, epochs a source, and a preview.

Ratios are shares of tokens by language or by source; what a ratio leaves open is shared by size^alpha. No
language or source is repeated more than `max_epochs` times: what that takes away goes to the others. The
mixture is written as documents.parquet in which a training document stands as often as its epochs say, a
fraction being a share of the documents chosen by hash.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hortus.artifact import replacing_file, write_json
from hortus.config import parse_yaml
from hortus.corpus.documents import DOCUMENT_SCHEMA
from hortus.corpus.splitting import DOCUMENTS
from hortus.errors import ConfigError, DataError, nearest
from hortus.report import Table
from hortus.tokenizer import Tokenizer, language_shares

__all__ = ["Mixture", "MixtureConfig", "mix", "plan_mixture", "published_ratios"]


@dataclass(frozen=True, kw_only=True)
class MixtureConfig:
    """Targets of a mixture.

    ratios: shares of tokens by language, or "roots" for the published ones; what the corpus lacks is left
        out and the rest scaled.
    alpha: languages without a ratio share what is left in proportion to tokens^alpha.
    source_epochs: how often a source is seen, before the ratios; 0 leaves it out.
    max_epochs: no language is repeated more often.
    tokens: size of the mixture; None takes as many as the corpus has.
    """

    ratios: dict[str, float] | str = field(default_factory=dict)
    alpha: float = 1.0
    source_epochs: dict[str, float] = field(default_factory=dict)
    max_epochs: float = 4.0
    tokens: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.ratios, dict) and sum(self.ratios.values()) > 1 + 1e-9:
            raise ConfigError(f"the ratios sum to {sum(self.ratios.values()):.4f}", allowed="at most 1")
        if not 0 <= self.alpha <= 1:
            raise ConfigError(f"alpha={self.alpha}", allowed="0 to 1")
        if self.max_epochs <= 0 or any(epochs < 0 for epochs in self.source_epochs.values()):
            raise ConfigError("negative epochs", allowed="max_epochs above 0, source_epochs 0 or more")


@dataclass(frozen=True)
class Mixture:
    """A planned mixture: by language tokens there are, share of what is seen, epochs."""

    tokens: Mapping[str, int]
    shares: Mapping[str, float]
    epochs: Mapping[str, float]
    source_epochs: Mapping[str, float]

    def table(self) -> Table:
        """The preview."""
        rows = [
            [language, self.tokens[language], f"{share:.3%}", round(self.epochs[language], 3)]
            for language, share in sorted(self.shares.items(), key=lambda item: -item[1])
        ]
        return Table("Mixture", ["language", "tokens", "share of what is seen", "epochs"], rows)


def published_ratios() -> dict[str, float]:
    """The ROOTS shares by language, with code as one.

    >>> ratios = published_ratios()
    >>> ratios["en"], round(sum(ratios.values()), 2)
    (0.3031, 1.0)
    """
    text = resources.files("hortus.corpus").joinpath("data/roots_ratios.yaml").read_text("utf-8")
    return {name: percent / 100 for name, percent in parse_yaml(text, "data/roots_ratios.yaml").items()}


def plan_mixture(tokens: Mapping[str, int], config: MixtureConfig) -> Mixture:
    """Shares and epochs by language from the tokens that are there (sources' epochs already in them).

    Raises:
        ConfigError: a ratio names a language that is not there.
        DataError: there is nothing.

    >>> mixture = plan_mixture({"en": 900, "sw": 100}, MixtureConfig(ratios={"sw": 0.5}, max_epochs=2))
    >>> {language: round(share, 3) for language, share in mixture.shares.items()}
    {'sw': 0.2, 'en': 0.8}
    """
    tokens = {language: count for language, count in tokens.items() if count > 0}
    total = sum(tokens.values())
    if not total:
        raise DataError("there is nothing to mix", do="build a corpus with some text")
    size = config.tokens or total
    shares = _wanted_shares(tokens, config)
    limits = {language: config.max_epochs * count / size for language, count in tokens.items()}
    shares = _limited(shares, limits)
    epochs = {language: share * size / tokens[language] for language, share in shares.items()}
    return Mixture(tokens, shares, epochs, config.source_epochs)


def _wanted_shares(tokens: Mapping[str, int], config: MixtureConfig) -> dict[str, float]:
    if isinstance(config.ratios, str):
        if config.ratios != "roots":
            raise ConfigError(f"ratios={config.ratios!r}", allowed="roots, or shares by language")
        there = {name: share for name, share in published_ratios().items() if name in tokens}
        return {name: share / sum(there.values()) for name, share in there.items()} or dict(tokens)
    for language in config.ratios:
        if language not in tokens:
            raise ConfigError(
                f"ratios name {language!r}, which the corpus lacks", do=nearest(language, tokens)
            )
    others = {language: count for language, count in tokens.items() if language not in config.ratios}
    rest = 1 - sum(config.ratios.values())
    if not others:
        return {language: share / (1 - rest) for language, share in config.ratios.items()}
    shared = language_shares(others, config.alpha)
    return {**config.ratios, **{language: rest * share for language, share in shared.items()}}


def _limited(shares: dict[str, float], limits: Mapping[str, float]) -> dict[str, float]:
    """Shares cut to their limits; what is cut goes to the others in proportion."""
    held: dict[str, float] = {}
    free = dict(shares)
    while free:
        left = 1 - sum(held.values())
        total = sum(free.values())
        scaled = {name: share / total * left for name, share in free.items()} if total else free
        over = [name for name, share in scaled.items() if share > limits[name]]
        if not over:
            return {name: {**held, **scaled}[name] for name in shares}
        held.update({name: limits[name] for name in over})
        free = {name: share for name, share in free.items() if name not in held}
    return {name: held[name] for name in shares}


def mix(
    corpus: str | Path,
    config: MixtureConfig,
    folder: str | Path | None = None,
    tokenizer: Tokenizer | None = None,
) -> Mixture:
    """Plan the mixture of a corpus folder, and write it where a folder is given.

    Args:
        tokenizer: counts real tokens; without one, bytes are counted.

    Raises:
        ConfigError: a ratio or source that the corpus lacks.
        DataError: no corpus is there.
    """
    path = Path(corpus) / DOCUMENTS
    if not path.is_file():
        raise DataError(f"no documents at {path}", do="build a corpus first: hortus corpus build")
    counts = Counter[str]()
    sources: set[str] = set()
    for batch in _batches(path):
        for row, size in zip(batch, _sizes([row["text"] for row in batch], tokenizer), strict=True):
            name = _source_name(row["source"])
            sources.add(name)
            if row["split"] == "train":
                counts[row["language"]] += round(size * config.source_epochs.get(name, 1.0))
    for name in config.source_epochs:
        if name not in sources:
            raise ConfigError(f"source_epochs names {name!r}", do=nearest(name, sources))
    mixture = plan_mixture(counts, config)
    if folder is not None:
        _write(path, mixture, Path(folder))
    return mixture


def _write(path: Path, mixture: Mixture, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (
        replacing_file(folder / DOCUMENTS) as temporary,
        pq.ParquetWriter(temporary, DOCUMENT_SCHEMA, compression="zstd") as writer,
    ):
        for batch in _batches(path):
            rows = [row for row in batch for _ in range(_copies(row, mixture))]
            if rows:
                writer.write_table(pa.Table.from_pylist(rows, DOCUMENT_SCHEMA))
    write_json(folder / "mixture.json", {"shares": dict(mixture.shares), "epochs": dict(mixture.epochs)})


def _copies(row: dict[str, Any], mixture: Mixture) -> int:
    if row["split"] != "train":
        return 1
    epochs = mixture.epochs.get(row["language"], 0.0)
    epochs *= mixture.source_epochs.get(_source_name(row["source"]), 1.0)
    draw = int.from_bytes(hashlib.blake2b(row["id"].encode(), digest_size=8).digest(), "big") / 2**64
    return int(epochs) + (draw < epochs % 1)


def _batches(path: Path) -> Iterator[list[dict[str, Any]]]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=1024):
            yield batch.to_pylist()


def _sizes(texts: list[str], tokenizer: Tokenizer | None) -> list[int]:
    if tokenizer is None:
        return [len(text.encode()) for text in texts]
    return [len(ids) for ids in tokenizer.encode_batch(texts)]


def _source_name(source: str) -> str:
    return source.partition(":")[0] if ":" in source else str(Path(source).parent)
