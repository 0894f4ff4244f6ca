"""Answers of models, kept on disk: a SQLite file keyed by model hash, kind of question, text and choice.

Any number of models share one file; an answer of another model is never read, since the hash of all its
weights and its tokenizer is part of the key. Several processes may use the file at once.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from hortus.config import to_mapping
from hortus.errors import ConfigError, DataError

__all__ = ["Question", "ResponseCache", "model_hash"]

Question = tuple[str, str, str]
"""(kind, text, choice or settings)."""

_MARK = 0x686F7274  # "hort", in the file's header: what says that it is ours
_AT_ONCE = 500


class ResponseCache:
    """A file of answers.

    Args:
        path: made when it is not there.
        model: the hash of the model whose answers are read and written.

    Raises:
        DataError: the file is something else, or not readable.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with ResponseCache(f"{folder}/answers.sqlite", model="a") as cache:
    ...         cache.write({("rank", "2 + 2 =", "4"): -0.1})
    ...     with ResponseCache(f"{folder}/answers.sqlite", model="a") as same:
    ...         found = same.read([("rank", "2 + 2 =", "4")])
    ...     with ResponseCache(f"{folder}/answers.sqlite", model="b") as other:
    ...         found, other.read([("rank", "2 + 2 =", "4")])
    ({('rank', '2 + 2 =', '4'): -0.1}, {})
    """

    def __init__(self, path: str | Path, model: str):
        self.path, self.model = Path(path), model
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._connection = sqlite3.connect(self.path, timeout=60, isolation_level=None)
            (mark,) = self._connection.execute("pragma application_id").fetchone()
            (tables,) = self._connection.execute("select count(*) from sqlite_master").fetchone()
            if mark != _MARK and tables:
                raise DataError(f"{self.path} is a database of something else", do="name another file")
            self._connection.execute(f"pragma application_id = {_MARK}")
            self._connection.execute("pragma journal_mode = wal")
            self._connection.execute("pragma synchronous = normal")
            self._connection.execute(
                "create table if not exists answers (key blob primary key, value) without rowid"
            )
        except sqlite3.Error as error:
            raise DataError(
                f"{self.path} is no cache of answers: {error}", do="remove it, or name another file"
            ) from error

    def __enter__(self) -> ResponseCache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def read(self, questions: Sequence[Question]) -> dict[Question, Any]:
        """The answers that are known."""
        by_key = {self._key(question): question for question in questions}
        keys, found = list(by_key), {}
        for start in range(0, len(keys), _AT_ONCE):
            part = keys[start : start + _AT_ONCE]
            marks = ",".join("?" * len(part))
            rows = self._connection.execute(f"select key, value from answers where key in ({marks})", part)
            found.update({by_key[key]: value for key, value in rows})
        return found

    def write(self, answers: Mapping[Question, float | str]) -> None:
        """Keep answers, all or none."""
        rows = [(self._key(question), answer) for question, answer in answers.items()]
        try:
            self._connection.execute("begin immediate")
            self._connection.executemany("insert or replace into answers values (?, ?)", rows)
            self._connection.execute("commit")
        except sqlite3.Error as error:
            raise DataError(
                f"cannot write {self.path}: {error}", do="free space, or name another file"
            ) from error

    def _key(self, question: Question) -> bytes:
        parts = json.dumps([self.model, *question], ensure_ascii=False)
        return hashlib.blake2b(parts.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def model_hash(model: Any) -> str:
    """A hash of everything that decides a model's answers: configuration, weights, tokenizer, longest text.

    A model without a network of its own says what it is in `fingerprint`.

    Raises:
        ConfigError: it has neither.
    """
    given = getattr(model, "fingerprint", None)
    if isinstance(given, str):
        return given
    network = getattr(model, "network", None)
    if network is None:
        raise ConfigError(
            f"{type(model).__name__} has neither network nor fingerprint, so its answers cannot be kept",
            do="evaluate it without a cache",
        )
    import torch

    digest = hashlib.blake2b(digest_size=16)
    head = [to_mapping(network.config), model.tokenizer.fingerprint(), model.max_length]
    digest.update(json.dumps(head, default=str, sort_keys=True).encode())
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
