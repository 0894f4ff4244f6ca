"""The report: what models know by popularity and relation, what passages mend and spoil, what adapting
brings.

Wilson intervals are at 95 %. Bins of popularity are half a decade wide; those with fewer than five
questions are left out, as published.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence

import numpy as np

from hortus.evaluation.statistics import wilson_interval
from hortus.report import Block, Curves, Picture, Table, Text
from hortus.retrieval.adaptation import GateScore, frontier
from hortus.retrieval.findings import Finding
from hortus.retrieval.results import Results

__all__ = ["blocks_of", "popularity_bins"]

_FEWEST = 5
_DECADES = 0.5


def popularity_bins(popularity: np.ndarray) -> Iterator[tuple[float, np.ndarray]]:
    """(middle of the bin in log10, mask of its rows) in ascending order; popularity below 1 counts as 1."""
    logs = np.log10(np.maximum(popularity, 1))
    numbers = np.floor(logs / _DECADES)
    for number in np.unique(numbers[~np.isnan(numbers)]):
        if (numbers == number).sum() >= _FEWEST:
            yield (number + 0.5) * _DECADES, numbers == number


def blocks_of(results: Sequence[Results], gates: Sequence[Sequence[GateScore]]) -> list[Block]:
    """The report's blocks for models, each with the scores of its gates."""
    named = {_name(one, results): one for one in results}
    blocks: list[Block] = [
        _curves("Accuracy by popularity, without passages", named, "parametric"),
        _curves("Accuracy by popularity, with passages", named, "retrieved"),
        Table(
            "Accuracy by popularity",
            ["model", "log10 of popularity", "questions", "without", "95 %", "with a passage", "95 %"],
            [row for name, one in named.items() for row in _bin_rows(name, one)],
        ),
    ]
    blocks += _scaling(named)
    for name, one in named.items():
        blocks += [_heat_map(f"Accuracy by relation and popularity: {name}", one)]
        blocks += [Table(f"Relations: {name}", _RELATION_COLUMNS, list(_relation_rows(one)))]
    blocks += [
        Table("Helped and harmed by the passage, and recall@1", _QUADRANTS, list(_quadrant_rows(named))),
        Curves("Accuracy against share retrieved", "share retrieved", "accuracy", _frontiers(named, gates)),
        Table("Gates on unseen questions", _GATES, list(_gate_rows(named, gates))),
        Table("Cost of a question", _COSTS, list(_cost_rows(named, gates))),
    ]
    return blocks


def findings_table(findings: Sequence[Finding]) -> Block:
    """The findings, each with its error and its seeds."""
    rows = [
        [one.claim, one.difference, one.error, "yes" if one.holds else "no"]
        + [", ".join(f"{value:+.3f}" for value in one.by_seed)]
        for one in findings
    ]
    return Table("Findings", ["claim", "difference", "error", "holds", "by seed"], rows)


def _name(one: Results, results: Sequence[Results]) -> str:
    several = sum(other.model == one.model for other in results) > 1
    return f"{one.model}, exponent {one.exponent:g}, seed {one.seed}" if several else one.model


def _curves(title: str, named: dict[str, Results], side: str) -> Block:
    series = {}
    for name, one in named.items():
        points = [(m, float(getattr(one, side)[rows].mean())) for m, rows in popularity_bins(one.popularity)]
        series[name] = ([x for x, _ in points], [y for _, y in points])
    return Curves(title, "log10 of popularity", "accuracy", series)


def _bin_rows(name: str, one: Results) -> Iterator[list[object]]:
    for middle, rows in popularity_bins(one.popularity):
        row: list[object] = [name, middle, int(rows.sum())]
        for side in (one.parametric, one.retrieved):
            low, high = wilson_interval(side[rows].sum(), int(rows.sum()))
            row += [float(side[rows].mean()), f"{low:.3f} to {high:.3f}"]
        yield row


def _scaling(named: dict[str, Results]) -> list[Block]:
    """Accuracy against parameters, by thirds of popularity; only where parameters are known."""
    known = sorted((one for one in named.values() if one.parameters), key=lambda one: one.parameters)
    if len({one.parameters for one in known}) < 2:
        return []
    series: dict[str, tuple[list[float], list[float]]] = {}
    for third, label in enumerate(("least popular third", "middle third", "most popular third")):
        means: dict[int, list[float]] = {}
        for one in known:
            order = np.argsort(one.popularity, kind="stable")
            rows = np.array_split(order, 3)[third]
            means.setdefault(one.parameters, []).append(float(one.parametric[rows].mean()))
        series[label] = (
            [float(np.log10(size)) for size in means],
            [float(np.mean(values)) for values in means.values()],
        )
    return [Curves("Accuracy by size, without passages", "log10 of parameters", "accuracy", series)]


_RELATION_COLUMNS = ["relation", "questions", "without", "with a passage", "correlation with log popularity"]


