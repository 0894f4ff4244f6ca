"""Tasks from the files of others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hortus.errors import ConfigError, DataError
from hortus.evaluation import Task, evaluate, read_tasks
from hortus.language import LanguageModel


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def only(path: Path) -> Task:
    (task,) = read_tasks(path)
    assert isinstance(task, Task)
    return task


def test_bigbench_inputs_are_put_together_as_the_file_says(tmp_path: Path) -> None:
    content = {
        "name": "turns",
        "task_prefix": "Follow them.",
        "append_choices_to_input": True,
        "examples": [{"input": "Go left.", "target_scores": {"here": 0, "there": 1}}],
    }
    (tmp_path / "task.json").write_text(json.dumps(content))
    (document,) = only(tmp_path / "task.json").variants[0].documents
    assert document.input == "Follow them.\nQ: Go left.\n  choice: here\n  choice: there\nA:"
    assert (document.choices, document.gold) == (("here", "there"), (1,))


def test_bigbench_generation_has_its_metrics_stop_and_pattern(tmp_path: Path) -> None:
    content = {
        "name": "sums",
        "metrics": ["exact_str_match", "bleu"],
        "stop_string": ";",
        "output_regex": "(\\d+)",
        "examples": [{"input": "op 3", "target": ["3", "three"]}],
    }
    (tmp_path / "task.json").write_text(json.dumps(content))
    variant = only(tmp_path / "task.json").variants[0]
    assert variant.kind == "generate" and variant.metrics == ("exact_match", "bleu")
    assert variant.settings == {"stop": (";",)} and variant.documents[0].targets == ("3", "three")

    class Writer:
        def generate(self, texts: list[str], **settings: Any) -> list[str]:
            assert settings["stop"] == (";",)
            return ["it is 3 or so"] * len(texts)

    scores = evaluate(Writer(), [tmp_path / "task.json"]).tasks["sums"].variants[0].scores
    assert scores["exact_match"].value == 1


def test_every_bigbench_and_blimp_file_is_read(real_data: Path) -> None:
    names = set()
    for path in [*real_data.glob("bigbench/**/*.json*"), *real_data.glob("blimp/*.jsonl")]:
        for variant in only(path).variants:
            names.add(variant.kind)
            assert variant.documents
            answerable = [d.gold or d.targets for d in variant.documents]
            assert all(answerable), path
            if variant.kind == "choice":
                assert all(len(d.choices) > 1 and d.gold for d in variant.documents), path
    assert names == {"choice", "generate"}


def test_multiple_choice_and_minimal_pairs(tmp_path: Path) -> None:
    rows = [{"query": "2 + 2 =", "choices": ["3", "4"], "gold": 1}]
    document = only(write(tmp_path / "sums.jsonl", rows)).variants[0].documents[0]
    assert (document.input, document.choices, document.gold) == ("2 + 2 =", ("3", "4"), (1,))
    pairs = [{"sentence_good": "He goes.", "sentence_bad": "He go."}]
    document = only(write(tmp_path / "verbs.jsonl", pairs)).variants[0].documents[0]
    assert (document.input, document.choices, document.gold) == ("", ("He goes.", "He go."), (0,))


def test_crows_pairs_are_prompted_and_ranked_and_split_by_bias(tmp_path: Path, model: LanguageModel) -> None:
    rows = [
        {
            "sent_more": f"Foxes lie {n}.",
            "sent_less": f"Dogs lie {n}.",
            "stereo_antistereo": kind,
            "bias_type": bias,
        }
        for n, (kind, bias) in enumerate([("stereo", "fox"), ("antistereo", "fox"), ("stereo", "dog")])
    ]
    tasks = {
        task.name: task
        for task in read_tasks(write(tmp_path / "pairs.jsonl", rows))
        if isinstance(task, Task)
    }
    assert set(tasks) == {"pairs", "pairs likelihood"} | {
        f"pairs{form} {bias}" for form in ("", " likelihood") for bias in ("fox", "dog")
    }
    prompted = tasks["pairs"].variants
    assert len(prompted) == 4 and all(len(variant.documents) == 3 for variant in prompted)
    # The first sentence is a stereotype where the row says so: yes, no, yes.
    assert [d.gold for d in prompted[0].documents] == [(0,), (1,), (0,)]
    assert [d.index for d in tasks["pairs dog"].variants[0].documents] == [2]
    assert 0 <= evaluate(model, tmp_path / "pairs.jsonl").tasks["pairs likelihood"].spread().mean <= 1


def test_prompted_datasets_come_from_yaml(tmp_path: Path) -> None:
    (tmp_path / "tasks.yaml").write_text("tasks: [{name: a, templates: t, data: {source: s.jsonl}}]")
    (config,) = read_tasks(tmp_path / "tasks.yaml")
    assert config.name == "a"
    (tmp_path / "wrong.yaml").write_text("tasks: [{name: a, template: t, data: {source: s.jsonl}}]")
    with pytest.raises(ConfigError, match="templates"):
        read_tasks(tmp_path / "wrong.yaml")


def test_broken_files_are_refused_with_their_place(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no task file"):
        read_tasks(tmp_path / "absent.jsonl")
    with pytest.raises(DataError, match="query"):
        read_tasks(write(tmp_path / "odd.jsonl", [{"a": 1}]))
    with pytest.raises(DataError, match="example 0"):
        read_tasks(write(tmp_path / "gold.jsonl", [{"query": "q", "choices": ["a"], "gold": "first"}]))
    (tmp_path / "empty.json").write_text('{"examples": []}')
    with pytest.raises(DataError, match="examples"):
        read_tasks(tmp_path / "empty.json")
