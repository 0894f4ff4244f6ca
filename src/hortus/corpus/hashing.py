"""Hashes of texts: the same on every machine and in every process."""

from __future__ import annotations

import hashlib

__all__ = ["hash_text", "normalised_key"]


def hash_text(text: str) -> int:
    """64 bits of a text."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def normalised_key(text: str) -> bytes:
    """A 16-byte hash that case and white space do not change.

    >>> normalised_key("Two  words\\n") == normalised_key("two words")
    True
    """
    return hashlib.blake2b("".join(text.casefold().split()).encode(), digest_size=16).digest()
