"""The filters' bounds by language: the published ones, and a file of the user's over them."""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from hortus.artifact import replacing_file
from hortus.config import load_yaml, parse_yaml
from hortus.errors import ConfigError, nearest

__all__ = ["Bounds"]


class Bounds:
    """What a document may measure, by language; a language inherits what it does not name.

    Args:
        path: a YAML file like data/filters.yaml with bounds of the user's.

    Raises:
        ConfigError: the file names an unknown bound, or gives it a value that is no number.

    >>> bounds = Bounds()
    >>> bounds.of("en")["stop_words"], bounds.of("sw")["stop_words"], bounds.is_default("sw")
    (0.3, 0.1, True)
    """

    def __init__(self, path: Path | None = None):
        self.own: dict[str, dict[str, Any]] = load_yaml(path) if path else {}
        self._published = _published()
        known = self._published["default"]
        for language, settings in self.own.items():
            if not isinstance(settings, dict):
                raise ConfigError(f"{path}: {language} is {settings!r}", allowed="a mapping of bounds")
            for name, value in settings.items():
                if name not in known:
                    raise ConfigError(
                        f"{path}: {language} has the unknown bound {name!r}", do=nearest(name, known)
                    )
                if name != "join" and (isinstance(value, bool) or not isinstance(value, int | float | None)):
                    raise ConfigError(f"{path}: {language}.{name}={value!r}", allowed="a number")
        self._merged: dict[str, dict[str, Any]] = {}

    def of(self, language: str) -> dict[str, Any]:
        """The bounds of a language."""
        if language not in self._merged:
            parts = [self._published["default"], self.own.get("default", {})]
            parts += [self._published.get(language, {}), self.own.get(language, {})]
            self._merged[language] = {name: value for part in parts for name, value in part.items()}
        return self._merged[language]

    def is_default(self, language: str) -> bool:
        """Whether nothing is set for this language, so that the default bounds apply."""
        return language not in self._published and language not in self.own

    def save(self, path: Path, language: str, changes: dict[str, float]) -> None:
        """Write the user's bounds with some changed."""
        self.own.setdefault(language, {}).update(changes)
        self._merged.pop(language, None)
        with replacing_file(path) as temporary:
            temporary.write_text(yaml.safe_dump(self.own, allow_unicode=True), encoding="utf-8")


@cache
def _published() -> dict[str, dict[str, Any]]:
    text = resources.files("hortus.corpus").joinpath("data/filters.yaml").read_text("utf-8")
    return parse_yaml(text, "data/filters.yaml")
