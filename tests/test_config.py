"""Configuration: typed, strict about keys, and the same after a round trip."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hortus.config import from_mapping, load_yaml, override, to_mapping
from hortus.errors import ConfigError, DataError


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    name: Literal["adamw", "adam"] = "adamw"
    betas: tuple[float, float] = (0.9, 0.95)


@dataclass(frozen=True, kw_only=True)
class Training:
    steps: int = 10
    rate: float = 1e-3
    note: str | None = None
    sources: tuple[str, ...] = ()
    weights: dict[str, float] = field(default_factory=dict)
    folder: Path = Path("runs")
    optimizer: Optimizer = Optimizer()

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ConfigError(f"steps={self.steps} is not positive", allowed="1 or more")


def test_values_are_converted_to_the_annotated_types() -> None:
    config = from_mapping(Training, {"steps": 5.0, "rate": "3e-4", "sources": ["a"], "weights": {"en": 1}})
    assert config == Training(steps=5, rate=3e-4, sources=("a",), weights={"en": 1.0})
    assert isinstance(config.steps, int)


def test_the_words_on_and_off_need_no_quotes() -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Switched:
        compile: Literal["auto", "on", "off"] = "auto"

    assert from_mapping(Switched, override({}, ["compile=off"])).compile == "off"
    assert from_mapping(Switched, override({}, ["compile=on"])).compile == "on"


def test_nested_sections_are_built_and_refused_by_place() -> None:
    assert from_mapping(Training, {"optimizer": {"name": "adam"}}).optimizer.name == "adam"
    with pytest.raises(ConfigError, match=r"training\.optimizer\.nam.*did you mean 'name'"):
        from_mapping(Training, {"optimizer": {"nam": "adam"}}, "training")


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"stepz": 1}, r"training\.stepz.*did you mean 'steps'"),
        ({"steps": "many"}, r"training\.steps='many'.*a whole number"),
        ({"steps": True}, "a whole number"),
        ({"steps": 1.5}, "a whole number"),
        ({"rate": "fast"}, "a number"),
        ({"sources": "a"}, "a list"),
        ({"optimizer": {"name": "sgd"}}, "adamw, adam"),
        ({"optimizer": {"betas": [0.9]}}, "a list of 2"),
        ({"optimizer": 3}, "a mapping"),
        ({"steps": 0}, "training: steps=0 is not positive"),
    ],
)
def test_bad_values_name_the_place_and_what_is_allowed(mapping: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_mapping(Training, mapping, "training")


def test_a_key_without_default_must_be_given() -> None:
    required = dataclasses.make_dataclass("Required", [("path", str)], frozen=True, kw_only=True)
    with pytest.raises(ConfigError, match="lacks the key 'path'"):
        from_mapping(required, {})


@given(
    steps=st.integers(1, 10**6),
    rate=st.floats(allow_nan=False, allow_infinity=False),
    note=st.none() | st.text(),
    sources=st.lists(st.text()),
    weights=st.dictionaries(st.text(), st.floats(allow_nan=False)),
)
def test_to_mapping_is_the_inverse_of_from_mapping(steps, rate, note, sources, weights) -> None:
    config = Training(steps=steps, rate=rate, note=note, sources=tuple(sources), weights=weights)
    assert from_mapping(Training, to_mapping(config)) == config


def test_override_reads_values_as_yaml_and_leaves_the_original_alone() -> None:
    original = {"a": {"b": [1]}}
    changed = override(original, ["a.b=[2, 3]", "a.c=true", "d.e=null"])
    assert changed == {"a": {"b": [2, 3], "c": True}, "d": {"e": None}}
    assert original == {"a": {"b": [1]}}


@pytest.mark.parametrize("assignment", ["steps", "=1", "a..b=1", "a.b.c=1", "a=[1"])
def test_override_refuses_what_is_no_assignment(assignment: str) -> None:
    with pytest.raises(ConfigError):
        override({"a": {"b": 1}}, [assignment])


def test_yaml_files_are_read_strictly(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    for text, message in [
        ("a: 1\na: 2\n", "given twice"),
        ("- 1\n", "a mapping"),
        ("a: [1\n", "not valid YAML"),
    ]:
        path.write_text(text)
        with pytest.raises(ConfigError, match=message):
            load_yaml(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="UTF-8"):
        load_yaml(path)
    with pytest.raises(DataError, match="cannot read"):
        load_yaml(tmp_path / "missing.yaml")
    path.write_text("!!python/object/apply:os.system [echo]\n")
    with pytest.raises(ConfigError):
        load_yaml(path)
