"""Where text comes from: sources with their language, licence and provenance, from settings or a catalogue.

A catalogue is a YAML file of sources by name; paths are relative to it:

    sw-news:
      path: news/*.jsonl.gz
      language: sw
      licence: cc-by-4.0
      provenance: https://example.org/news, fetched 2024-05-02
      cleaning: [strip_markup, drop_small]
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from hortus.config import from_mapping, load_yaml
from hortus.corpus.config import CorpusConfig
from hortus.errors import DataError

__all__ = ["HUB", "Source", "list_sources"]

HUB = "hub:"
# Licence and provenance of what pip brings.
_BUILTIN = {
    "chatterbot": ("bsd-3-clause", "the chatterbot-corpus package"),
    "stdlib": ("psf-2.0", "the Python standard library"),
}


@dataclass(frozen=True, kw_only=True)
class Source:
    """A source and what is known of it.

    path: as an entry of CorpusConfig.sources.
    language, licence, provenance: stated for all its documents; a document's own language comes first.
    text_column, language_column, url_column: instead of the corpus's.
    cleaning: cleaning functions for this source, before the steps.
    """

    path: str
    name: str = ""
    language: str | None = None
    licence: str | None = None
    provenance: str | None = None
    text_column: str | None = None
    language_column: str | None = None
    url_column: str | None = None
    cleaning: tuple[str, ...] = ()

    def settings(self, config: CorpusConfig) -> CorpusConfig:
        """The corpus's settings with this source's columns and language."""
        names = ("language", "text_column", "language_column", "url_column")
        own = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return replace(config, **own)


def list_sources(config: CorpusConfig) -> list[Source]:
    """The sources of a configuration, catalogue files opened.

    Raises:
        ConfigError: a catalogue entry has an unknown key or lacks its path.
        DataError: two sources share a name.
    """
    sources: list[Source] = []
    for entry in config.sources:
        path = Path(entry).expanduser()
        if path.suffix in (".yaml", ".yml") and not entry.startswith(HUB):
            sources += _read_catalogue(path)
        else:
            licence, provenance = _BUILTIN.get(entry, (None, None))
            sources.append(Source(path=entry, licence=licence, provenance=provenance))
    names = [source.name for source in sources if source.name]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated:
        raise DataError(f"two sources are called {repeated!r}", do="rename one")
    return sources


def _read_catalogue(path: Path) -> list[Source]:
    sources = []
    for name, entry in load_yaml(path).items():
        source: Source = from_mapping(Source, entry, f"{path.name}: {name}")
        if not source.path.startswith(HUB) and source.path not in _BUILTIN:
            source = replace(source, path=str(path.parent / Path(source.path).expanduser()))
        sources.append(replace(source, name=name))
    return sources
