"""How text is generated, and the two-way reading of Hugging Face's generation_config.json.

What differs from that file: one number, `temperature`, says both whether and how sharply to sample (0 is
greedy), and a `top_k` or `top_p` that is absent from the file is off rather than a library's default.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hortus.artifact import read_json, write_json
from hortus.config import from_mapping
from hortus.errors import ArtifactError, ConfigError

__all__ = ["GENERATION_FILE", "GenerationConfig"]

GENERATION_FILE = "generation_config.json"


@dataclass(frozen=True, kw_only=True)
class GenerationConfig:
    """Settings of `LanguageModel.generate`.

    max_new_tokens: the most tokens to add to a text.
    temperature: 0 takes the likeliest token; otherwise logits are divided by it and sampled.
    top_k: sample among the k likeliest tokens only; 0 is off.
    top_p: sample among the fewest tokens whose probabilities reach p; 1 is off.
    repetition_penalty: logits of tokens already in the text, prompt included, are divided by it where
        positive and multiplied where negative; 1 is off (CTRL, Keskar et al. 2019, section 4.1).
    stop: strings that end the text; they are not part of it.
    seed: makes sampling repeatable; None draws afresh.
    eos_token_id: tokens that end the text; None takes the tokenizer's, an empty list never ends early.

    Raises:
        ConfigError: a value outside its range.

    >>> GenerationConfig(temperature=0.7).to_hugging_face()
    {'max_new_tokens': 64, 'do_sample': True, 'temperature': 0.7}
    """

    max_new_tokens: int = 64
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    eos_token_id: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        checks = {
            "max_new_tokens": (self.max_new_tokens >= 0, "0 or more"),
            "temperature": (math.isfinite(self.temperature) and self.temperature >= 0, "0 (greedy) or more"),
            "top_k": (self.top_k >= 0, "0 (off) or more"),
            "top_p": (0 < self.top_p <= 1, "above 0, at most 1 (off)"),
            "repetition_penalty": (0 < self.repetition_penalty < math.inf, "above 0; 1 is off"),
            "stop": (all(self.stop), "strings that are not empty"),
        }
        for name, (fine, allowed) in checks.items():
            if not fine:
                raise ConfigError(f"{name}={getattr(self, name)!r}", allowed=allowed)

    def replaced(self, **changes: Any) -> GenerationConfig:
        """A copy with some settings changed; one string is accepted for `stop`, one id for `eos_token_id`.

        Raises:
            ConfigError: an unknown setting (the nearest is named), a wrong type or value.

        >>> GenerationConfig().replaced(stop="###").stop
        ('###',)
        """
        if isinstance(changes.get("stop"), str):
            changes["stop"] = (changes["stop"],)
        if isinstance(changes.get("eos_token_id"), int):
            changes["eos_token_id"] = (changes["eos_token_id"],)
        own = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return from_mapping(GenerationConfig, own | changes)

    @classmethod
    def from_hugging_face(cls, mapping: Mapping[str, Any]) -> GenerationConfig:
        """Read the content of a generation_config.json; keys that hortus does not have are ignored.

        `max_length`, which counts the prompt too, is not read: set `max_new_tokens`.
        """
        names = ("max_new_tokens", "top_k", "top_p", "repetition_penalty", "eos_token_id")
        values = {name: mapping[name] for name in names if mapping.get(name) is not None}
        if mapping.get("do_sample"):
            temperature = mapping.get("temperature")
            values["temperature"] = 1.0 if temperature is None else temperature
        if mapping.get("stop_strings"):
            values["stop"] = mapping["stop_strings"]
        return cls().replaced(**values)

    def to_hugging_face(self) -> dict[str, Any]:
        """The content of generation_config.json: what differs from the defaults, under published names."""
        written: dict[str, Any] = {"max_new_tokens": self.max_new_tokens, "do_sample": self.temperature > 0}
        default = GenerationConfig()
        for name in ("temperature", "top_k", "top_p", "repetition_penalty"):
            if getattr(self, name) != getattr(default, name):
                written[name] = getattr(self, name)
        if self.stop:
            written["stop_strings"] = list(self.stop)
        if self.eos_token_id:
            ids = list(self.eos_token_id)
            written["eos_token_id"] = ids[0] if len(ids) == 1 else ids
        return written

    @classmethod
    def read(cls, folder: str | Path) -> GenerationConfig:
        """The settings stored in an artifact folder; defaults where there are none.

        Raises:
            ArtifactError: the file is not a JSON object or holds an impossible value.
        """
        path = Path(folder) / GENERATION_FILE
        if not path.is_file():
            return cls()
        mapping = read_json(path)
        if not isinstance(mapping, dict):
            raise ArtifactError(f"{path} holds a {type(mapping).__name__}", allowed="a JSON object")
        try:
            return cls.from_hugging_face(mapping)
        except ConfigError as error:
            raise ArtifactError(f"{path}: {error}", do="mend the file") from error

    def write(self, folder: str | Path, **token_ids: int | None) -> None:
        """Write generation_config.json into a folder.

        Args:
            token_ids: e.g. eos_token_id=2, for keys that the settings leave to the tokenizer. transformers
                looks for them here and not in config.json once this file exists.
        """
        known = {name: index for name, index in token_ids.items() if index is not None}
        write_json(Path(folder) / GENERATION_FILE, known | self.to_hugging_face())
