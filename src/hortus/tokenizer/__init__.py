"""Tokenizers: train BLOOM's kind, read any `tokenizer.json`, measure how well one serves each language."""

from hortus.tokenizer.config import TokenizerConfig
from hortus.tokenizer.mixture import language_shares
from hortus.tokenizer.tokenizer import TextStream, Tokenizer
from hortus.tokenizer.train import train_tokenizer

__all__ = ["TextStream", "Tokenizer", "TokenizerConfig", "language_shares", "train_tokenizer"]
