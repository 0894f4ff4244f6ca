"""Topic models and their number: LDA, sBIC, every rival criterion, selection, Monte Carlo studies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hortus.registry import lazy_attributes

if TYPE_CHECKING:
    from hortus.topics.criteria import CRITERIA
    from hortus.topics.formats import Corpus, read_corpus
    from hortus.topics.lda import LatentDirichletAllocation
    from hortus.topics.learning_coefficients import (
        coefficient_matrices,
        gaussian_mixture_coefficient,
        learning_coefficient,
        matrix_coefficient,
    )
    from hortus.topics.selection import Selection, select_num_topics
    from hortus.topics.simulation import simulate
    from hortus.topics.singular import SBICResult, sbic
    from hortus.topics.texts import count_texts

__all__ = [
    "CRITERIA",
    "Corpus",
    "LatentDirichletAllocation",
    "SBICResult",
    "Selection",
    "coefficient_matrices",
    "count_texts",
    "gaussian_mixture_coefficient",
    "learning_coefficient",
    "matrix_coefficient",
    "read_corpus",
    "sbic",
    "select_num_topics",
    "simulate",
]

_HOMES = {
    "CRITERIA": "criteria",
    "Corpus": "formats",
    "LatentDirichletAllocation": "lda",
    "SBICResult": "singular",
    "Selection": "selection",
    "coefficient_matrices": "learning_coefficients",
    "count_texts": "texts",
    "gaussian_mixture_coefficient": "learning_coefficients",
    "learning_coefficient": "learning_coefficients",
    "matrix_coefficient": "learning_coefficients",
    "read_corpus": "formats",
    "sbic": "singular",
    "select_num_topics": "selection",
    "simulate": "simulation",
}

# Resolved when used: reading the room's configuration must not wait for the compiler behind the samplers.
__getattr__ = lazy_attributes(__name__, _HOMES)
