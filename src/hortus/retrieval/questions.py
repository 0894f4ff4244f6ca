"""Question sets: PopQA, EntityQuestions, or any rows with a question, answers, relation and popularity."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from hortus.artifact import replacing_file
from hortus.errors import DataError

__all__ = ["Question", "load_questions", "set_aside", "write_questions"]

# Our field -> the columns that may hold it: ours, PopQA's, EntityQuestions'.
_COLUMNS = {
    "subject": ("subject", "subj"),
    "relation": ("relation", "prop"),
    "answers": ("answers", "possible_answers"),
    "popularity": ("popularity", "s_pop"),
}


@dataclass(frozen=True)
class Question:
    """One question.

    answers: every string that counts as right; the first one is its label, shown in examples.
    popularity: of the subject; None where it is not known.
    """

    id: str
    question: str
    subject: str
    relation: str
    answers: tuple[str, ...]
    popularity: float | None = None

    @property
    def label(self) -> str:
        """The answer as examples show it."""
        return self.answers[0]


def load_questions(source: str | Path, *, id_column: str | None = None) -> list[Question]:
    """Read a question set: a .jsonl, .json, .tsv, .csv or .parquet file, a folder, or a hub dataset's id.

    A folder is EntityQuestions as published: one file a relation (P17.test.json), of which those named test
    are read where there are some. Rows without a relation take the beginning of their file's name; where no
    row of a relation names its subject, the subject is what the relation's questions do not share.

    Columns: question; answers or possible_answers (a list, or a JSON list as text); relation or prop;
    subject or subj; popularity or s_pop. PopQA's `obj` becomes the first answer. A popularity that is
    absent, negative or no number is None.

    Args:
        id_column: where the ids stand; None is "id" if any row has it, else the rows are numbered.

    Raises:
        DataError: unreadable; a row without question or answers; ids that are missing or given twice.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "q.jsonl"
    >>> _ = path.write_text('{"question": "What color is snow?", "answers": ["white"], "relation": "color"}')
    >>> load_questions(path)[0].label
    'white'
    """
    path = Path(source)
    if path.is_dir():
        return _with_subjects(_read_folder(path))
    if not path.is_file():
        path = _from_hub(str(source))
    rows = _read_rows(path)
    if not rows:
        raise DataError(f"{path} holds no question", do="check the file")
    if id_column is None and any(row.get("id") not in (None, "") for row in rows):
        id_column = "id"
    questions = [_question(row, number, id_column, path) for number, row in enumerate(rows)]
    _check_ids(questions, rows, id_column, path)
    return _with_subjects(questions)


def _read_folder(folder: Path) -> list[Question]:
    files = sorted(path for path in folder.rglob("*") if path.suffix in _READERS)
    files = [path for path in files if ".test." in path.name] or files
    questions = []
    for path in files:
        relation = path.name.partition(".")[0]
        for number, row in enumerate(_read_rows(path)):
            one = _question(row, number, None, path)
            questions.append(replace(one, id=f"{relation}/{one.id}", relation=one.relation or relation))
    if not questions:
        raise DataError(f"{folder} holds no question", allowed=f"files of {', '.join(_READERS)}")
    return questions


def _with_subjects(questions: list[Question]) -> list[Question]:
    """The questions with the subjects that no row of their relation names: EntityQuestions has none."""
    groups: dict[str, list[Question]] = {}
    for one in questions:
        if one.relation:
            groups.setdefault(one.relation, []).append(one)
    found: dict[str, str] = {}
    for group in groups.values():
        texts = [one.question for one in group]
        if len(set(texts)) > 1 and not any(one.subject for one in group):
            found |= zip((one.id for one in group), _unshared(texts), strict=True)
    return [replace(one, subject=found.get(one.id, one.subject)) for one in questions]


def _unshared(texts: Sequence[str]) -> list[str]:
    """What stands between the words that all texts begin with and those that all end with.

    >>> _unshared(["Which country is Kajaani in?", "Which country is Karlova Ves in?"])
    ['Kajaani', 'Karlova Ves']
    """
    # Words and what stands between and after them: "in?" and "Asa's" end where the name does.
    split = [re.findall(r"\w+|\s+|[^\w\s]", text) for text in texts]
    start = _shared(split)
    end = min(_shared([row[::-1] for row in split]), min(map(len, split)) - start - 1)
    return ["".join(row[start : len(row) - end]).strip() for row in split]


def _shared(rows: Sequence[Sequence[str]]) -> int:
    """How many parts all rows begin with, less than the shortest has."""
    most = min(map(len, rows)) - 1
    return next((n for n in range(most) if len({row[n] for row in rows}) > 1), most)


def _from_hub(name: str) -> Path:
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    if name.count("/") > 1 or Path(name).suffix in _READERS:
        raise DataError(f"{name} is not a file", do="check the path")
    try:
        files = [f for f in huggingface_hub.list_repo_files(name, repo_type="dataset")]
        # The split that is scored, where the names say which one it is.
        fitting = sorted((f for f in files if Path(f).suffix in _READERS), key=lambda f: "test" not in f)
        if not fitting:
            raise DataError(f"the dataset {name} holds no question file", allowed=", ".join(_READERS))
        return Path(huggingface_hub.hf_hub_download(name, fitting[0], repo_type="dataset"))
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise DataError(
            f"{name} is no file here, and the hub says: {str(error).splitlines()[0]}",
            allowed="a file, or a dataset's id OWNER/NAME",
        ) from error


def _read_rows(path: Path) -> list[dict[str, Any]]:
    if path.suffix not in _READERS:
        raise DataError(f"{path} is of an unknown kind", allowed=", ".join(_READERS))
    try:
        return _READERS[path.suffix](path)
    except (OSError, UnicodeDecodeError, ValueError, csv.Error) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"cannot read {path}: {error}", do="mend the file") from error


def _read_jsonl(path: Path) -> list[dict[str, Any]]:
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if line.strip():
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise DataError(f"{path} line {number} is not JSON: {error.msg}", do="mend it") from error
            if not isinstance(row, dict):
                raise DataError(f"{path} line {number} is {type(row).__name__}", allowed="JSON objects")
            rows.append(row)
    return rows


def _read_table(path: Path) -> list[dict[str, Any]]:
    text = path.read_text(encoding="utf-8")
    delimiter = "\t" if path.suffix == ".tsv" else ","
    return list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter))


def _read_json(path: Path) -> list[dict[str, Any]]:
    rows = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{path} is not a list of questions", allowed="a JSON list of objects")
    return rows


_READERS: dict[str, Any] = {
    ".json": _read_json,
    ".jsonl": _read_jsonl,
    ".tsv": _read_table,
    ".csv": _read_table,
    ".parquet": lambda path: pq.read_table(path).to_pylist(),
}


def _question(row: Mapping[str, Any], number: int, id_column: str | None, path: Path) -> Question:
    where = f"{path} row {number}"
    question = row.get("question")
    if not isinstance(question, str) or not question.strip():
        raise DataError(f"{where} has no question", allowed="a text under 'question'")
    answers = _answers(_first(row, "answers"), where)
    label = row.get("obj")
    if label in answers:
        answers = (label, *(answer for answer in answers if answer != label))
    return Question(
        id=str(number if id_column is None else row.get(id_column, "")),
        question=question,
        subject=str(_first(row, "subject") or ""),
        relation=str(_first(row, "relation") or ""),
        answers=answers,
        popularity=_popularity(_first(row, "popularity")),
    )


def _first(row: Mapping[str, Any], field: str) -> Any:
    return next((row[name] for name in _COLUMNS[field] if row.get(name) is not None), None)


def _answers(value: Any, where: str) -> tuple[Any, ...]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise DataError(f"{where}: answers {value!r:.40}", allowed="a JSON list of texts") from error
    answers = tuple(one for one in value if isinstance(one, str) and one) if isinstance(value, list) else ()
    if not answers:
        raise DataError(f"{where} has no answers", allowed="a list of texts under 'answers'")
    return answers


def _popularity(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if 0 <= number < float("inf") else None


def _check_ids(
    questions: Sequence[Question], rows: Sequence[Mapping[str, Any]], id_column: str | None, path: Path
) -> None:
    if id_column is not None:
        missing = sum(row.get(id_column) in (None, "") for row in rows)
        if missing:
            raise DataError(
                f"{missing} of {len(rows)} rows in {path} have no {id_column!r}",
                do="name another column that all rows have (id_column)",
            )
    twice = [one for one, count in Counter(question.id for question in questions).items() if count > 1]
    if twice:
        raise DataError(
            f"{len(twice)} ids in {path} are given twice, {twice[0]!r} for one",
            do="answers are joined by id: make them unique",
        )


def set_aside(questions: Iterable[Question]) -> tuple[list[Question], list[Question]]:
    """Those whose popularity is known, and the others.

    >>> rows = [Question("1", "?", "", "", ("a",), 3.0), Question("2", "?", "", "", ("a",))]
    >>> known, aside = set_aside(rows)
    >>> len(known), len(aside)
    (1, 1)
    """
    questions = list(questions)
    known = [one for one in questions if one.popularity is not None]
    return known, [one for one in questions if one.popularity is None]


def write_questions(questions: Iterable[Question], path: str | Path) -> None:
    """Write a question set as JSON lines."""
    with replacing_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for one in questions:
            file.write(json.dumps(vars(one), ensure_ascii=False) + "\n")
