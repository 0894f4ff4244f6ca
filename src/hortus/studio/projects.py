"""Projects, runs and results in one SQLite file, which also holds the kept answers of models.

The file is a `hortus.evaluation.ResponseCache` with tables of its own. Write-ahead logging makes every change
whole or absent, whatever ends the process. A project is a set of sections; each carries the revision at
which it last changed, so that several tabs can write different sections and never overwrite one unseen.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hortus.errors import DataError
from hortus.evaluation import ResponseCache

__all__ = ["CLIENT_SECTIONS", "ConflictError", "NotFoundError", "Store"]

CLIENT_SECTIONS = ("task", "variations", "cart", "refine", "view")
_MOST_SECTION = 2**20

_SCHEMA = """
create table if not exists projects (
  id text primary key, name text not null, created real, changed real, revision integer not null);
create table if not exists sections (
  project text not null references projects on delete cascade, name text not null,
  revision integer not null, value text not null, primary key (project, name)) without rowid;
create table if not exists runs (
  id text primary key, project text not null references projects on delete cascade,
  slot text not null, state text not null, created real, record text not null, spec text not null);
create index if not exists runs_of_project on runs (project, slot);
create table if not exists results (
  run text not null references runs on delete cascade, prompt text not null, row integer not null,
  tile text not null, primary key (run, prompt, row)) without rowid;
