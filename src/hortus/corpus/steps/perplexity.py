"""Drop documents that a language model finds too unlikely, or so likely that they must be boilerplate.

ROOTS used KenLM 5-grams on Wikipedia; the published bounds belong to those models. Any hortus model serves
here, and its own bounds have to be found first (`hortus corpus tune`). Perplexity is
exp(-log-probability / tokens) over the first characters of a document, rounded to a tenth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

import hortus
from hortus.corpus.config import CODE
from hortus.corpus.steps.step import divide

__all__ = ["Perplexity", "Scorer", "model_scorer"]

Scorer = Callable[[Sequence[str]], Sequence[float]]  # texts to perplexities
READ_CHARACTERS = 2000


@cache
def model_scorer(folder: str) -> Scorer:
    """The perplexities that the decoder in a model folder gives texts.

    Raises:
        ArtifactError: no model is there.
    """
    model: Any = hortus.load(folder)

    def score(texts: Sequence[str]) -> Sequence[float]:
        scores = model.score(texts, progress=False)
        return np.exp(-scores.log_probabilities / np.maximum(scores.num_tokens, 1)).round(1).tolist()

    return score


class Perplexity:
    """Drop documents whose perplexity lies outside [min_perplexity, max_perplexity]; code passes.

    Args:
        scorer: a callable, or the folder of a model.
    """

    name = "perplexity"

    def __init__(self, scorer: Scorer | str, max_perplexity: float, min_perplexity: float = 0.0):
        self.scorer = model_scorer(scorer) if isinstance(scorer, str) else scorer
        self.max_perplexity, self.min_perplexity = max_perplexity, min_perplexity

    def apply(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """As Step.apply."""
        languages, texts = batch.column("language").to_pylist(), batch.column("text").to_pylist()
        prose = [row for row, language in enumerate(languages) if language != CODE]
        reasons: list[str | None] = [None] * batch.num_rows
        scores = self.scorer([texts[row][:READ_CHARACTERS] for row in prose]) if prose else []
        for row, perplexity in zip(prose, scores, strict=True):
            if perplexity > self.max_perplexity:
                reasons[row] = "too unlikely"
            elif perplexity < self.min_perplexity:
                reasons[row] = "too likely"
        return divide(batch, reasons)
