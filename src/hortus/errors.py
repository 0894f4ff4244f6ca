"""The one error tree of hortus.

    HortusError
    ├── ConfigError    (ValueError)    a setting, flag, recipe or argument is wrong
    ├── DataError      (ValueError)    a text, table, structure or file of the user's is wrong
    ├── ArtifactError  (RuntimeError)  a model folder or checkpoint is missing, corrupt or does not fit
    └── DeviceError    (RuntimeError)  the machine lacks what was asked for: device, memory, disk, a library

Every message says three things: what was wrong (with the value), what is allowed, and what to do.
The command line prints it as one line and exits with 2.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["ArtifactError", "ConfigError", "DataError", "DeviceError", "HortusError", "nearest"]


class HortusError(Exception):
    """A mistake that the user can mend.

    Args:
        what: what was wrong, with the offending value and where it was found.
        allowed: what would have been accepted.
        do: the next step that mends it.

    >>> str(ConfigError("width=10, num_heads=3", allowed="divisors of 10", do="set num_heads to 2 or 5"))
    'width=10, num_heads=3; allowed: divisors of 10; set num_heads to 2 or 5'
    """

    def __init__(self, what: str, *, allowed: str | None = None, do: str | None = None):
        self.what, self.allowed, self.do = what, allowed, do
        parts = [what]
        if allowed:
            parts.append(f"allowed: {allowed}")
        if do:
            parts.append(do)
        super().__init__("; ".join(parts))


class ConfigError(HortusError, ValueError):
    """A setting, flag, recipe or argument is wrong."""


class DataError(HortusError, ValueError):
    """The user's text, table, structure or file is wrong."""


class ArtifactError(HortusError, RuntimeError):
    """A model folder or checkpoint is missing, corrupt or does not fit."""


class DeviceError(HortusError, RuntimeError):
    """The machine lacks what was asked for: a device, memory, disk space or a library."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A clause that names the known spelling closest to `name`, or all known ones when none is close.

    >>> nearest("stepz", ["steps", "batch_size"])
    "did you mean 'steps'?"
    """
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
