"""What to make of criteria that disagree: believe those that found the truth where data looked like yours.

`strengths.json` holds what a Monte Carlo study (`hortus topics simulate`) measured: for each setting of
documents D, words V and mean length, each criterion's mean choice, spread, bias and mean error |K chosen - K
true| / K true. The setting nearest in log D, log V and log length speaks for the data at hand; the criteria
that erred least there, within `MARGIN` of the best, vote, and their median is recommended. One study cannot
speak for all data: the text says which setting spoke, and how far it is.

Axes: D documents, V words, K topics.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from math import exp, log, sqrt
from typing import Any

from hortus.topics.counts import Counts
from hortus.topics.criteria import CRITERIA

__all__ = ["Recommendation", "measured_strengths", "recommend"]

MARGIN = 0.05
FAR = log(4.0)


@dataclass(frozen=True)
class Recommendation:
    """A number of topics, the criteria that were believed, and why, in plain language."""

    num_topics: int
    trusted: tuple[str, ...]
    text: str


@cache
def measured_strengths() -> dict[str, Any]:
    """The Monte Carlo study that recommendations rest on: its description and its settings."""
    text = resources.files("hortus.topics").joinpath("strengths.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def recommend(
    chosen: Mapping[str, int],
    numbers: Sequence[int],
    counts: Counts,
    settings: Sequence[Mapping[str, Any]] | None = None,
) -> Recommendation:
    """Weigh the criteria by what they are known to do for such data.

    Args:
        chosen: criterion -> number of topics.
        numbers: the candidates, in rising order.
        counts: the corpus that was fitted.
        settings: measured settings; those of `strengths.json` when None.
    """
    settings = measured_strengths()["settings"] if settings is None else settings
    here = (counts.num_documents, counts.num_words, counts.num_tokens / counts.num_documents)
    nearest = min(settings, key=lambda setting: _distance(setting, here))
    measured = nearest["criteria"]
    ranked = sorted((name for name in chosen if name in measured), key=lambda name: measured[name]["error"])
    if not ranked:  # only criteria that the study did not hold: all count alike
        ranked = sorted(chosen)
        trusted = tuple(ranked)
    else:
        least = measured[ranked[0]]["error"]
        trusted = tuple(name for name in ranked if measured[name]["error"] <= least + MARGIN)
    votes = sorted(chosen[name] for name in trusted)
    number = votes[(len(votes) - 1) // 2]
    text = _explain(number, trusted, chosen, numbers, nearest, _distance(nearest, here))
    return Recommendation(number, trusted, text)


def _distance(setting: Mapping[str, Any], here: tuple[float, float, float]) -> float:
    there = (setting["documents"], setting["words"], setting["mean_length"])
    return sqrt(sum(log(a / b) ** 2 for a, b in zip(there, here, strict=True)))


def _explain(
    number: int,
    trusted: Sequence[str],
    chosen: Mapping[str, int],
    numbers: Sequence[int],
    setting: Mapping[str, Any],
    distance: float,
) -> str:
    measured = setting["criteria"]
    known = [name for name in trusted if name in measured]
    sentences = [f"Take {number} topics."]
    if known:
        least, most = (f"{measured[name]['error']:.0%}" for name in (known[0], known[-1]))
        errors = least if least == most else f"{least} to {most}"
        choices = ", ".join(str(chosen[name]) for name in known)
        sentences.append(
            f"In the measured setting nearest to your data ({setting['documents']} documents, "
            f"{setting['words']} words, {setting['mean_length']:.0f} tokens a document, "
            f"{setting['true_topics']} true topics) {_listed(known)} came closest to the truth, with a mean "
            f"error of {errors}; here {'it chooses' if len(known) == 1 else 'they choose'} {choices}."
        )
        if distance > FAR:
            sentences.append(
                f"That setting is far from yours (a factor of {exp(distance):.0f} over all three sizes): "
                "take the advice as weak, or measure a setting of your own with `hortus topics simulate`."
            )
    if "sbic" in chosen and "sbic" in measured and "sbic" not in trusted:
        bias = measured["sbic"]["bias"] / setting["true_topics"]
        direction = "too few" if bias < 0 else "too many"
        sentences.append(
            f"sBIC chooses {chosen['sbic']}; there it chose {abs(bias):.0%} {direction} on average."
        )
    edge = sorted({k for k in (chosen[name] for name in trusted) if k in (numbers[0], numbers[-1])})
    if edge and len(numbers) > 1:
        sentences.append(
            f"{' and '.join(map(str, edge))} lies at the edge of the candidates: widen them before you rely "
            "on it."
        )
    low, high = min(chosen.values()), max(chosen.values())
    sentences.append(
        f"All {len(chosen)} criteria agree."
        if low == high
        else f"All {len(chosen)} criteria range from {low} to {high}: compare the topics of several."
    )
    return " ".join(sentences)


def _listed(names: Sequence[str]) -> str:
    titles = [CRITERIA[name].title for name in names]
    return titles[0] if len(titles) == 1 else f"{', '.join(titles[:-1])} and {titles[-1]}"
