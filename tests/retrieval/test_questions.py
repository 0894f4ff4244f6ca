"""Question sets: what is read, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hortus.errors import DataError
from hortus.retrieval import (
    Question,
    count_mentions,
    load_questions,
    read_page_views,
    with_popularity,
    write_questions,
)

ROW: dict[str, Any] = {"question": "What color is snow?", "answers": ["white"], "relation": "color"}


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("\n".join(json.dumps(ROW | row) for row in rows))
    return path


def test_popqa_columns_in_every_format(tmp_path: Path) -> None:
    row = {"id": "7", "subj": "snow", "prop": "color", "obj": "white", "s_pop": "12"}
    row |= {"question": "What color is snow?", "possible_answers": '["pale", "white"]'}
    expected = Question("7", "What color is snow?", "snow", "color", ("white", "pale"), 12.0)
    (tmp_path / "q.tsv").write_text(
        "\t".join(row) + "\n" + "\t".join(value.replace('"', '""').join('""') for value in row.values())
    )
    (tmp_path / "q.jsonl").write_text(json.dumps(row))
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "q.parquet")
    for name in ("q.tsv", "q.jsonl", "q.parquet"):
        assert load_questions(tmp_path / name) == [expected]
    write_questions([expected], tmp_path / "again.jsonl")
    assert load_questions(tmp_path / "again.jsonl") == [expected]


def test_popularity_that_is_none(tmp_path: Path) -> None:
    path = write(tmp_path / "q.jsonl", {"s_pop": -1}, {"s_pop": None}, {"s_pop": "?"}, {}, {"s_pop": 0})
    assert [q.popularity for q in load_questions(path)] == [None, None, None, None, 0.0]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"id": "a"}, {"id": "a"}], "given twice, 'a'"),
        ([{"id": "a"}, {}], "1 of 2 rows .* have no 'id'"),
        ([{"question": " "}], "row 0 has no question"),
        ([{"answers": []}], "has no answers"),
        ([{"answers": "white"}], "a JSON list"),
    ],
)
def test_bad_rows(tmp_path: Path, rows: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(DataError, match=words):
        load_questions(write(tmp_path / "q.jsonl", *rows))


def test_bad_files(tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text("{")
    with pytest.raises(DataError, match="line 1 is not JSON"):
        load_questions(tmp_path / "q.jsonl")
    (tmp_path / "e.jsonl").write_text("")
    with pytest.raises(DataError, match="no question"):
        load_questions(tmp_path / "e.jsonl")
    with pytest.raises(DataError, match="not a file"):
        load_questions(tmp_path / "missing.tsv")


def test_from_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    path = write(tmp_path / "test.jsonl", {})
    monkeypatch.setattr(
        huggingface_hub, "list_repo_files", lambda *_, **__: ["a.tsv", "test.jsonl", "README.md"]
    )
    asked: list[str] = []
    monkeypatch.setattr(
        huggingface_hub, "hf_hub_download", lambda name, file, **_: asked.append(file) or str(path)
    )
    assert len(load_questions("someone/questions")) == 1
    assert asked == ["test.jsonl"]
    monkeypatch.setattr(huggingface_hub, "list_repo_files", lambda *_, **__: ["README.md"])
    with pytest.raises(DataError, match="no question file"):
        load_questions("someone/questions")


def test_mentions_and_views(tmp_path: Path) -> None:
    texts = ["New York, new york!", "York", "newyork"]
    assert count_mentions(texts, ["New York", "York", "Rome", ""]) == {
        "New York": 1,
        "York": 2,
        "Rome": 0,
        "": 0,
    }
    (tmp_path / "v.tsv").write_text("New York\t12\n\nYork\t3.5\n")
    views = read_page_views(tmp_path / "v.tsv")
    question = Question("1", "?", "York", "", ("a",))
    assert with_popularity([question], views)[0].popularity == 3.5
    assert with_popularity([question], {})[0].popularity is None
    (tmp_path / "v.tsv").write_text("York\tmany\n")
    with pytest.raises(DataError, match="line 1"):
        read_page_views(tmp_path / "v.tsv")


def test_entity_questions_as_published(tmp_path: Path) -> None:
    names = ["Asa", "Asa Nagar", "B-17", "Canton of Marseille-1", "O'Hara's Inn"]
    templates = {
        "P17": "Which country is {} located in?",
        "P40": "Who is {}'s child?",
        "P36": "{}: which capital?",
    }
    for relation, template in templates.items():
        rows = [{"question": template.format(name), "answers": [name]} for name in names]
        (tmp_path / f"{relation}.test.json").write_text(json.dumps(rows))
        (tmp_path / f"{relation}.train.json").write_text("[{}]")
    questions = load_questions(tmp_path)
    assert len({one.id for one in questions}) == len(questions) == 15
    for one in questions:
        assert one.subject == one.answers[0] and one.id.startswith(f"{one.relation}/")
    single = load_questions(tmp_path / "P17.test.json")
    assert single[0].relation == "" and single[0].subject == ""
    (tmp_path / "P17.test.json").write_text('{"question": "?"}')
    with pytest.raises(DataError, match="not a list of questions"):
        load_questions(tmp_path)
