"""A gate as a file, and the answerer that obeys it: bare question or passage first, and why.

The answerer recognises the relation by PopQA's templates and the subject's popularity by the gate's own
table. A question in no template, or about a subject that the table lacks, is looked up: what nobody has
counted is taken for rare.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from hortus.artifact import read_json, write_json
from hortus.errors import ArtifactError, ConfigError
from hortus.retrieval.bm25 import Bm25Index
from hortus.retrieval.config import ProbeConfig
from hortus.retrieval.dense import DenseIndex
from hortus.retrieval.gates import Evidence, Logistic, fit_logistic
from hortus.retrieval.popqa import relation_of
from hortus.retrieval.probing import asking, greedy, own_confidence
from hortus.retrieval.prompts import format_prompt
from hortus.retrieval.results import Results
from hortus.retrieval.scoring import first_line
from hortus.retrieval.thresholds import POOLED, choose_thresholds

__all__ = ["Answer", "By", "Gate", "RetrievalAnswerer"]

By = Literal["popularity", "confidence", "logistic"]

_FORMAT = 1


@dataclass(frozen=True)
class Gate:
    """Retrieve if and only if the value is below the threshold of the question's relation.

    Args:
        by: what is compared: the subject's popularity, or the probability of the model's own answer; or
            "logistic", which weighs both by two regressions instead.
        thresholds: relation -> threshold; the name "" is for all other relations.
        popularity: subject -> popularity.
        index: hash of the corpus that the gate was chosen with; "" fits any.
        price: what a retrieval cost in the choice.
        logistic: the regressions.
    """

    by: By
    thresholds: Mapping[str, float]
    popularity: Mapping[str, float] = field(default_factory=dict)
    index: str = ""
    price: float = 0.0
    logistic: Logistic | None = None

    @classmethod
    def choose(
        cls,
        results: Results,
        by: By = "popularity",
        *,
        price: float = 0.0,
        min_rows: int = 1,
        shrink: float = 0.0,
    ) -> Gate:
        """The gate that answers these questions best; rows of unknown popularity stand aside.

        Raises:
            ConfigError: by confidence, but none was asked for.
        """
        rows = results.evidence
        if by == "confidence" and rows.confidence is None:
            raise ConfigError("a gate by confidence without confidences", do="probe with --confidence")
        values = rows.popularity if rows.confidence is None or by == "popularity" else np.exp(rows.confidence)
        sides = (values, rows.parametric, rows.retrieved)
        found = choose_thresholds(rows.relation, *sides, price=price, min_rows=min_rows, shrink=shrink)
        found |= choose_thresholds([POOLED] * len(rows), *sides, price=price)
        counted = zip(results.subject.tolist(), results.popularity.tolist(), strict=True)
        popularity: dict[str, float] = {}
        for subject, value in counted:
            # Of several entities with one name the most popular one is meant, as far as a question can tell.
            if not math.isnan(value):
                popularity[subject] = max(value, popularity.get(subject, value))
        fitted = fit_logistic(rows, price) if by == "logistic" else None
        return cls(by, {} if fitted else found, popularity, results.index, price, fitted)

    def threshold(self, relation: str | None) -> float:
        """The relation's threshold, else the common one, else always."""
        return self.thresholds.get(relation or POOLED, self.thresholds.get(POOLED, math.inf))

    def save(self, path: str | Path) -> None:
        """Write the gate as JSON; "always" and "never" stand for the infinities, which JSON lacks."""
        spelled = {name: _spell(value) for name, value in self.thresholds.items()}
        values = {"by": self.by, "price": self.price, "index": self.index, "thresholds": spelled}
        fitted = {} if self.logistic is None else {"logistic": self.logistic.to_json()}
        write_json(path, {"format": _FORMAT, **values, **fitted, "popularity": dict(self.popularity)})

    @classmethod
    def load(cls, path: str | Path) -> Gate:
        """The gate of a file.

        Raises:
            ArtifactError: missing, or not a gate.
        """
        value = read_json(path)
        try:
            if value["format"] != _FORMAT or value["by"] not in get_args(By):
                raise ValueError(f"format {value['format']!r}, by {value['by']!r}")
            thresholds = {str(name): _read(limit) for name, limit in value["thresholds"].items()}
            popularity = {str(name): float(count) for name, count in value["popularity"].items()}
            price, by = float(value["price"]), value["by"]
            fitted = Logistic.from_json(value["logistic"], price) if by == "logistic" else None
            return cls(by, thresholds, popularity, str(value["index"]), price, fitted)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ArtifactError(
                f"{path} is no gate: {error}", do="write one: hortus retrieval adapt"
            ) from error


