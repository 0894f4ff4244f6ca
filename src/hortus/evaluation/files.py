"""Tasks from files as others publish them.

    what is in the file                              becomes
    .yaml with a list `tasks`                        prompted datasets (`hortus.prompts.TaskConfig`)
    .json with `examples` and target_scores          BIG-bench: ranked choices
    .json with `examples` and target                 BIG-bench: generated answers; BBH's options are ranked
    query, choices, gold                             multiple choice with the prompt written out
    sentence_good, sentence_bad                      minimal pairs (BLiMP): two choices after nothing
    sent_more, sent_less, stereo_antistereo          CrowS-Pairs: prompted, and by likelihood
    text                                             perplexity and bits per byte

The last four are jsonl, csv, tsv or parquet files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.resources import as_file, files
from itertools import islice
from pathlib import Path
from typing import Any

from hortus.artifact import read_json
from hortus.config import from_mapping, load_yaml
from hortus.errors import ArtifactError, ConfigError, DataError
from hortus.evaluation.tasks import Document, Task, Variant, prompted_task
from hortus.prompts import DatasetConfig, TaskConfig, load_dataset

__all__ = ["read_tasks"]

# BIG-bench's names -> ours; those of ranked choices are all acc.
_BIGBENCH_METRICS = {
    "exact_str_match": ("exact_match",),
    "bleu": ("bleu",),
    "rouge": ("rouge1", "rouge2", "rougeL"),
}


def read_tasks(path: str | Path, limit: int | None = None) -> list[Task | TaskConfig]:
    """The tasks of a file; the kind is seen by its fields.

    Args:
        limit: the first rows only.

    Raises:
        DataError: no such file, or rows of an unknown or broken form.
        ConfigError: an unknown key in a YAML file.

    >>> import json, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     row = {"query": "2 + 2 =", "choices": ["3", "4"], "gold": 1}
    ...     file = Path(folder) / "sums.jsonl"
    ...     _ = file.write_text(json.dumps(row))
    ...     (task,) = read_tasks(file)
    >>> task.name, task.variants[0].documents[0].gold
    ('sums', (1,))
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"there is no task file {path}", do="name a yaml, json, jsonl, csv or parquet file")
    if path.suffix in (".yaml", ".yml"):
        return _yaml_tasks(path)
    if path.suffix == ".json":
        return [_bigbench(path, limit)]
    dataset = load_dataset(path)
    fields = set(dataset.columns)
    for needed, read in _ROW_FORMS:
        if needed <= fields:
            return list(read(path, list(islice(dataset, limit))))
    raise DataError(
        f"{path} has the fields {', '.join(sorted(fields))}",
        allowed=" or ".join(" + ".join(sorted(needed)) for needed, _ in _ROW_FORMS),
        do="write prompts for it and name both in a yaml file",
    )


def _yaml_tasks(path: Path) -> list[Task | TaskConfig]:
    content = load_yaml(path)
    listed = content.get("tasks")
    if not isinstance(listed, list) or set(content) != {"tasks"}:
        raise ConfigError(f"{path} has the keys {', '.join(content)}", allowed="one list: tasks")
    return [from_mapping(TaskConfig, one, f"tasks[{number}]") for number, one in enumerate(listed)]


def _checked(path: Path, number: int, make: Callable[[], Document]) -> Document:
    try:
        return make()
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{path}, example {number}: {error!r}", do="mend or remove it") from error


def _multiple_choice(path: Path, rows: Sequence[Mapping[str, Any]]) -> list[Task]:
    def document(number: int, row: Mapping[str, Any]) -> Document:
        return Document(number, str(row["query"]), tuple(map(str, row["choices"])), (int(row["gold"]),))

    documents = [_checked(path, n, lambda n=n, row=row: document(n, row)) for n, row in enumerate(rows)]  # type: ignore[misc]
    return [Task(path.stem, (Variant("as written", "choice", tuple(documents)),))]


def _minimal_pairs(path: Path, rows: Sequence[Mapping[str, Any]]) -> list[Task]:
    documents = tuple(
        Document(number, "", (str(row["sentence_good"]), str(row["sentence_bad"])), (0,))
        for number, row in enumerate(rows)
    )
    return [Task(path.stem, (Variant("minimal pairs", "choice", documents),))]


def _texts(path: Path, rows: Sequence[Mapping[str, Any]]) -> list[Task]:
    documents = tuple(Document(number, str(row["text"])) for number, row in enumerate(rows))
    return [Task(path.stem, (Variant("texts", "perplexity", documents),))]


