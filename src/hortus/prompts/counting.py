"""Counts of what templates made of examples: nothing that was not used goes unreported."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hortus.prompts.template import Rendered

__all__ = ["RenderReport", "TemplateCounts"]

STATUSES = ("ok", "skipped", "unlabelled", "malformed")
REASONS_KEPT = 20


@dataclass
class TemplateCounts:
    """Renderings of one template by status, and why they were not ok."""

    statuses: Counter[str] = field(default_factory=Counter)
    outside_choices: int = 0
    """Renderings whose target is none of the choices."""
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, rendered: Rendered) -> None:
        self.statuses[rendered.status] += 1
        self.outside_choices += rendered.target_outside_choices
        if rendered.reason and (rendered.reason in self.reasons or len(self.reasons) < REASONS_KEPT):
            self.reasons[rendered.reason] += 1

    @property
    def total(self) -> int:
        return sum(self.statuses.values())

    def to_mapping(self) -> dict[str, Any]:
        counts = {status: self.statuses[status] for status in STATUSES}
        return counts | {"outside_choices": self.outside_choices, "reasons": dict(self.reasons)}

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> TemplateCounts:
        statuses = Counter({status: int(mapping[status]) for status in STATUSES})
        return cls(statuses, int(mapping["outside_choices"]), Counter(mapping["reasons"]))


class RenderReport:
    """Counts by template; the key is usually `dataset/template name`.

    >>> report = RenderReport()
    >>> report.add("rte/can we infer", Rendered("", [], None, "skipped"))
    >>> report.rows()
    [('rte/can we infer', 0, 1, 0, 0, 0)]
    """

    columns = ("template", *STATUSES, "outside_choices")

    def __init__(self) -> None:
        self.templates: dict[str, TemplateCounts] = {}

    def add(self, key: str, rendered: Rendered) -> None:
        self.templates.setdefault(key, TemplateCounts()).add(rendered)

    def add_all(self, key: str, renderings: Iterable[Rendered]) -> None:
        for rendered in renderings:
            self.add(key, rendered)

    def rows(self) -> list[tuple[Any, ...]]:
        """One row a template, in the order of `columns`."""
        return [
            (key, *(counts.statuses[status] for status in STATUSES), counts.outside_choices)
            for key, counts in self.templates.items()
        ]

    def to_mapping(self) -> dict[str, Any]:
        return {key: counts.to_mapping() for key, counts in self.templates.items()}

    def load_mapping(self, mapping: Mapping[str, Any]) -> None:
        self.templates = {key: TemplateCounts.from_mapping(counts) for key, counts in mapping.items()}
