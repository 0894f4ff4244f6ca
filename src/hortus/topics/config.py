"""Settings of the topics room: texts to counts, the choice of K, the Monte Carlo study, the recipe stage."""

from __future__ import annotations

from dataclasses import dataclass, field
from numbers import Integral
from pathlib import Path

from hortus.errors import ConfigError, nearest

__all__ = ["ModelConfig", "SelectConfig", "SimulateConfig", "StageConfig", "TextConfig", "parse_candidates"]


def parse_candidates(text: str) -> tuple[int, ...]:
    """Numbers of topics from "2:30:2" (both ends included) or "2,5,10".

    >>> parse_candidates("2:8:2"), parse_candidates("5, 10")
    ((2, 4, 6, 8), (5, 10))
    """
    try:
        numbers = [int(part) for part in text.replace(":", ",").split(",")]
    except ValueError:
        raise ConfigError(f"candidates={text!r}", allowed="first:last:step, or a list as 5,10,20") from None
    if ":" not in text:
        return tuple(numbers)
    first, last, step = [*numbers, 1][:3]
    if len(numbers) > 3 or step < 1 or first > last:
        raise ConfigError(f"candidates={text!r}", allowed="first:last:step with first <= last and step >= 1")
    return tuple(range(first, last + 1, step))


def at_least(config: object, least: int, *names: str) -> None:
    """Raise ConfigError unless the named settings are whole numbers from `least`."""
    for name in names:
        value = getattr(config, name)
        if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
            raise ConfigError(f"{name}={value!r}", allowed=f"a whole number from {least}")


def one_of(config: object, name: str, *allowed: str) -> None:
    """Raise ConfigError, with the nearest value, unless the named setting is one of those allowed."""
    value = getattr(config, name)
    if value not in allowed:
        raise ConfigError(f"{name}={value!r} is not known", do=nearest(str(value), allowed))


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """How texts become counts.

    Args:
        language: Whose stop words: an ISO 639-1 code, auto (those that cover most tokens) or none.
        min_documents: Remove words in fewer documents.
        max_share: Remove words in more than this share of the documents.
        max_words: Keep at most so many words, the most frequent ones; 0 for all.
        min_letters: Remove shorter words.
        lowercase: Fold case.
    """

    language: str = "auto"
    min_documents: int = 2
    max_share: float = 0.5
    max_words: int = 10_000
    min_letters: int = 2
    lowercase: bool = True

    def __post_init__(self) -> None:
        at_least(self, 1, "min_documents", "min_letters")
        at_least(self, 0, "max_words")
        if not 0 < self.max_share <= 1:
            raise ConfigError(f"max_share={self.max_share}", allowed="more than 0, at most 1")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """How each model is fitted: see `LatentDirichletAllocation`, which takes the same settings."""

    method: str = "gibbs"
    num_sweeps: int = 400
    num_kept: int = 10
    thin: int = 5
    average: bool = False
    doc_topic_prior: float | None = None
    topic_word_prior: float | None = None
    optimize_priors: str = "none"
    initial: str = "sequential"
    tolerance: float = 1e-5

    def __post_init__(self) -> None:
        at_least(self, 1, "num_sweeps", "num_kept", "thin")
        one_of(self, "method", "gibbs", "variational")
        one_of(self, "initial", "sequential", "random")
        one_of(self, "optimize_priors", "none", "symmetric", "asymmetric")


