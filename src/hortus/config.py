"""Typed configuration: frozen dataclasses out of YAML, and the same YAML back.

A room describes its settings as frozen keyword-only dataclasses with defaults. `from_mapping` builds
one from a mapping, nested dataclasses included; a key that no field has is an error that names the
nearest field, and a value of the wrong type is an error that names the place, e.g. `training.steps`.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import yaml

from hortus.errors import ConfigError, DataError, nearest

__all__ = ["from_mapping", "load_yaml", "override", "to_mapping"]

Config = TypeVar("Config")


class _Loader(yaml.SafeLoader):
    """YAML 1.1 as PyYAML reads it, but a repeated key is an error and 3e-4 is a number."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        self.flatten_mapping(node)
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, list | dict | set):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key must be plain", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} is given twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def load_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Raises:
        DataError: the file is missing or not UTF-8.
        ConfigError: it is not YAML, repeats a key, or is not a mapping.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"cannot read {path}: {error}", do="check the path and that it is UTF-8 text"
        ) from error
    value = parse_yaml(text, where=str(path))
    if not isinstance(value, dict):
        raise ConfigError(
            f"{path} holds a {type(value).__name__}", allowed="a mapping of keys to values", do="see recipes/"
        )
    return value


def parse_yaml(text: str, where: str) -> Any:
    """The value of a YAML text; `where` names its origin in errors."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        message = " ".join(str(error).split())
        raise ConfigError(f"{where} is not valid YAML: {message}", do="mend the line it names") from error


def override(mapping: Mapping[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """Return a copy of `mapping` with dotted assignments applied, values read as YAML.

    >>> override({"training": {"steps": 10}}, ["training.steps=200", "corpus.sources=[a, b]"])
    {'training': {'steps': 200}, 'corpus': {'sources': ['a', 'b']}}
    """
    result = _copy(mapping)
    for assignment in assignments:
        dotted, equals, text = assignment.partition("=")
        if not equals or not all(dotted.split(".")):
            raise ConfigError(
                f"--set {assignment!r} is not an assignment",
                allowed="key.key=value",
                do="write e.g. training.steps=200",
            )
        *parents, last = dotted.strip().split(".")
        place = result
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise ConfigError(
                    f"--set {assignment!r}: {parent!r} is a value, not a section", do="shorten the key"
                )
        place[last] = parse_yaml(text, where=f"--set {dotted}")
    return result


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value


def from_mapping(cls: type[Config], mapping: Mapping[str, Any] | None, where: str = "") -> Config:
    """Build the dataclass `cls` from a mapping, nested dataclasses included.

    Args:
        mapping: keys are field names; None means all defaults.
        where: dotted prefix for error messages, e.g. "training".

    Raises:
        ConfigError: unknown key (names the nearest), missing key, or a value that its type refuses.

    >>> @dataclasses.dataclass(frozen=True, kw_only=True)
    ... class Optimizer:
    ...     learning_rate: float = 1e-3
    >>> from_mapping(Optimizer, {"learning_rate": 1})
    Optimizer(learning_rate=1.0)
    """
    place = where or cls.__name__
    if mapping is None:
        mapping = {}
    if not isinstance(mapping, Mapping):
        raise ConfigError(f"{place}={mapping!r} is not a section", allowed="a mapping of keys to values")
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for key, value in mapping.items():
        dotted = f"{where}.{key}" if where else str(key)
        if key not in fields:
            raise ConfigError(f"unknown key {dotted!r}", do=nearest(str(key), fields))
        values[key] = _convert(hints[key], value, dotted)
    for name, field in fields.items():
        has_default = (
            field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        )
        if name not in values and not has_default:
            raise ConfigError(f"{place} lacks the key {name!r}", do="give it a value")
    try:
        return cls(**values)
    except ConfigError as error:
        if not where or error.what.startswith(where):
            raise
        raise ConfigError(f"{where}: {error.what}", allowed=error.allowed, do=error.do) from error


def _convert(kind: Any, value: Any, where: str) -> Any:
    """`value` as the annotated type `kind`, or a ConfigError that names `where`."""
    origin, args = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin in (Union, types.UnionType):
        return _convert_union(args, value, where)
    if origin is Literal:
        if isinstance(value, bool) and value not in args:
            # YAML 1.1 reads on and off (no quotes) as truth values; everyone means the words.
            value = "on" if value else "off"
        if value in args:
            return value
        raise ConfigError(f"{where}={value!r} is not known", allowed=", ".join(map(str, args)))
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return value if isinstance(value, kind) else from_mapping(kind, value, where)
    if origin in (list, tuple, Sequence):
        return _convert_sequence(origin, args, value, where)
    if origin in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise _wrong_type(where, value, "a mapping")
        return {_convert(args[0], k, where): _convert(args[1], v, f"{where}.{k}") for k, v in value.items()}
    return _convert_scalar(kind, value, where)


def _convert_union(args: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in args:
        return None
    choices = [choice for choice in args if choice is not type(None)]
    exact = [choice for choice in choices if isinstance(choice, type) and type(value) is choice]
    errors: list[ConfigError] = []
    for choice in exact + choices:
        try:
            return _convert(choice, value, where)
        except ConfigError as error:
            errors.append(error)
    raise errors[0]


def _convert_sequence(origin: Any, args: tuple[Any, ...], value: Any, where: str) -> Any:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise _wrong_type(where, value, "a list")
    if origin is tuple and args and args[-1] is not Ellipsis:
        if len(value) != len(args):
            raise _wrong_type(where, value, f"a list of {len(args)}")
        return tuple(
            _convert(kind, item, f"{where}[{i}]")
            for i, (kind, item) in enumerate(zip(args, value, strict=True))
        )
    kind = args[0] if args else Any
    items = [_convert(kind, item, f"{where}[{i}]") for i, item in enumerate(value)]
    return tuple(items) if origin is tuple else items


def _convert_scalar(kind: Any, value: Any, where: str) -> Any:
    if kind is float and isinstance(value, str):
        # YAML 1.1 reads 3e-4 (no dot) as text; everyone means the number.
        try:
            return float(value)
        except ValueError:
            raise _wrong_type(where, value, "a number") from None
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if kind is Path and isinstance(value, str):
        return Path(value)
    if isinstance(kind, type) and issubclass(kind, Enum):
        try:
            return kind(value)
        except ValueError:
            raise ConfigError(
                f"{where}={value!r} is not known", allowed=", ".join(str(m.value) for m in kind)
            ) from None
    if kind is int and isinstance(value, bool):
        raise _wrong_type(where, value, "a whole number")
    if isinstance(kind, type) and not isinstance(value, kind):
        names = {
            int: "a whole number",
            float: "a number",
            str: "text",
            bool: "true or false",
            dict: "a mapping",
            list: "a list",
        }
        raise _wrong_type(where, value, names.get(kind, kind.__name__))
    return value


def _wrong_type(where: str, value: Any, allowed: str) -> ConfigError:
    return ConfigError(f"{where}={value!r} has the wrong type", allowed=allowed)


def to_mapping(config: Any) -> Any:
    """The dataclass as plain YAML/JSON values: the inverse of `from_mapping`."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {f.name: to_mapping(getattr(config, f.name)) for f in dataclasses.fields(config) if f.init}
    if isinstance(config, Mapping):
        return {str(key): to_mapping(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return [to_mapping(value) for value in config]
    if isinstance(config, Path):
        return str(config)
    return config.value if isinstance(config, Enum) else config
