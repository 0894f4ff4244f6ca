"""The models that the studio asks: opened folders and hub ids, and endpoints."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hortus
from hortus.errors import ArtifactError, ConfigError, DataError
from hortus.evaluation import model_hash
from hortus.language import RemoteModel
from hortus.serving.served import own_weights

__all__ = ["ModelEntry", "Models", "open_entry", "open_remote"]


@dataclass(frozen=True)
class ModelEntry:
    """A model that is ready. `hash` files its kept answers; `id` is made of it, so a restart keeps it."""

    name: str
    kind: str
    source: str
    model: Any
    hash: str
    parameters: int | None = None

    @property
    def id(self) -> str:
        return "m" + self.hash[:10]

    def to_mapping(self) -> dict[str, Any]:
        shown = {"id": self.id, "name": self.name, "kind": self.kind, "source": self.source}
        can = ["rank", "generate"]
        return shown | {"can": can, "parameters": self.parameters, "state": "ready", "error": None}


def open_entry(source: str, name: str = "", **options: Any) -> ModelEntry:
    """Open a folder or hub id.

    Raises:
        ArtifactError: it is no artifact.
        ConfigError: its kind neither ranks nor generates.
    """
    opened = hortus.load(source, **options)
    architecture = getattr(getattr(opened, "network", None), "architecture", None)
    if architecture not in ("decoder", "encoder-decoder"):
        raise ConfigError(f"{source} is a {opened.kind}", allowed="decoder and encoder-decoder models")
    own_weights(opened.network)
    size = sum(parameter.numel() for parameter in opened.network.parameters())
    name = name or Path(source).resolve().name
    if name == "model":  # what recipes call it
        name = Path(source).resolve().parent.name
    return ModelEntry(name, opened.kind, source, opened, model_hash(opened), size)


class _WrittenAnswers:
    """An endpoint without log-probabilities: the choice that it writes is the likeliest."""

    def __init__(self, remote: RemoteModel):
        self._remote, self.fingerprint = remote, f"{remote.fingerprint} written"
        self.generate = remote.generate

    def rank(self, texts: Sequence[str], choices: Sequence[Sequence[str]], **options: Any) -> Any:
        return self._remote.rank(texts, choices, method="generation")


def open_remote(
    url: str, name: str | None = None, token: str | None = None, chat: bool = False, method: str = "logprobs"
) -> ModelEntry:
    """A model behind an OpenAI-compatible endpoint; it is asked for its name.

    Raises:
        ConfigError: the URL, or the way of ranking, is wrong.
        DeviceError: nothing answers.
    """
    if method not in ("logprobs", "generation"):
        raise ConfigError(f"method={method!r}", allowed="logprobs, generation")
    remote = RemoteModel(url, name, token=token, chat=chat, seconds=120.0, retries=2)
    model = _WrittenAnswers(remote) if method == "generation" or chat else remote
    key = hashlib.blake2b(model.fingerprint.encode(), digest_size=16).hexdigest()
    return ModelEntry(remote.name, "remote", remote.url, model, key)


class Models:
    """Models by id."""

    def __init__(self) -> None:
        self._entries: dict[str, ModelEntry] = {}
        self._lock = threading.Lock()

    def add(self, entry: ModelEntry) -> ModelEntry:
        """Keep a model; one that is already there stays."""
        with self._lock:
            return self._entries.setdefault(entry.id, entry)

    def remove(self, model: str) -> None:
        with self._lock:
            self._entries.pop(model, None)

    def __getitem__(self, model: str) -> ModelEntry:
        with self._lock:
            if model not in self._entries:
                known = ", ".join(f"{one.id} ({one.name})" for one in self._entries.values())
                raise DataError(f"there is no model {model!r}", allowed=known or None, do="open it first")
            return self._entries[model]

    def listed(self) -> list[dict[str, Any]]:
        with self._lock:
            return [entry.to_mapping() for entry in self._entries.values()]


def same_model(entry: ModelEntry, wanted: str) -> None:
    """Refuse another model than results were made with.

    Raises:
        ArtifactError: the hashes differ.
    """
    if entry.hash != wanted:
        raise ArtifactError(
            f"{entry.source} is not the model that was measured",
            do="give the folder of that model, or measure this one in the studio",
        )