@dataclass(frozen=True, kw_only=True)
class SelectConfig:
    """One choice of the number of topics.

    Args:
        candidates: numbers of topics, as a list or as "first:last:step".
        restarts: fits of each candidate; `keep` says which is judged, the "best" or the "median".
        criteria: names; all that the data allow when empty.
        held_out: share of the documents kept from the fits for held-out perplexity; 0 leaves it out.
        jobs: fits at a time; 0 means one a core.
        top_words: words of a topic that coherence looks at.
        warm_start: start each K from the fit of the K before it (then the restarts run in parallel, not the
            grid).
        convention: rank of the truth in the learning coefficients, "exact" (j - 1) or "authors" (j).
        model: how each fit is made.
    """

    candidates: tuple[int, ...] | str = "2:30:2"
    restarts: int = 3
    keep: str = "best"
    criteria: tuple[str, ...] = ()
    held_out: float = 0.1
    jobs: int = 0
    top_words: int = 20
    warm_start: bool = False
    convention: str = "exact"
    seed: int = 1
    model: ModelConfig = field(default_factory=ModelConfig)

    def __post_init__(self) -> None:
        at_least(self, 1, "restarts")
        at_least(self, 2, "top_words")
        at_least(self, 0, "jobs")
        one_of(self, "keep", "best", "median")
        one_of(self, "convention", "exact", "authors")
        if not 0 <= self.held_out < 0.9:
            raise ConfigError(f"held_out={self.held_out}", allowed="from 0 to below 0.9")
        if any(k < 1 for k in self.numbers):
            raise ConfigError(f"candidates={self.candidates}", allowed="numbers from 1")

    @property
    def numbers(self) -> tuple[int, ...]:
        """The candidates in rising order, each once."""
        given = parse_candidates(self.candidates) if isinstance(self.candidates, str) else self.candidates
        if not given:
            raise ConfigError("candidates is empty", allowed="at least one number of topics")
        return tuple(sorted(set(given)))


@dataclass(frozen=True, kw_only=True)
class TruthConfig:
    """The data-generating process of a Monte Carlo study.

    Either files (`doc_topic`, `topic_word`: .npy matrices (D, K) and (K, V); `lengths`: .npy (D,)), whose
    words alone are drawn anew in each replication, or Dirichlet draws of `num_topics` topics over `num_words`
    words for documents of Poisson length `mean_length`, drawn once from the study's seed.
    """

    folder: Path | None = None
    doc_topic: str = "doc_topic.npy"
    topic_word: str = "topic_word.npy"
    lengths: str = "text_length.npy"
    num_topics: tuple[int, ...] = (10,)
    num_words: int = 1000
    mean_length: float = 100.0
    doc_topic_prior: float = 0.1
    topic_word_prior: float = 0.05


@dataclass(frozen=True, kw_only=True)
class SimulateConfig:
    """A Monte Carlo study of the criteria.

    Args:
        documents: numbers of documents D; the first D of the truth.
        length_factors: every document's length is multiplied by these.
        replications: data sets a setting.
        thresholds: cosines from which a true topic counts as found again.
        ray_address: run the fits on this Ray cluster ("auto", "ray://host:10001"); on this machine when
            empty.
        select: how K is chosen on each data set.
    """

    truth: TruthConfig = field(default_factory=TruthConfig)
    documents: tuple[int, ...] = (500, 2000)
    length_factors: tuple[float, ...] = (0.5, 1.0)
    replications: int = 10
    thresholds: tuple[float, ...] = (0.8, 0.9)
    ray_address: str = ""
    seed: int = 123
    select: SelectConfig = field(default_factory=SelectConfig)

    def __post_init__(self) -> None:
        at_least(self, 1, "replications")
        for name in ("documents", "length_factors", "thresholds"):
            values = getattr(self, name)
            if not values or min(values) <= 0:
                raise ConfigError(f"{name}={values}", allowed="positive numbers")


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """The recipe stage `topics`: topics of a sample of a corpus, their number by sBIC.

    Args:
        data: texts to read when no corpus stage runs before this one, as `hortus topics` takes them.
        column: the field of .jsonl or .csv that holds the text.
        sample: documents drawn from the corpus.
    """

    data: str = ""
    column: str = "text"
    sample: int = 2000
    texts: TextConfig = field(default_factory=TextConfig)
    select: SelectConfig = field(default_factory=lambda: SelectConfig(restarts=2))

    def __post_init__(self) -> None:
        at_least(self, 10, "sample")
