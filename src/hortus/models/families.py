"""The table of model families, and what a family consists of.

A family is one folder and one line in `FAMILIES`. Its checkpoint names are a `NameTable`: pairs of patterns,
our name and the published one, read in both directions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hortus.errors import ConfigError, nearest
from hortus.registry import resolve

if TYPE_CHECKING:
    from torch import nn

__all__ = ["FAMILIES", "Family", "NameTable", "available", "family"]

# config.json's model_type -> the Family object.
FAMILIES: dict[str, str] = {
    "bloom": "hortus.models.bloom:FAMILY",
}


@dataclass(frozen=True)
class NameTable:
    """Our parameter names and the published ones, one pair a pattern; `{layer}` stands for a number.

    `prefix` is what published files may or may not put before every name and what we write. `tied` lists
    published names that repeat one of our tensors: they may be absent, and we do not write them.

    >>> table = NameTable({"blocks.{layer}.norm": "h.{layer}.ln"}, prefix="transformer.")
    >>> table.published("blocks.11.norm.weight"), table.own("h.3.ln.bias"), table.own("h.x.ln.bias")
    ('transformer.h.11.ln.weight', 'blocks.3.norm.bias', None)
    """

    pairs: Mapping[str, str]
    prefix: str = ""
    tied: Mapping[str, str] = field(default_factory=dict)

    def published(self, own: str) -> str:
        """The published name, with the prefix.

        Raises:
            KeyError: no pattern covers the name: the network and its table have parted.
        """
        name = _translate(own, self.pairs)
        if name is None:
            raise KeyError(own)
        return self.prefix + name

    def own(self, published: str) -> str | None:
        """Our name for a published one, with or without the prefix; None if it is not in the table."""
        backward = {theirs: ours for ours, theirs in self.pairs.items()}
        return _translate(published.removeprefix(self.prefix), backward)


def _translate(name: str, pairs: Mapping[str, str]) -> str | None:
    module, _, kind = name.rpartition(".")
    number = re.search(r"(?<=\.)\d+(?=\.)", module)
    pattern = module if number is None else f"{module[: number.start()]}{{layer}}{module[number.end() :]}"
    if pattern not in pairs:
        return None
    return pairs[pattern].replace("{layer}", number.group() if number else "") + "." + kind


@dataclass(frozen=True)
class Family:
    """How one kind of network is read, built and named.

    `read_config` turns config.json's content into the family's configuration, `write_config` turns it back,
    and `build` makes a network with fresh weights.
    """

    model_type: str
    read_config: Callable[[Mapping[str, Any]], Any]
    write_config: Callable[[Any], dict[str, Any]]
    build: Callable[[Any], nn.Module]
    names: NameTable


def available() -> list[str]:
    """The model types that can be built and loaded.

    >>> "bloom" in available()
    True
    """
    return sorted(FAMILIES)


def family(model_type: str | None) -> Family:
    """The family of a config.json's `model_type`.

    Raises:
        ConfigError: no such family.
    """
    if model_type not in FAMILIES:
        raise ConfigError(
            f"model_type={model_type!r} is not a family of networks",
            allowed=", ".join(available()),
            do=nearest(model_type or "", FAMILIES),
        )
    return resolve(FAMILIES[model_type])
