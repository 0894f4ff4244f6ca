"""Metrics: of ranked choices, of generated texts, of coded texts. Names are lm-evaluation-harness's.

    acc              the likeliest choice is right: sum of its tokens' log-probabilities
    acc_norm         the same sum divided by the choice's characters
    acc_bytes        ... by its UTF-8 bytes
    acc_tokens       ... by its tokens (of a space and the choice)
    acc_mutual_info  the sum after the prompt minus the sum after nothing

Ties go to the first choice. Exact match, F1 and ROUGE are means over documents, for each the best of its
targets; BLEU and chrF are sacrebleu's corpus scores (0 to 100).
"""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hortus.errors import ConfigError, nearest
from hortus.evaluation.statistics import bootstrap_error, mean_and_error
from hortus.evaluation.tasks import Document
from hortus.registry import require

__all__ = ["GENERATION_METRICS", "Score", "choice_scores", "coding_scores", "generation_scores"]

_MOST_CORPUS_DRAWS = 100  # each scores all texts anew; lm-evaluation-harness stops there too


@dataclass(frozen=True)
class Score:
    """A metric's value with its standard error, and where it is a mean the documents' own values."""

    value: float
    standard_error: float
    higher_is_better: bool = True
    by_document: Mapping[int, float] | None = None


def _mean_score(documents: Sequence[Document], values: Sequence[float]) -> Score:
    mean, error = mean_and_error(values)
    indices = [document.index for document in documents]
    return Score(mean, error, by_document=dict(zip(indices, map(float, values), strict=True)))


def choice_scores(
    documents: Sequence[Document],
    log_probabilities: Sequence[np.ndarray],
    num_tokens: Callable[[str], int] | None = None,
    unconditional: Sequence[np.ndarray] | None = None,
) -> dict[str, Score]:
    """Accuracies by the ways of comparing choices.

    Args:
        log_probabilities: for each document (number of choices,), in nats.
        num_tokens: tokens of a choice, where the model's tokenizer is at hand.
        unconditional: the choices' log-probabilities after nothing.

    >>> document = Document(0, "2 + 2 =", ("four, that is", "5"), gold=(1,))
    >>> scores = choice_scores([document], [np.array([-6.0, -3.0])])
    >>> scores["acc"].value, scores["acc_norm"].value
    (1.0, 0.0)
    """
    lengths: dict[str, Callable[[str], int]] = {
        "acc_norm": len,
        "acc_bytes": lambda choice: len(choice.encode("utf-8", "surrogatepass")),
    }
    if num_tokens is not None:
        lengths["acc_tokens"] = num_tokens
    compared: dict[str, list[np.ndarray]] = {"acc": list(log_probabilities)}
    for name, length in lengths.items():
        compared[name] = [
            scores / np.maximum([length(choice) for choice in document.choices], 1)
            for document, scores in zip(documents, log_probabilities, strict=True)
        ]
    if unconditional is not None:
        pairs = zip(log_probabilities, unconditional, strict=True)
        compared["acc_mutual_info"] = [after - alone for after, alone in pairs]
    return {
        name: _mean_score(
            documents,
            [float(int(np.argmax(s)) in d.gold) for d, s in zip(documents, scores, strict=True)],
        )
        for name, scores in compared.items()
    }


def coding_scores(
    documents: Sequence[Document], log_probabilities: Sequence[float], draws: int, seed: int
) -> dict[str, Score]:
    """Perplexity by word and by byte, and bits per byte, over all documents together.

    Words are what white space separates, as in lm-evaluation-harness.
    """
    totals = np.asarray(log_probabilities, dtype=np.float64)
    words = np.array([len(re.split(r"\s+", document.input)) for document in documents], dtype=np.float64)
    num_bytes = np.array([len(document.input.encode()) for document in documents], dtype=np.float64)
    measures: dict[str, tuple[np.ndarray, Callable[[float], float]]] = {
        "word_perplexity": (words, math.exp),
        "byte_perplexity": (num_bytes, math.exp),
        "bits_per_byte": (num_bytes, lambda nats: nats / math.log(2)),
    }
    scores = {}
    for name, (sizes, transform) in measures.items():

        def measure(
            chosen: np.ndarray, sizes: np.ndarray = sizes, transform: Callable[[float], float] = transform
        ) -> float:
            return transform(-totals[chosen].sum() / sizes[chosen].sum())

        error = bootstrap_error(measure, len(documents), draws, seed)
        scores[name] = Score(measure(np.arange(len(documents))), error, higher_is_better=False)
    return scores


