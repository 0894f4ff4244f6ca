"""From the names of steps to step objects, cut into stages at the steps that need the whole corpus."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hortus.config import load_yaml
from hortus.corpus.bounds import Bounds
from hortus.corpus.config import CorpusConfig, expand_steps
from hortus.corpus.steps.step import GlobalStep, Step
from hortus.registry import resolve

__all__ = ["Stage", "cut_stages", "make_stage", "make_step", "num_stages"]

GLOBAL_STEPS = frozenset({"template_lines", "exact", "addresses", "near", "repeats"})

# step -> (module:class in steps/, its arguments). A module is imported when its step is wanted: the
# compiled ones take a second to load.
_MAKERS: dict[str, tuple[str, Callable[[CorpusConfig], tuple[Any, ...]]]] = {
    "length": ("length:Length", lambda config: (config.min_characters,)),
    "mojibake": ("mojibake:Mojibake", lambda config: ()),
    "cleaning": ("cleaning:Clean", lambda config: (config.cleaning,)),
    "template_lines": ("template_lines:TemplateLines", lambda config: ()),
    "language": (
        "language:IdentifyLanguage",
        lambda config: (config.language, config.language_characters),
    ),
    "rewrite": ("filters:Rewrite", lambda config: (Bounds(config.bounds),)),
    "filters": (
        "filters:Filters",
        lambda config: (Bounds(config.bounds), config.language_characters, _flagged(config.flagged_words)),
    ),
    "code": ("code:CodeFilters", lambda config: (config.code_licences,)),
    "perplexity": (
        "perplexity:Perplexity",
        lambda config: (config.perplexity_model, config.max_perplexity),
    ),
    "exact": ("exact:ExactDuplicates", lambda config: ()),
    "addresses": ("exact:DuplicateAddresses", lambda config: ()),
    "near": ("near:NearDuplicates", lambda config: (config.near,)),
    "repeats": ("repeats:Repeats", lambda config: (config.repeats,)),
    "evaluation": (
        "evaluation_sets:EvaluationSets",
        lambda config: (config.evaluation_sets, config.evaluation_words),
    ),
    "privacy": ("privacy:Privacy", lambda config: (config.privacy or None, config.numbered_tokens)),
}


def _flagged(path: Path | None) -> dict[str, list[str]]:
    lists = load_yaml(path).items() if path else ()
    return {language: [str(word).lower() for word in words] for language, words in lists}


def make_step(name: str, config: CorpusConfig) -> Step:
    """The step of that name."""
    place, arguments = _MAKERS[name]
    return resolve(f"hortus.corpus.steps.{place}")(*arguments(config))


@dataclass
class Stage:
    """One pass over the corpus: carry out a decision, run steps, measure for the next decision."""

    begins: GlobalStep | None = None
    steps: list[Step] = field(default_factory=list)
    ends: GlobalStep | None = None


def num_stages(config: CorpusConfig) -> int:
    """One more than there are global steps: each ends one stage and begins the next."""
    return 1 + sum(name in GLOBAL_STEPS for name in expand_steps(config.steps))


def make_stage(config: CorpusConfig, index: int) -> Stage:
    """The steps of one stage, made anew, so that their counts begin at nothing.

    Raises:
        ConfigError: an unknown step, function, bound or category.
        DeviceError: a package that a step needs is missing.
    """
    names = expand_steps(config.steps)
    ends = [place for place, name in enumerate(names) if name in GLOBAL_STEPS] + [len(names)]
    first, last = (ends[index - 1] if index else 0), ends[index]
    return cut_stages([make_step(name, config) for name in names[first : last + 1]])[1 if index else 0]


def cut_stages(steps: Sequence[Step]) -> list[Stage]:
    """Steps cut at the global ones."""
    stages = [Stage()]
    for step in steps:
        if isinstance(step, GlobalStep):
            stages[-1].ends = step
            stages.append(Stage(begins=step))
        else:
            stages[-1].steps.append(step)
    return stages
