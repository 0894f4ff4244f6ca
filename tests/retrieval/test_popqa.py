"""PopQA and EntityQuestions as published: templates, loaders, and BM25 beside the published retrievers."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from hortus.errors import DataError
from hortus.retrieval import (
    Bm25Config,
    build_bm25,
    load_questions,
    read_passages,
    recall_at,
    set_aside,
)
from hortus.retrieval.popqa import TEMPLATES, question_for, relation_of

DATA = Path(os.environ.get("HORTUS_TEST_DATA", "")) / "popqa"
needs_data = pytest.mark.skipif(not (DATA / "popqa_questions.jsonl").is_file(), reason="HORTUS_TEST_DATA")


def test_templates_and_their_inverse() -> None:
    assert len(TEMPLATES) == 16
    for relation in TEMPLATES:
        assert relation_of(question_for(relation, "The capital of X")) == (relation, "The capital of X")
    assert relation_of("What is love?") is None
    with pytest.raises(DataError, match="did you mean 'capital'"):
        question_for("capitol", "Peru")


@needs_data
def test_every_question_maps_to_its_relation() -> None:
    questions = load_questions(DATA / "popqa_questions.jsonl", id_column="row")
    assert len(questions) == 14_267
    assert sum(relation_of(q.question) == (q.relation, q.subject) for q in questions) == 14_267
    known, aside = set_aside(questions)
    assert (len(known), len(aside)) == (4_428, 9_839)
    assert sum(min(map(len, q.answers)) <= 2 for q in questions) == 1_215


@needs_data
def test_rows_without_ids_are_refused() -> None:
    with pytest.raises(DataError, match="10574 of 14267 rows .* have no 'id'"):
        load_questions(DATA / "popqa_questions.jsonl")


@needs_data
def test_entity_questions() -> None:
    questions = load_questions(DATA / "entityquestions_test.jsonl")
    assert len(questions) == 22_075
    assert len({q.relation for q in questions}) == 24


@needs_data
def test_recall_beside_the_published_retrievers(tmp_path: Path) -> None:
    index = build_bm25(read_passages([DATA / "passages.jsonl"], words=None), tmp_path / "index")
    assert len(index.passages) == 5_660
    questions = {q.id: q for q in load_questions(DATA / "popqa_questions.jsonl", id_column="row")}
    runs: dict[str, dict[str, dict[str, object]]] = {}
    for line in (DATA / "retrieved.jsonl").read_text().splitlines():
        record = json.loads(line)
        if record.get("turn", 0) == 0:
            runs.setdefault(record["run"], {})[str(record["row"])] = record
    for run, records in runs.items():
        asked = [questions[row] for row in records]
        found = index.search([q.question for q in asked], 20)
        ours = recall_at(asked, found)
        first = [
            next(p["has_answer"] for p in record["passages"] if p.get("rank", 1) == 1)  # type: ignore[attr-defined]
            for record in records.values()
        ]
        print(run, len(asked), ours, sum(first) / len(first))
        assert ours[20] > ours[1] > 0.4
        assert ours[1] > sum(first) / len(first) - 0.3


def test_config_of_bm25() -> None:
    from hortus.errors import ConfigError

    with pytest.raises(ConfigError, match="lucene"):
        Bm25Config(method="bm52")
