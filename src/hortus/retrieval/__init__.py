"""What a model knows, and when to look it up: probing, BM25, gates. Nothing heavy is imported until used.

questions = load_questions("popqa.tsv")
answers = probe(model, questions, ProbeConfig(shots=15), cache="answers.sqlite")
thresholds = choose_thresholds(relation, popularity, correct_parametric, correct_retrieved)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hortus.registry import lazy_attributes

if TYPE_CHECKING:
    from hortus.retrieval.adaptation import GateScore, compare_gates
    from hortus.retrieval.answering import Gate, RetrievalAnswerer
    from hortus.retrieval.bm25 import Bm25Config, Bm25Index, build_bm25
    from hortus.retrieval.config import ProbeConfig, WorldConfig
    from hortus.retrieval.dense import DenseConfig, DenseIndex, build_dense, open_index
    from hortus.retrieval.gates import Evidence
    from hortus.retrieval.passages import Passage, read_passages
    from hortus.retrieval.popularity import count_mentions, read_page_views, with_popularity
    from hortus.retrieval.probing import Probe, probe, write_passages
    from hortus.retrieval.questions import Question, load_questions, set_aside, write_questions
    from hortus.retrieval.recall import recall_at
    from hortus.retrieval.results import Results, read_results, results_of, write_results
    from hortus.retrieval.thresholds import choose_bin_thresholds, choose_thresholds
    from hortus.retrieval.world import World, make_world

__all__ = [
    "Bm25Config",
    "Bm25Index",
    "DenseConfig",
    "DenseIndex",
    "Evidence",
    "Gate",
    "GateScore",
    "Passage",
    "Probe",
    "ProbeConfig",
    "Question",
    "Results",
    "RetrievalAnswerer",
    "World",
    "WorldConfig",
    "build_bm25",
    "build_dense",
    "choose_bin_thresholds",
    "choose_thresholds",
    "compare_gates",
    "count_mentions",
    "load_questions",
    "make_world",
    "open_index",
    "probe",
    "read_page_views",
    "read_passages",
    "read_results",
    "recall_at",
    "results_of",
    "set_aside",
    "with_popularity",
    "write_passages",
    "write_questions",
    "write_results",
]

_PLACES = {
    "adaptation": ("GateScore", "compare_gates"),
    "answering": ("Gate", "RetrievalAnswerer"),
    "bm25": ("Bm25Config", "Bm25Index", "build_bm25"),
    "config": ("ProbeConfig", "WorldConfig"),
    "dense": ("DenseConfig", "DenseIndex", "build_dense", "open_index"),
    "gates": ("Evidence",),
    "passages": ("Passage", "read_passages"),
    "popularity": ("count_mentions", "read_page_views", "with_popularity"),
    "probing": ("Probe", "probe", "write_passages"),
    "questions": ("Question", "load_questions", "set_aside", "write_questions"),
    "recall": ("recall_at",),
    "results": ("Results", "read_results", "results_of", "write_results"),
    "thresholds": ("choose_bin_thresholds", "choose_thresholds"),
    "world": ("World", "make_world"),
}

__getattr__ = lazy_attributes(__name__, {name: place for place, names in _PLACES.items() for name in names})
