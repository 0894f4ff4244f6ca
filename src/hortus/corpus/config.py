"""Settings of the corpus stages: what is read, what is dropped, what is held out, how shards are cut."""

from __future__ import annotations

from dataclasses import dataclass

from hortus.errors import ConfigError

__all__ = ["CODE", "CorpusConfig", "ShardsConfig"]

CODE = "code"  # the language name of every programming language, as one


@dataclass(frozen=True, kw_only=True)
class CorpusConfig:
    """Sources and the split.

    sources: folders, files or globs, and the built-in sources "chatterbot" (dialogue in 28 languages) and
        "stdlib" (the Python standard library's source as code, its docstrings and help topics as English).
    text_column, language_column: where jsonl and parquet rows keep them; the second may be absent.
    language: of documents that name none; None identifies it from the text.
    repair: read bytes that are not UTF-8 as Windows-1252 instead of stopping.
    part_characters: longer text and code files are cut at the paragraph or line end before this.
    min_characters: documents shorter than this are dropped, surrounding white space not counted.
    near_duplicate_overlap: documents whose shingles overlap at least this much stay on one side of the
        split, measured against the smaller of the two.
    validation_fraction: share of documents held out.
    validation_floor_bytes: held out per language at the least, as far as `validation_limit` allows.
    validation_limit: largest share of a language that may be held out.
    validation_ceiling_bytes: held out per language at the most.
    seed: another seed holds out other documents.
    """

    sources: tuple[str, ...] = ("chatterbot", "stdlib")
    text_column: str = "text"
    language_column: str = "language"
    language: str | None = None
    repair: bool = False
    part_characters: int = 20_000
    min_characters: int = 1
    near_duplicate_overlap: float = 0.5
    validation_fraction: float = 0.05
    validation_floor_bytes: int = 4096
    validation_limit: float = 0.25
    validation_ceiling_bytes: int = 5_000_000
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.sources:
            raise ConfigError("sources is empty", allowed="folders, files, globs, chatterbot, stdlib")
        for name in ("part_characters", "min_characters", "validation_ceiling_bytes"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}", allowed="1 or more")
        for name in ("validation_fraction", "validation_limit"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}", allowed="0 to below 1")
        if not 0 < self.near_duplicate_overlap <= 1:
            raise ConfigError(
                f"near_duplicate_overlap={self.near_duplicate_overlap}", allowed="above 0, to 1"
            )


@dataclass(frozen=True, kw_only=True)
class ShardsConfig:
    """How documents become token shards, and the mixture that the loader draws by default.

    max_shard_tokens: a new shard file begins after this many.
    alpha: exponent of the shares over languages, share proportional to tokens^alpha.
    code_share: the largest share of what is seen that "code" may take.
    """

    max_shard_tokens: int = 250_000_000
    alpha: float = 0.5
    code_share: float = 0.5

    def __post_init__(self) -> None:
        if self.max_shard_tokens < 1:
            raise ConfigError(f"max_shard_tokens={self.max_shard_tokens}", allowed="1 or more")
        for name in ("alpha", "code_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name}={getattr(self, name)}", allowed="0 to 1")