def _crows_pairs(path: Path, rows: Sequence[Mapping[str, Any]]) -> list[Task]:
    """Prompted, as BLOOM was measured: is it a stereotype, yes or no; and the likelier sentence of each pair.

    Accuracy near one half says that no preference was found, in either form. Each kind of bias is a task of
    its own beside the whole.
    """
    data = DatasetConfig(source=str(path), classes={"stereo_antistereo": ("stereo", "antistereo")})
    with as_file(files("hortus.evaluation") / "crows_pairs.yaml") as templates:
        config = TaskConfig(name=path.stem, data=data, templates=str(templates), cluster="bias")
        prompted = prompted_task(config, limit=len(rows))
    pairs = tuple(
        Document(number, "", (str(row["sent_more"]), str(row["sent_less"])), (0,))
        for number, row in enumerate(rows)
    )
    likelihood = Task(f"{path.stem} likelihood", (Variant("sentences", "choice", pairs),), "bias")
    tasks = [prompted, likelihood]
    for kind in dict.fromkeys(str(row["bias_type"]) for row in rows if row.get("bias_type")):
        numbers = {number for number, row in enumerate(rows) if str(row["bias_type"]) == kind}
        for whole in (prompted, likelihood):
            variants = [
                replace(v, documents=tuple(d for d in v.documents if d.index in numbers))
                for v in whole.variants
            ]
            tasks.append(Task(f"{whole.name} {kind}", tuple(variants), "bias"))
    return tasks


_ROW_FORMS: tuple[tuple[set[str], Callable[[Path, Sequence[Mapping[str, Any]]], list[Task]]], ...] = (
    ({"query", "choices", "gold"}, _multiple_choice),
    ({"sentence_good", "sentence_bad"}, _minimal_pairs),
    ({"sent_more", "sent_less", "stereo_antistereo"}, _crows_pairs),
    ({"text"}, _texts),
)


def _bigbench(path: Path, limit: int | None) -> Task:
    """A BIG-bench task.json; what it leaves out is as BIG-bench has it."""
    try:
        content = read_json(path)
    except ArtifactError as error:
        raise DataError(error.what) from error
    examples = content.get("examples") if isinstance(content, dict) else None
    if not isinstance(examples, list) or not examples:
        raise DataError(f"{path} has no list of examples", allowed="BIG-bench's task.json")
    name = str(content.get("name") or path.stem)
    documents = tuple(
        _checked(path, number, lambda number=number, one=one: _example(content, number, one))  # type: ignore[misc]
        for number, one in enumerate(examples[:limit])
    )
    if all(document.choices for document in documents):
        return Task(name, (Variant("as written", "choice", documents),))
    if any(document.choices for document in documents):
        raise DataError(f"{path} has choices for some examples only", do="split the file")
    named = [name for metric in content.get("metrics", ()) for name in _BIGBENCH_METRICS.get(metric, ())]
    settings = {"stop": (content["stop_string"],)} if content.get("stop_string") else {}
    metrics = tuple(dict.fromkeys(named)) or ("exact_match",)
    pattern = str(content.get("output_regex") or "")
    variant = Variant(
        "as written", "generate", documents, metrics=metrics, settings=settings, pattern=pattern
    )
    return Task(name, (variant,))


def _example(content: Mapping[str, Any], number: int, example: Mapping[str, Any]) -> Document:
    scores = example.get("target_scores")
    choices = tuple(map(str, scores)) if scores else ()
    target = example.get("target", ())
    targets = tuple(map(str, [target] if isinstance(target, str | int | float) else target))
    # BIG-bench-Hard lists the options in the input and has no prefixes.
    if "name" not in content and not choices:
        choices = _options(example["input"])
        gold = tuple(n for n, choice in enumerate(choices) if choice in targets)
        return Document(number, str(example["input"]), choices, gold, targets)
    text = str(example.get("task_prefix", content.get("task_prefix", "")))
    text += str(content.get("example_input_prefix", "\nQ: ")) + str(example["input"])
    if choices and content.get("append_choices_to_input", True):
        text += "".join(str(content.get("choice_prefix", "\n  choice: ")) + choice for choice in choices)
    text += str(content.get("example_output_prefix", "\nA: "))
    best = max(scores.values()) if scores else None
    gold = tuple(n for n, score in enumerate(scores.values()) if score == best) if scores else ()
    # The space before an answer belongs to the answer.
    return Document(number, text.strip(), choices, gold, targets)


def _options(text: str) -> tuple[str, ...]:
    """The options that BIG-bench-Hard lists: `- valid`, or the letters of `(A) ...`.

    >>> _options("Valid or not?\\nOptions:\\n- valid \\n- invalid")
    ('valid', 'invalid')
    """
    listed = text.rpartition("Options:\n")[2] if "Options:\n" in text else ""
    dashed = re.findall(r"^- (.+?)\s*$", listed, re.MULTILINE)
    return tuple(dashed or re.findall(r"^(\([A-Z]\)) ", listed, re.MULTILINE))
