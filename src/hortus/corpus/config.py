"""Settings of the corpus stages: what is read, what is dropped, what is held out, how shards are cut."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from hortus.errors import ConfigError, nearest

__all__ = [
    "CODE",
    "STEP_NAMES",
    "STEP_SETS",
    "CorpusConfig",
    "NearDuplicatesConfig",
    "RepeatsConfig",
    "ShardsConfig",
    "expand_steps",
]

CODE = "code"  # the language name of every programming language, as one


STEP_NAMES = (
    "length",
    "mojibake",
    "cleaning",
    "template_lines",
    "language",
    "rewrite",
    "filters",
    "code",
    "perplexity",
    "exact",
    "addresses",
    "near",
    "repeats",
    "evaluation",
    "privacy",
)
# Names that stand for several steps. ROOTS cut repeats and redacted in its web part only; here everywhere.
STEP_SETS = {
    "light": ("length", "language", "exact"),
    "roots": (
        "length", "mojibake", "cleaning", "template_lines", "language", "rewrite", "filters", "code",
        "exact", "addresses", "near", "repeats", "privacy",
    ),
}  # fmt: skip


def expand_steps(names: tuple[str, ...]) -> tuple[str, ...]:
    """The steps that a list of steps and sets stands for.

    Raises:
        ConfigError: an unknown name (the nearest is named), or a step given twice.

    >>> expand_steps(("light", "privacy"))
    ('length', 'language', 'exact', 'privacy')
    """
    steps = [step for name in names for step in STEP_SETS.get(name, (name,))]
    for step in steps:
        if step not in STEP_NAMES:
            raise ConfigError(f"unknown step {step!r}", do=nearest(step, (*STEP_NAMES, *STEP_SETS)))
        if steps.count(step) > 1:
            raise ConfigError(f"the step {step!r} is given twice", do="name it once")
    return tuple(steps)


@dataclass(frozen=True, kw_only=True)
class NearDuplicatesConfig:
    """Near duplicates.

    threshold: Jaccard similarity of word shingles from which two documents are near duplicates.
    bands, rows: of the MinHash signature; together at most 128. 18 x 7 or 21 x 6 suit a threshold of 0.8.
    shingle_words: words of a shingle.
    """

    threshold: float = 0.8
    bands: int = 21
    rows: int = 6
    shingle_words: int = 5

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise ConfigError(f"threshold={self.threshold}", allowed="above 0, to 1")
        if min(self.bands, self.rows, self.shingle_words) < 1 or self.bands * self.rows > 128:
            raise ConfigError(f"bands={self.bands}, rows={self.rows}", allowed="bands x rows of 1 to 128")


@dataclass(frozen=True, kw_only=True)
class RepeatsConfig:
    """Repeated substrings.

    min_bytes: repeats of this length and more are cut.
    min_left: a document with fewer characters left is dropped.
    shard_bytes: text that is searched at once, at most 2 GB; memory is about 6 bytes a byte of it.
    """

    min_bytes: int = 50
    min_left: int = 20
    shard_bytes: int = 500_000_000

    def __post_init__(self) -> None:
        if self.min_bytes < 8:
            raise ConfigError(f"min_bytes={self.min_bytes}", allowed="8 or more")
        if not 0 < self.shard_bytes < 2**31:
            raise ConfigError(f"shard_bytes={self.shard_bytes}", allowed="1 to 2,147,483,647")


@dataclass(frozen=True, kw_only=True)
class CorpusConfig:
    """Sources, steps and the split.

    sources: folders, files or globs, catalogue files (.yaml), data sets of a hub ("hub:OWNER/NAME"), and the
        built-in sources "chatterbot" (dialogue in 28 languages) and "stdlib" (the Python standard library's
        source as code, its docstrings and help topics as English).
    text_column, language_column, url_column: where rows keep them; the last two may be absent. A dot goes
        into a nested object: "content.text".
    language: of documents that name none; None identifies it from the text.
    repair: read bytes that are not UTF-8 as Windows-1252, and take what a broken file or line still gives,
        instead of stopping.
    part_characters: longer text and code files are cut at the paragraph or line end before this.
    min_characters: documents shorter than this are dropped, surrounding white space not counted.
    steps: names of STEP_NAMES in their order, or of STEP_SETS.
    cleaning: functions of steps/cleaning.py for the step "cleaning".
    bounds: a YAML file of bounds by language over the published ones, for "rewrite" and "filters".
    flagged_words: a YAML file of word lists by language; without it that filter is off.
    language_characters: how many characters of a text the identifier reads; 0 all, as published.
    code_licences: what "code" keeps: permissive licences (and unknown ones), what ROOTS kept, or any.
    perplexity_model, max_perplexity: a model folder and its bound for the step "perplexity".
    near, repeats: settings of these steps.
    evaluation_sets: files whose texts no document may hold.
    evaluation_words: length of a run of words that counts as held.
    privacy: categories to redact; empty redacts all that are known.
    numbered_tokens: PI:EMAIL:1 instead of PI:EMAIL.
    engine: "local", or the address of a Ray cluster, "ray://HOST:PORT", or "ray" for one on this machine.
    workers: processes of the local engine; None takes one a core from four partitions on.
    partition_bytes: files are gathered to partitions of about this size; large ones are split.
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
    url_column: str = "url"
    language: str | None = None
    repair: bool = False
    part_characters: int = 20_000
    min_characters: int = 1
    steps: tuple[str, ...] = ("light",)
    cleaning: tuple[str, ...] = ("repair_newlines", "strip_markup", "drop_mojibake_lines", "drop_small")
    bounds: Path | None = None
    flagged_words: Path | None = None
    language_characters: int = 1000
    code_licences: Literal["permissive", "published", "any"] = "permissive"
    perplexity_model: str | None = None
    max_perplexity: float = 10_000.0
    near: NearDuplicatesConfig = field(default_factory=NearDuplicatesConfig)
    repeats: RepeatsConfig = field(default_factory=RepeatsConfig)
    evaluation_sets: tuple[str, ...] = ()
    evaluation_words: int = 13
    privacy: tuple[str, ...] = ()
    numbered_tokens: bool = False
    engine: str = "local"
    workers: int | None = None
    partition_bytes: int = 64_000_000
    near_duplicate_overlap: float = 0.5
    validation_fraction: float = 0.05
    validation_floor_bytes: int = 4096
    validation_limit: float = 0.25
    validation_ceiling_bytes: int = 5_000_000
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.sources:
            raise ConfigError(
                "sources is empty", allowed="folders, files, globs, hub:OWNER/NAME, chatterbot, stdlib"
            )
        steps = expand_steps(self.steps)
        if "perplexity" in steps and not self.perplexity_model:
            raise ConfigError("the step perplexity has no perplexity_model", do="name a model folder")
        if "evaluation" in steps and not self.evaluation_sets:
            raise ConfigError("the step evaluation has no evaluation_sets", do="name their files")
        if self.engine not in ("local", "ray") and not self.engine.startswith("ray://"):
            raise ConfigError(f"engine={self.engine!r}", allowed="local, ray, ray://HOST:PORT")
        for name in ("part_characters", "min_characters", "validation_ceiling_bytes", "partition_bytes"):
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
