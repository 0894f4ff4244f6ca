"""The model card: README.md with a front matter that hubs and `hortus.load(...).card` read."""

from __future__ import annotations

import dataclasses
import importlib.resources
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from hortus.errors import ArtifactError

__all__ = ["ModelCard"]


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What a user of a model must know.

    Args:
        name: the model's name.
        licence: an SPDX identifier, or "bigscience-bloom-rail-1.0".
        languages: ISO codes or names.
        data: what it was trained on, in a sentence or a few.
        results: measured results, e.g. {"bits per byte, English": 1.9}.
        energy_kwh: energy of training in kWh; None when not known.
        energy_source: how the energy was found: measured by which counter, or estimated how.
        carbon_kg: CO2 equivalent in kg; None when not known.
        grid: the electricity's origin, from which carbon_kg follows.
        rail: add the use restrictions of the BigScience RAIL licence.

    >>> "licence: mit" in ModelCard(name="tiny", licence="mit").to_markdown().replace("license", "licence")
    True
    """

    name: str
    kind: str = ""
    licence: str = "apache-2.0"
    languages: tuple[str, ...] = ()
    data: str = ""
    results: Mapping[str, float | str] = field(default_factory=dict)
    energy_kwh: float | None = None
    energy_source: str = ""
    carbon_kg: float | None = None
    grid: str = ""
    notes: str = ""
    rail: bool = False

    def to_markdown(self) -> str:
        """The README.md: front matter for machines, then prose for people."""
        front = {
            "license": "bigscience-bloom-rail-1.0" if self.rail else self.licence,
            "language": list(self.languages),
            "library_name": "transformers"
            if self.kind in ("bloom", "t5", "bert", "distilbert")
            else "hortus",
            "tags": ["hortus"],
            "hortus": {
                f.name: _plain(getattr(self, f.name))
                for f in dataclasses.fields(self)
                if f.name != "languages"
            },
        }
        head = yaml.safe_dump(front, sort_keys=False, allow_unicode=True)
        return f"---\n{head}---\n\n{self._body()}"

    def _body(self) -> str:
        parts = [f"# {self.name}"]
        if self.notes:
            parts.append(self.notes)
        parts.append(f"## Data\n\n{self.data or 'Not recorded.'}")
        if self.languages:
            parts.append(f"Languages: {', '.join(self.languages)}.")
        if self.results:
            rows = "\n".join(f"| {name} | {_shown(value)} |" for name, value in self.results.items())
            parts.append(f"## Results\n\n| measure | value |\n|---|---|\n{rows}")
        parts.append(f"## Cost\n\n{self._cost()}")
        licence = "BigScience RAIL 1.0; the restrictions below apply." if self.rail else f"{self.licence}."
        parts.append(f"## Licence\n\n{licence}")
        if self.rail:
            text = importlib.resources.files("hortus").joinpath("data/rail_restrictions.md")
            parts.append(text.read_text(encoding="utf-8").rstrip())
        parts.append("Made with hortus; `recipe.yaml` beside this file repeats the run.")
        return "\n\n".join(parts) + "\n"

    def _cost(self) -> str:
        if self.energy_kwh is None:
            return "Energy was not measured."
        source = f" ({self.energy_source})" if self.energy_source else ""
        carbon = f", {self.carbon_kg:.3g} kg CO2e" if self.carbon_kg is not None else ""
        grid = f" (grid: {self.grid})" if carbon and self.grid else ""
        return f"Training took {self.energy_kwh:.3g} kWh{source}{carbon}{grid}."

    @classmethod
    def read(cls, folder: str | Path) -> ModelCard:
        """The card of an artifact folder; a foreign or missing README gives a card with what can be read.

        Raises:
            ArtifactError: the front matter is not YAML.
        """
        path = Path(folder) / "README.md"
        if not path.is_file():
            return cls(name=Path(folder).name, licence="unknown")
        head, body = _split(path.read_text(encoding="utf-8", errors="replace"))
        try:
            front = yaml.safe_load(head) or {}
        except yaml.YAMLError as error:
            raise ArtifactError(
                f"{path}: the front matter is not YAML: {error}", do="mend or remove it"
            ) from error
        languages = front.get("language") or ()
        languages = (languages,) if isinstance(languages, str) else tuple(languages)
        own = front.get("hortus")
        if isinstance(own, dict):
            known = {f.name for f in dataclasses.fields(cls)}
            return cls(**{k: v for k, v in own.items() if k in known}, languages=languages)
        licence = front.get("license") or "unknown"
        return cls(name=Path(folder).name, licence=str(licence), notes=body.strip(), languages=languages)


def _split(text: str) -> tuple[str, str]:
    """Front matter and the rest."""
    if text.startswith("---\n"):
        head, mark, body = text[4:].partition("\n---")
        if mark:
            return head, body.lstrip("-").lstrip("\n")
    return "", text


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple) else value


def _shown(value: float | str) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
