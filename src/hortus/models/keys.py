"""Fields of a configuration out of a config.json, whose keys are spelled in more than one way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from hortus.errors import ConfigError, nearest

__all__ = [
    "check_heads_divide",
    "check_probabilities",
    "check_sizes",
    "read_architecture",
    "read_fields",
    "release",
]

Spellings = Mapping[str, tuple[str, ...]]
Shape = TypeVar("Shape")


def release(family: str, shapes: Mapping[str, Shape], name: str) -> Shape:
    """The shape of that name among those that a family was released in.

    Raises:
        ConfigError: there is none.
    """
    if name not in shapes:
        raise ConfigError(f"no {family} was released as {name!r}", do=nearest(name, shapes))
    return shapes[name]


def read_fields(mapping: Mapping[str, Any], spellings: Spellings, required: Iterable[str]) -> dict[str, Any]:
    """Values by field name; fields that the file leaves out are left out here too.

    Args:
        spellings: field -> the keys that may hold it.
        required: fields that must be there.

    Raises:
        ConfigError: a required field is missing, or two spellings of one field disagree.

    >>> read_fields({"n_layer": 2}, {"num_layers": ("n_layer", "num_hidden_layers")}, ["num_layers"])
    {'num_layers': 2}
    """
    values: dict[str, Any] = {}
    for field, keys in spellings.items():
        found = {key: mapping[key] for key in keys if mapping.get(key) is not None}
        if any(value != next(iter(found.values())) for value in found.values()):
            raise ConfigError(
                f"{' and '.join(f'{key}={value}' for key, value in found.items())} disagree",
                allowed="one spelling, or equal values",
                do="remove the wrong one from config.json",
            )
        if found:
            values[field] = next(iter(found.values()))
        elif field in required:
            raise ConfigError(f"config.json has no {keys[0]!r}", allowed=" or ".join(keys), do="add it")
        elif any(key in mapping for key in keys):
            values[field] = None
    return values


def read_architecture(mapping: Mapping[str, Any], known: Mapping[str, str]) -> str | None:
    """What `known` says of the class that config.json names; None where it names none.

    Raises:
        ConfigError: a class that hortus does not have.
    """
    names = mapping.get("architectures") or []
    if not names:
        return None
    if names[0] not in known:
        raise ConfigError(f"architectures={names[0]!r} is not known", allowed=", ".join(known))
    return known[names[0]]


def check_sizes(config: Any, names: Iterable[str]) -> None:
    """Refuse fields that are no whole number from 1."""
    for name in names:
        value = getattr(config, name)
        if not isinstance(value, int) or value < 1:
            raise ConfigError(
                f"{name}={value!r} is not a size", allowed="whole numbers from 1", do=f"set {name}"
            )


def check_heads_divide(width: int, heads: int) -> None:
    """Refuse a width that does not split into so many heads, naming the nearest numbers that do."""
    if width % heads:
        divisors = [n for n in range(1, width + 1) if width % n == 0]
        close = sorted(sorted(divisors, key=lambda n: abs(n - heads))[:3])
        raise ConfigError(
            f"num_heads={heads} does not divide hidden_size={width}",
            allowed="divisors of hidden_size",
            do=f"choose one such as {', '.join(map(str, close))}",
        )


def check_probabilities(config: Any, names: Iterable[str]) -> None:
    """Refuse fields outside [0, 1)."""
    for name in names:
        value = getattr(config, name)
        if value is not None and not 0 <= value < 1:
            raise ConfigError(f"{name}={value} is not a probability", allowed="0 <= p < 1", do=f"set {name}")