def _relation_rows(one: Results) -> Iterator[list[object]]:
    logs = np.log10(np.maximum(one.popularity, 1))
    for name in np.unique(one.relation):
        rows = (one.relation == name) & ~np.isnan(logs)
        if not rows.any():
            continue
        varied = rows.sum() > 2 and logs[rows].std() > 0 and one.parametric[rows].std() > 0
        correlation = float(np.corrcoef(logs[rows], one.parametric[rows])[0, 1]) if varied else None
        means = [float(side[rows].mean()) for side in (one.parametric, one.retrieved)]
        yield [str(name), int(rows.sum()), *means, correlation]


def _heat_map(title: str, one: Results) -> Block:
    bins = list(popularity_bins(one.popularity))
    names = [str(name) for name in np.unique(one.relation)]
    width, height, left = 56, 22, 150
    parts = []
    for row, name in enumerate(names):
        top = 24 + row * height
        parts.append(f'<text x="{left - 8}" y="{top + 15}" text-anchor="end">{html.escape(name)}</text>')
        for column, (_, inside) in enumerate(bins):
            rows = inside & (one.relation == name)
            if not rows.any():
                continue
            value, x = float(one.parametric[rows].mean()), left + column * width
            color = f"hsl(150,45%,{95 - 60 * value:.0f}%)"
            ink = "white" if value > 0.6 else "black"
            parts.append(
                f'<rect x="{x}" y="{top}" width="{width - 2}" height="{height - 2}" fill="{color}"/>'
            )
            parts.append(
                f'<text x="{x + 27}" y="{top + 15}" text-anchor="middle" fill="{ink}">{value:.2f}</text>'
            )
    for column, (middle, _) in enumerate(bins):
        x = left + column * width + 27
        parts.append(f'<text x="{x}" y="16" text-anchor="middle">10^{middle:g}</text>')
    size = f"0 0 {left + len(bins) * width + 10} {30 + len(names) * height}"
    style = 'font-family="sans-serif" font-size="12"'
    return Picture(
        title, f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{size}" {style}>{"".join(parts)}</svg>'
    )


_QUADRANTS = ["model", "without", "with a passage", "questions", "share", "recall@1"]


def _quadrant_rows(named: dict[str, Results]) -> Iterator[list[object]]:
    for name, one in named.items():
        for before in (1, 0):
            for after in (1, 0):
                rows = (one.parametric == before) & (one.retrieved == after)
                recall = float(one.hits[rows].mean()) if rows.any() else None
                words = ["right" if side else "wrong" for side in (before, after)]
                yield [name, *words, int(rows.sum()), float(rows.mean()), recall]


def _frontiers(
    named: dict[str, Results], gates: Sequence[Sequence[GateScore]]
) -> dict[str, tuple[list[float], list[float]]]:
    series: dict[str, tuple[list[float], list[float]]] = {}
    for (name, one), scores in zip(named.items(), gates, strict=True):
        curve = frontier(one.evidence)
        series[name] = ([share for share, _ in curve], [accuracy for _, accuracy in curve])
        for score in scores:
            if score.gate == "popularity":
                series[f"{name}: chosen"] = ([score.share_retrieved], [score.accuracy])
    return series


_GATES = [
    "model",
    "gate",
    "accuracy",
    "error",
    "share retrieved",
    "above the better of always and never",
    "error ",
]


def _gate_rows(named: dict[str, Results], gates: Sequence[Sequence[GateScore]]) -> Iterator[list[object]]:
    for name, scores in zip(named, gates, strict=True):
        for s in scores:
            yield [name, s.gate, s.accuracy, s.accuracy_error, s.share_retrieved, s.gain, s.gain_error]


_COSTS = ["model", "gate", "accuracy", "share retrieved", "prompt tokens", "milliseconds"]


def _cost_rows(named: dict[str, Results], gates: Sequence[Sequence[GateScore]]) -> Iterator[list[object]]:
    """cost = n_ret · (retrieving + long prompt) + n_par · short prompt, a question."""
    for (name, one), scores in zip(named.items(), gates, strict=True):
        for s in scores:
            share = s.share_retrieved
            tokens, seconds = (share * pair[1] + (1 - share) * pair[0] for pair in (one.tokens, one.seconds))
            if s.gate in ("never", "always", "popularity", "confidence", "logistic"):
                yield [name, s.gate, s.accuracy, share, tokens, 1000 * seconds]


def summary(one: Results) -> Block:
    """One paragraph on what was asked."""
    aside = int(np.isnan(one.popularity).sum())
    return Text(
        "What was asked",
        f"{one.model}: {len(one)} questions in {len(np.unique(one.relation))} relations; {aside} of unknown "
        "popularity stand aside from gates and curves. Right is what the published rule says. Without "
        f"passages the model answered {one.parametric.mean():.1%} of them, with the first passage "
        f"{one.retrieved.mean():.1%}; the passage held an answer for {one.hits.mean():.1%}.",
    )
