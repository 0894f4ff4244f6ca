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
    from torch import Tensor, nn

__all__ = ["FAMILIES", "Family", "NameTable", "available", "family"]

# config.json's model_type -> the Family object.
FAMILIES: dict[str, str] = {
    "bert": "hortus.models.bert:FAMILY",
    "bloom": "hortus.models.bloom:FAMILY",
    "distilbert": "hortus.models.distilbert:FAMILY",
    "hortus_decoder": "hortus.models.decoder:FAMILY",
    "t5": "hortus.models.t5:FAMILY",
}


@dataclass(frozen=True)
class NameTable:
    """Our parameter names and the published ones, one pair a pattern; `{layer}` stands for a number.

    `prefix` is what published files may or may not put before every name and what we write, except before
    the names in `heads`. `tied` lists published names (without the prefix) that repeat one of our tensors:
    they may be absent, and we do not write them. `ignored` are published tensors that the network has no use
    for, and `old_endings` are last parts of names as very old files spell them.

    >>> table = NameTable({"blocks.{layer}.norm": "h.{layer}.ln"}, prefix="transformer.")
    >>> table.published("blocks.11.norm.weight"), table.own("h.3.ln.bias"), table.own("h.x.ln.bias")
    ('transformer.h.11.ln.weight', 'blocks.3.norm.bias', None)
    """

    pairs: Mapping[str, str]
    prefix: str = ""
    heads: Mapping[str, str] = field(default_factory=dict)
    tied: Mapping[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    old_endings: Mapping[str, str] = field(default_factory=dict)

    def published(self, own: str) -> str:
        """The published name, with the prefix.

        Raises:
            KeyError: no pattern covers the name: the network and its table have parted.
        """
        head = _translate(own, self.heads)
        if head is not None:
            return head
        name = _translate(own, self.pairs)
        if name is None:
            raise KeyError(own)
        return self.prefix + name

    def own(self, published: str) -> str | None:
        """Our name for a published one, with or without the prefix; None if it is not in the table."""
        backward = {theirs: ours for ours, theirs in [*self.pairs.items(), *self.heads.items()]}
        return _translate(self.short(published), backward)

    def short(self, published: str) -> str:
        """A published name without the prefix, its last part spelled as today."""
        name = published.removeprefix(self.prefix)
        module, dot, kind = name.rpartition(".")
        return module + dot + self.old_endings.get(kind, kind)


def _translate(name: str, pairs: Mapping[str, str]) -> str | None:
    module, _, kind = name.rpartition(".")
    if module in pairs:
        return f"{pairs[module]}.{kind}"
    number = re.search(r"(?<=\.)\d+(?=\.)", module)
    if number is None:
        return None
    pattern = f"{module[: number.start()]}{{layer}}{module[number.end() :]}"
    return None if pattern not in pairs else f"{pairs[pattern].replace('{layer}', number.group())}.{kind}"


@dataclass(frozen=True)
class Family:
    """How one kind of network is read, built and named.

    `config` is the class of its configurations, with `from_hugging_face` and `to_hugging_face`; `build` is
    the network's class. `fit`, where given, adjusts a configuration to the tensors that a file holds (by name
    without prefix), for what config.json leaves open.
    """

    config: Any
    build: Callable[[Any], nn.Module]
    names: NameTable
    fit: Callable[[Any, Mapping[str, Tensor]], Any] | None = None

    def read_config(self, mapping: Mapping[str, Any]) -> Any:
        """The configuration in a config.json's content."""
        return self.config.from_hugging_face(mapping)

    def write_config(self, config: Any) -> dict[str, Any]:
        """The content of config.json."""
        return dict(config.to_hugging_face())


def available() -> dict[str, dict[str, int]]:
    """The model types that can be built and loaded, each with its published sizes: name -> parameters.

    >>> available()["distilbert"]["base-uncased"]
    66985530
    """
    return {
        name: {size: shape.num_parameters for size, shape in _published(name).items()}
        for name in sorted(FAMILIES)
    }


def _published(model_type: str) -> Mapping[str, Any]:
    return resolve(FAMILIES[model_type].partition(":")[0] + ":PUBLISHED")


def family(model_type: str | None) -> Family:
    """The family of a config.json's `model_type`.

    Raises:
        ConfigError: no such family.
    """
    if model_type not in FAMILIES:
        raise ConfigError(
            f"model_type={model_type!r} is not a family of networks",
            allowed=", ".join(sorted(FAMILIES)),
            do=nearest(model_type or "", FAMILIES),
        )
    return resolve(FAMILIES[model_type])
