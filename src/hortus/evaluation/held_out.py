"""Held-out bits per byte by language: a loss that compares across vocabularies and with a compressor.

    bits per byte = -sum of log2 p(token | tokens before it in the document) / UTF-8 bytes of the text

The end-of-document token is not counted, since the compressor does not code it either. `xz -9` compresses the
same documents of a language joined by a newline: what a general compressor learns from that text alone.
"""

from __future__ import annotations

import lzma
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as parquet

from hortus.artifact import write_json
from hortus.errors import DataError
from hortus.evaluation.config import HeldOutConfig
from hortus.recipe import Stage, StageContext, StageResult
from hortus.report import Table

if TYPE_CHECKING:
    from hortus.language import LanguageModel

__all__ = ["STAGE", "LanguageScore", "bits_per_byte", "held_out_documents", "xz_bits_per_byte"]

POOLED = "other languages"


@dataclass(frozen=True)
class LanguageScore:
    """One language's held-out text: how much of it, and what it costs to code."""

    language: str
    documents: int
    num_bytes: int
    bits_per_byte: float
    xz_bits_per_byte: float


def xz_bits_per_byte(texts: Sequence[str]) -> float:
    """Bits that `xz -9` needs for each byte of the texts.

    >>> xz_bits_per_byte(["a" * 100_000]) < 0.1
    True
    """
    data = "\n".join(texts).encode()
    return 8 * len(lzma.compress(data, preset=9)) / len(data)


def bits_per_byte(model: LanguageModel, texts: Sequence[str]) -> float:
    """Bits that the model needs for each UTF-8 byte of the texts.

    Raises:
        DataError: the texts are empty.
    """
    num_bytes = sum(len(text.encode()) for text in texts)
    if not num_bytes:
        raise DataError("there is no text to score", allowed="at least one byte")
    log_probability = float(model.score(texts).log_probabilities.sum())
    return -log_probability / math.log(2) / num_bytes


def held_out_documents(folder: Path, config: HeldOutConfig) -> dict[str, list[str]]:
    """Validation documents of a corpus by language, at most `max_bytes` of each, small languages pooled.

    Args:
        folder: the output of a corpus stage.

    Raises:
        DataError: no documents are held out.
    """
    table = parquet.read_table(
        folder / "documents.parquet", columns=["text", "language"], filters=[("split", "==", "validation")]
    )
    by_language: dict[str, list[str]] = {}
    sizes: dict[str, int] = {}
    for text, language in zip(table["text"].to_pylist(), table["language"].to_pylist(), strict=True):
        size = len(text.encode())
        if sizes.get(language, 0) and sizes[language] + size > config.max_bytes:
            continue
        sizes[language] = sizes.get(language, 0) + size
        by_language.setdefault(language, []).append(text)
    if not by_language:
        raise DataError(f"{folder} holds out no documents", do="raise corpus.validation_fraction")
    small = [language for language, size in sizes.items() if size < config.floor_bytes]
    if len(small) > 1 or (small and len(by_language) > 1):
        by_language[POOLED] = [text for language in small for text in by_language.pop(language)]
    return dict(sorted(by_language.items()))


def run(config: HeldOutConfig, context: StageContext) -> StageResult:
    """Score the held-out documents of every language and set them beside xz."""
    from hortus.language import LanguageModel

    model = LanguageModel.load(context.inputs["pretrain"] / "model")
    scores = [
        LanguageScore(
            language,
            len(texts),
            sum(len(text.encode()) for text in texts),
            bits_per_byte(model, texts),
            xz_bits_per_byte(texts),
        )
        for language, texts in held_out_documents(context.inputs["corpus"], config).items()
    ]
    macro = fmean(score.bits_per_byte for score in scores)
    macro_xz = fmean(score.xz_bits_per_byte for score in scores)
    rows = [[s.language, s.documents, s.num_bytes, s.bits_per_byte, s.xz_bits_per_byte] for s in scores]
    rows.append(
        ["macro average", sum(s.documents for s in scores), sum(s.num_bytes for s in scores), macro, macro_xz]
    )
    columns = ["language", "documents", "bytes", "bits per byte", "xz -9"]
    write_json(context.folder / "results.json", _results(scores, macro))
    numbers: dict[str, Any] = {
        "bits_per_byte": macro,
        "xz_bits_per_byte": macro_xz,
        "held-out bits per byte": [dict(zip(columns, row, strict=True)) for row in rows],
    }
    return StageResult(numbers, [Table("Bits per byte on held-out documents", columns, rows)])


def _results(scores: Sequence[LanguageScore], macro: float) -> Mapping[str, float]:
    named = {f"bits per byte, {score.language}": round(score.bits_per_byte, 3) for score in scores}
    return {"bits per byte, macro average": round(macro, 3)} | named


STAGE = Stage(HeldOutConfig, run, needs=("corpus", "pretrain"))