"""


class NotFoundError(DataError):
    """There is no such project, run, row or file."""


class ConflictError(DataError):
    """Another tab has changed the section since."""


class Store:
    """The studio's file; safe to use from several threads.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = Store(Path(folder) / "studio.sqlite")
    ...     project = store.create("AG News", {"view": {"tab": "data"}})
    ...     revision = store.change(project, 1, {"view": {"tab": "results"}})
    ...     store.project(project)["view"], revision
    ...     store.close()
    ({'tab': 'results'}, 2)
    """

    def __init__(self, path: Path):
        self.path = path
        # The cache marks the file as ours, or says that it is something else's.
        ResponseCache(path, model="").close()
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(path, timeout=60, isolation_level=None, check_same_thread=False)
        self._connection.execute("pragma foreign_keys = on")
        self._connection.execute("pragma synchronous = normal")
        self._connection.executescript(_SCHEMA)

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of it is kept, or nothing."""
        with self._lock:
            self._connection.execute("begin immediate")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("rollback")
                raise
            self._connection.execute("commit")

    def _read(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._connection.execute(query, values).fetchall()

    def create(self, name: str, sections: Mapping[str, Any]) -> str:
        """A new project's id."""
        project, now = "p" + uuid.uuid4().hex[:12], time.time()
        with self._writing() as connection:
            connection.execute("insert into projects values (?, ?, ?, ?, 1)", (project, name, now, now))
            self._put(connection, project, 1, sections)
        return project

    def delete(self, project: str) -> None:
        self.head(project)
        with self._writing() as connection:
            connection.execute("delete from projects where id = ?", (project,))

    def heads(self) -> list[dict[str, Any]]:
        """All projects in brief, the one changed last first."""
        return [self.head(one) for (one,) in self._read("select id from projects order by changed desc")]

    def head(self, project: str) -> dict[str, Any]:
        """Name, times and revision.

        Raises:
            NotFoundError: there is no such project.
        """
        found = self._read("select id, name, created, changed, revision from projects where id = ?", project)
        if not found:
            raise NotFoundError(f"there is no project {project!r}")
        return dict(zip(("id", "name", "created", "changed", "revision"), found[0], strict=True))

    def project(self, project: str) -> dict[str, Any]:
        """A project with its sections."""
        with self._lock:
            rows = self._read("select name, value from sections where project = ?", project)
            return self.head(project) | {name: json.loads(value) for name, value in rows}

    def section(self, project: str, name: str) -> Any:
        """One section's value, or None."""
        self.head(project)
        found = self._read("select value from sections where project = ? and name = ?", project, name)
        return json.loads(found[0][0]) if found else None

    def change(
        self, project: str, revision: int | None, sections: Mapping[str, Any], name: str | None = None
    ) -> int:
        """Write sections and return the new revision.

        Args:
            revision: the last that the writer knows; None writes whatever has happened since.

        Raises:
            ConflictError: one of the sections has changed after it.
        """
        with self._writing() as connection:
            current = self.head(project)["revision"]
            if revision is not None:
                changed = dict(self._read("select name, revision from sections where project = ?", project))
                late = [section for section in sections if changed.get(section, 0) > revision]
                if late:
                    raise ConflictError(
                        f"{', '.join(late)} has been changed in another tab", do="take over its state"
                    )
            self._put(connection, project, current + 1, sections)
            connection.execute(
                "update projects set revision = ?, changed = ?, name = coalesce(?, name) where id = ?",
                (current + 1, time.time(), name, project),
            )
        return int(current) + 1

    def _put(
        self, connection: sqlite3.Connection, project: str, revision: int, sections: Mapping[str, Any]
    ) -> None:
        for name, value in sections.items():
            text = json.dumps(value)
            if name in CLIENT_SECTIONS and len(text) > _MOST_SECTION:
                raise DataError(f"the section {name} has {len(text)} characters", allowed=str(_MOST_SECTION))
            connection.execute(
                "insert or replace into sections values (?, ?, ?, ?)", (project, name, revision, text)
            )

    def add_run(
        self, project: str, slot: str, record: Mapping[str, Any], spec: Mapping[str, Any], replace: bool
    ) -> str:
        """A new run's id.

        Args:
            record: what changes while it runs.
            spec: what it was asked for, which may be long and is written once.
            replace: the slot's earlier runs and their results go.
        """
        run = "r" + uuid.uuid4().hex[:12]
        with self._writing() as connection:
            if replace:
                connection.execute("delete from runs where project = ? and slot = ?", (project, slot))
            text = json.dumps({**record, "id": run})
            connection.execute(
                "insert into runs values (?, ?, ?, ?, ?, ?, ?)",
                (run, project, slot, record["state"], record["created"], text, json.dumps(spec)),
            )
        return run

    def run(self, run: str, project: str | None = None) -> dict[str, Any]:
        """A run's record.

        Raises:
            NotFoundError: there is none, or it is another project's.
        """
        found = self._read("select record, project from runs where id = ?", run)
        if not found or (project is not None and found[0][1] != project):
            raise NotFoundError(f"there is no run {run!r}")
        record: dict[str, Any] = json.loads(found[0][0])
        return record

    def spec(self, run: str) -> dict[str, Any]:
        """What a run was asked for."""
        found = self._read("select spec from runs where id = ?", run)
        if not found:
            raise NotFoundError(f"there is no run {run!r}")
        spec: dict[str, Any] = json.loads(found[0][0])
        return spec

    def runs(self, project: str) -> list[dict[str, Any]]:
        """A project's runs, newest first."""
        self.head(project)
        rows = self._read("select record from runs where project = ? order by created desc", project)
        return [json.loads(record) for (record,) in rows]

    def save_run(
        self, record: Mapping[str, Any], results: Iterable[tuple[str, int, Sequence[Any]]] = ()
    ) -> None:
        """A run's record together with new results (prompt, row, tile). A run that is gone stays gone."""
        with self._writing() as connection:
            changed = connection.execute(
                "update runs set state = ?, record = ? where id = ?",
                (record["state"], json.dumps(record), record["id"]),
            )
            if changed.rowcount:
                connection.executemany(
                    "insert or replace into results values (?, ?, ?, ?)",
                    [(record["id"], prompt, row, json.dumps(tile)) for prompt, row, tile in results],
                )

    def delete_run(self, run: str) -> None:
        with self._writing() as connection:
            connection.execute("delete from runs where id = ?", (run,))

    def results(self, run: str) -> dict[str, dict[int, list[Any]]]:
        """A run's results: prompt -> row -> tile."""
        found: dict[str, dict[int, list[Any]]] = {}
        for prompt, row, tile in self._read("select prompt, row, tile from results where run = ?", run):
            found.setdefault(prompt, {})[row] = json.loads(tile)
        return found

    def recover(self) -> int:
        """Mark runs that a former process left in the middle as interrupted; how many there were."""
        left = self._read("select record from runs where state in ('waiting', 'running')")
        for (text,) in left:
            self.save_run({**json.loads(text), "state": "interrupted"})
        return len(left)