def generation_scores(
    documents: Sequence[Document],
    answers: Sequence[str],
    metrics: Sequence[str],
    draws: int = 0,
    seed: int = 0,
) -> dict[str, Score]:
    """The named metrics of generated texts.

    Raises:
        ConfigError: a metric is unknown.
        DeviceError: its package is not installed.

    >>> document = Document(0, "Capital of France?", targets=("Paris",))
    >>> generation_scores([document], ["The Paris."], ["exact_match", "f1"])["f1"].value
    1.0
    """
    scores = {}
    for metric in metrics:
        if metric in _BY_DOCUMENT:
            score = _BY_DOCUMENT[metric]
            best = [
                max((score(answer.strip(), target) for target in document.targets), default=0.0)
                for document, answer in zip(documents, answers, strict=True)
            ]
            scores[metric] = _mean_score(documents, best)
        elif metric in ("bleu", "chrf"):
            scores[metric] = _corpus_score(metric, documents, answers, draws, seed)
        else:
            raise ConfigError(f"unknown metric {metric!r}", do=nearest(metric, GENERATION_METRICS))
    return scores


def _corpus_score(
    metric: str, documents: Sequence[Document], answers: Sequence[str], draws: int, seed: int
) -> Score:
    metrics = require("sacrebleu", extra="evaluation").metrics
    most = max(len(document.targets) for document in documents)
    # sacrebleu takes the n-th references of all texts together, None where a text has fewer.
    references = [
        [document.targets[n] if n < len(document.targets) else None for document in documents]
        for n in range(most)
    ]
    scorer: Any = metrics.BLEU() if metric == "bleu" else metrics.CHRF()

    def score(chosen: np.ndarray) -> float:
        picked = [[texts[n] for n in chosen] for texts in references]
        return float(scorer.corpus_score([answers[n] for n in chosen], picked).score)

    error = bootstrap_error(score, len(documents), min(draws, _MOST_CORPUS_DRAWS), seed)
    return Score(score(np.arange(len(documents))), error)


def _normalized(text: str) -> str:
    """SQuAD's normal form: lower case, no punctuation, no articles, single spaces."""
    kept = "".join(letter for letter in text.lower() if letter not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", kept).split())


def _exact(answer: str, target: str) -> float:
    return float(_normalized(answer) == _normalized(target))


def _f1(answer: str, target: str) -> float:
    ours, theirs = _normalized(answer).split(), _normalized(target).split()
    if not ours or not theirs:
        return float(ours == theirs)
    shared = sum((Counter(ours) & Counter(theirs)).values())
    return 2 * shared / (len(ours) + len(theirs))


def _rouge(kind: str) -> Callable[[str, str], float]:
    def score(answer: str, target: str) -> float:
        scorer = require("rouge_score.rouge_scorer", extra="evaluation").RougeScorer([kind], use_stemmer=True)
        return float(scorer.score(target, answer)[kind].fmeasure)

    return score


_BY_DOCUMENT: dict[str, Callable[[str, str], float]] = {
    "exact_match": _exact,
    "f1": _f1,
    "rouge1": _rouge("rouge1"),
    "rouge2": _rouge("rouge2"),
    "rougeL": _rouge("rougeL"),
}
GENERATION_METRICS = (*_BY_DOCUMENT, "bleu", "chrf")
"""What `generate` can be measured by."""
