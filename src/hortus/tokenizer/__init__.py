"""Tokenizers: train BLOOM's kind, read any `tokenizer.json`, measure how well one serves each language.

Only the settings are imported at once; the rest when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hortus.registry import lazy_attributes
from hortus.tokenizer.config import TokenizerConfig

if TYPE_CHECKING:
    from hortus.tokenizer.mixture import language_shares
    from hortus.tokenizer.pairs import Window, joined, windows_of_pair
    from hortus.tokenizer.tokenizer import TextStream, Tokenizer
    from hortus.tokenizer.train import train_tokenizer

__all__ = [
    "TextStream",
    "Tokenizer",
    "TokenizerConfig",
    "Window",
    "joined",
    "language_shares",
    "train_tokenizer",
    "windows_of_pair",
]

_HOMES = {
    "TextStream": "tokenizer",
    "Tokenizer": "tokenizer",
    "Window": "pairs",
    "joined": "pairs",
    "windows_of_pair": "pairs",
    "language_shares": "mixture",
    "train_tokenizer": "train",
}

__getattr__ = lazy_attributes(__name__, _HOMES)
