"""Which licence a source file carries: its own SPDX line, else the licence file nearest above it."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

__all__ = ["COPYLEFT", "PERMISSIVE", "licence_of_file", "licence_of_text"]

PERMISSIVE = frozenset({
    "mit", "mit-0", "apache-2.0", "bsd-2-clause", "bsd-3-clause", "0bsd", "isc", "unlicense", "cc0-1.0",
    "zlib", "bsl-1.0", "psf-2.0", "python-2.0", "artistic-2.0", "postgresql", "ncsa", "wtfpl", "bsd", "psf",
})  # fmt: skip
COPYLEFT = frozenset({"gpl-2.0", "gpl-3.0", "lgpl-2.1", "lgpl-3.0", "agpl-3.0"})

_SPDX = re.compile(r"SPDX-License-Identifier:\s*([\w.+-]+)")
# Phrases that only one family's text has, the most specific first.
_PHRASES = (
    ("agpl-3.0", r"GNU AFFERO GENERAL PUBLIC LICENSE"),
    ("lgpl-3.0", r"GNU LESSER GENERAL PUBLIC LICENSE\s+Version 3"),
    ("lgpl-2.1", r"GNU (?:LESSER|LIBRARY) GENERAL PUBLIC LICENSE"),
    ("gpl-3.0", r"GNU GENERAL PUBLIC LICENSE\s+Version 3"),
    ("gpl-2.0", r"GNU GENERAL PUBLIC LICENSE"),
    ("apache-2.0", r"Apache License,?\s+Version 2\.0"),
    ("mpl-2.0", r"Mozilla Public License,?\s+(?:Version|v\.)\s*2\.0"),
    ("psf-2.0", r"PYTHON SOFTWARE FOUNDATION LICENSE"),
    ("bsl-1.0", r"Boost Software License"),
    ("unlicense", r"This is free and unencumbered software released into the public domain"),
    ("cc0-1.0", r"CC0 1\.0 Universal"),
    ("isc", r"Permission to use, copy, modify, and(?:/or)? distribute this software for any purpose"),
    ("mit", r"Permission is hereby granted, free of charge, to any person obtaining a copy"),
    ("bsd-3-clause", r"Neither the name of .{0,200}may be used to endorse"),
    ("bsd-2-clause", r"Redistribution and use in source and binary forms"),
)
_NAMES = re.compile(r"(?:licen[cs]e|copying|unlicense)(?:[.-].*)?", re.IGNORECASE)


def licence_of_text(text: str) -> str | None:
    """The SPDX name (lower case) that a file's first lines or a licence text state, or None.

    >>> licence_of_text("# SPDX-License-Identifier: BSD-3-Clause"), licence_of_text("print(1)")
    ('bsd-3-clause', None)
    """
    stated = _SPDX.search(text)
    if stated:
        return stated[1].lower()
    flowing = " ".join(text.split())
    return next((name for name, phrase in _PHRASES if re.search(phrase, flowing, re.IGNORECASE)), None)


def licence_of_file(path: Path, start: str, root: Path) -> str | None:
    """The licence of a source file: what its first characters say, else its tree's.

    Args:
        start: the first few thousand characters of the file.
        root: no licence file above this folder is looked at.
    """
    return licence_of_text(start[:4000]) or _licence_of_folder(path.parent, root)


@lru_cache(maxsize=4096)
def _licence_of_folder(folder: Path, root: Path) -> str | None:
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if _NAMES.fullmatch(path.name) and path.is_file():
            found = licence_of_text(path.read_text("utf-8", "replace")[:20_000])
            if found:
                return found
    return None if folder == root or folder.parent == folder else _licence_of_folder(folder.parent, root)