def _spell(limit: float) -> float | str:
    return limit if math.isfinite(limit) else ("always" if limit > 0 else "never")


def _read(limit: float | str) -> float:
    return {"always": math.inf, "never": -math.inf}[limit] if isinstance(limit, str) else float(limit)


@dataclass(frozen=True)
class Answer:
    """What the model is to continue, and why it is asked that way."""

    prompt: str
    details: dict[str, Any]


class RetrievalAnswerer:
    """Prepares questions for a model.

    Args:
        model: asked for its own answer first where the gate goes by confidence, or weighs it.
        index: where passages come from.
        gate: None retrieves always.

    Raises:
        ArtifactError: the gate was chosen with another corpus.
    """

    def __init__(self, model: Any, index: Bm25Index | DenseIndex, gate: Gate | None = None):
        if gate is not None and gate.index and gate.index != index.corpus:
            raise ArtifactError(
                f"the gate was chosen with another version of the corpus than {index.folder} holds",
                do="probe with this index and choose a gate anew",
            )
        self._model, self._index, self._gate = model, index, gate

    def answer(self, question: str) -> Answer:
        """The prompt for a question, with or without a passage, and the reason."""
        prompt = format_prompt(question.strip())
        retrieve, reason = self._decide(question.strip(), prompt)
        passages: Sequence[dict[str, Any]] = ()
        if retrieve:
            hits = self._index.search([question], 1)[0]
            passages = [
                {
                    "id": hit.passage.id,
                    "title": hit.passage.title,
                    "score": hit.score,
                    "text": hit.passage.text,
                }
                for hit in hits
            ]
        if passages:
            prompt = f"{passages[0]['text']}\n\n{prompt}"
        return Answer(prompt, {"retrieved": bool(passages), "passages": list(passages), "reason": reason})

    def _decide(self, question: str, prompt: str) -> tuple[bool, dict[str, Any]]:
        gate = self._gate
        if gate is None:
            return True, {"rule": "always"}
        relation, subject = relation_of(question) or (None, None)
        if gate.logistic is not None:
            return self._weigh(gate.logistic, relation, subject, prompt)
        limit = gate.threshold(relation)
        reason = {"rule": gate.by, "relation": relation, "subject": subject, "threshold": _spell(limit)}
        if gate.by == "confidence":
            value: float | None = self._confidence(prompt)
            reason["confidence"] = value
        else:
            value = gate.popularity.get(subject or "")
            reason["popularity"] = value
        if value is None:
            return limit > -math.inf, reason | {"note": "popularity unknown: taken for rare"}
        return value < limit, reason

    def _weigh(
        self, logistic: Logistic, relation: str | None, subject: str | None, prompt: str
    ) -> tuple[bool, dict[str, Any]]:
        assert self._gate is not None
        popularity = self._gate.popularity.get(subject or "")
        reason: dict[str, Any] = {"rule": "logistic", "relation": relation, "subject": subject}
        reason["popularity"] = popularity
        if popularity is None:
            return True, reason | {"note": "popularity unknown: taken for rare"}
        confidence = None
        if logistic.with_confidence:
            reason["confidence"] = self._confidence(prompt)
            confidence = np.log([max(reason["confidence"], 1e-300)])
        none = np.zeros(1)
        row = Evidence(np.array([relation], object), np.array([popularity]), none, none, confidence)
        without, with_passage = (float(chance[0]) for chance in logistic.chances(row))
        reason |= {"chance_without": without, "chance_with_passage": with_passage, "price": logistic.price}
        return with_passage - without > logistic.price, reason

    def _confidence(self, prompt: str) -> float:
        """The probability of the model's own answer."""
        config = ProbeConfig()
        with asking(self._model) as asker:
            (text,) = asker.generate([prompt], greedy(config.max_new_tokens))
            return float(np.exp(own_confidence(asker, [prompt], [first_line(text)])[0]))
