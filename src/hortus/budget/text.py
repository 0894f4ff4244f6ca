"""How much text there is by language, and what a run of many passes over it is worth."""

from __future__ import annotations

import functools
import importlib.resources
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hortus.budget.laws import effective_tokens
from hortus.config import parse_yaml
from hortus.errors import ConfigError, nearest

__all__ = ["LanguageUse", "TextSupply", "read_supply"]


@dataclass(frozen=True)
class LanguageUse:
    """One language of a run."""

    language: str
    unique: float
    """Tokens there are."""
    seen: float
    """Tokens that the run reads, repetitions included."""

    @property
    def epochs(self) -> float:
        """Passes over what there is."""
        return self.seen / self.unique

    @property
    def worth(self) -> float:
        """Tokens not read before that would teach as much."""
        return effective_tokens(self.unique, self.seen)


@dataclass(frozen=True)
class TextSupply:
    """Unique tokens by language, and the exponent of their sampling; no languages is no limit."""

    unique: Mapping[str, float]
    alpha: float = 1.0

    @property
    def total(self) -> float:
        """Unique tokens of all languages; infinite without a limit."""
        return sum(self.unique.values()) if self.unique else float("inf")

    def uses(self, tokens: float) -> list[LanguageUse]:
        """Each language's part of a run of that many tokens, p proportional to size^alpha.

        >>> [round(use.epochs, 1) for use in TextSupply({"en": 100.0, "sw": 1.0}, alpha=0.5).uses(110.0)]
        [1.0, 10.0]
        """
        weights = {name: size**self.alpha for name, size in self.unique.items()}
        whole = sum(weights.values())
        return [
            LanguageUse(name, self.unique[name], tokens * weight / whole) for name, weight in weights.items()
        ]

    def worth(self, tokens: float) -> float:
        """What that many tokens are worth, repetitions discounted language by language."""
        return sum(use.worth for use in self.uses(tokens)) if self.unique else tokens


@functools.cache
def _roots() -> dict[str, float]:
    text = importlib.resources.files("hortus.budget").joinpath("data/roots.yaml").read_text("utf-8")
    table: Any = parse_yaml(text, "roots.yaml")
    return {language: table["tokens"] * share / 100 for language, share in table["percent"].items()}


def read_supply(languages: Sequence[str], alpha: float) -> TextSupply:
    """The supply that a plan names.

    Args:
        languages: codes of ROOTS's languages, "roots" for all of them, or CODE=TOKENS.

    Raises:
        ConfigError: an unknown code, or no positive number.

    >>> read_supply(["fr", "xx=2e9"], 1.0).unique["xx"]
    2000000000.0
    """
    unique: dict[str, float] = {}
    for entry in languages:
        code, given, number = entry.partition("=")
        if given:
            try:
                unique[code] = float(number)
            except ValueError:
                unique[code] = -1.0
            if not 0 < unique[code] < float("inf"):
                raise ConfigError(f"languages: {entry!r}", allowed="CODE=TOKENS with a number above 0")
        elif code == "roots":
            unique |= _roots()
        elif code in _roots():
            unique[code] = _roots()[code]
        else:
            raise ConfigError(
                f"languages: {code!r} is not one of ROOTS's",
                allowed="its codes, roots, or CODE=TOKENS",
                do=nearest(code, _roots()),
            )
    return TextSupply(unique, alpha)
