"""The model that is served, apart from the folder it came from.

Weights read from a file are views of it: a folder that is written over would change the answers, or end the
process, while requests run. So they are copied once, and a change of the folder is noticed and told.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import torch

__all__ = ["FolderWatch", "own_weights"]

_SECONDS = 1.0
_log = logging.getLogger("hortus")


@torch.no_grad()
def own_weights(network: Any) -> None:
    """Copy every tensor into memory that no file backs."""
    for tensor in [*network.parameters(), *network.buffers()]:
        tensor.data = tensor.data.clone()


class FolderWatch:
    """Notices when a folder is no longer what it was.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     watch = FolderWatch(Path(folder), seconds=0)
    ...     before = watch.changed
    ...     _ = (Path(folder) / "config.json").write_text("{}")
    ...     before, watch.changed
    (False, True)
    """

    def __init__(self, folder: Path | None, seconds: float = _SECONDS):
        self._folder, self._seconds = folder, seconds
        self._seen, self._last, self._changed = self._look(), time.monotonic(), False

    @property
    def changed(self) -> bool:
        """Whether files have come, gone or been written; once true it stays so."""
        if not self._changed and time.monotonic() - self._last >= self._seconds:
            self._last = time.monotonic()
            if self._look() != self._seen:
                self._changed = True
                _log.warning("%s has changed; what was loaded at the start is still served", self._folder)
        return self._changed

    def _look(self) -> dict[str, tuple[int, int, int]] | None:
        if self._folder is None:
            return None
        try:
            stats = {path.name: path.stat() for path in self._folder.iterdir()}
        except OSError:
            return {}
        return {name: (s.st_mtime_ns, s.st_size, s.st_ino) for name, s in stats.items()}
