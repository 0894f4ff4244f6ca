"""The recipe stage `labelled`: classification tasks as files that finetuning reads.

FOLDER/NAME/train.jsonl      rows of text and label, a drawn part of the training split if so configured
FOLDER/NAME/test.jsonl       the test split
FOLDER/texts.jsonl           all training texts of all tasks, without labels, for pretraining
FOLDER/tasks.json            names of the tasks
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hortus.artifact import replacing_file, write_json
from hortus.errors import ConfigError, DataError
from hortus.prompts.config import DatasetConfig
from hortus.prompts.datasets import Dataset, load_dataset
from hortus.recipe import Stage, StageContext, StageResult
from hortus.report import Table

__all__ = ["STAGE", "LabelledConfig", "LabelledTask", "write_lines", "write_tasks"]


@dataclass(frozen=True, kw_only=True)
class LabelledTask:
    """One task: a training and a test split with a field of texts and one of labels."""

    name: str
    """A short name, part of file names."""
    train: DatasetConfig
    """The training split."""
    test: DatasetConfig
    """The split that scores are measured on."""
    local_train: DatasetConfig | None = None
    """The same in a file, used where the stage names the folder that it is in."""
    local_test: DatasetConfig | None = None
    """The same in a file."""
    text: str = "text"
    """The field of texts."""
    label: str = "label"
    """The field of labels."""


@dataclass(frozen=True, kw_only=True)
class LabelledConfig:
    """Which tasks, and how many labels."""

    tasks: tuple[LabelledTask, ...]
    """The tasks."""
    folder: Path | None = None
    """Where the files of tasks are; null takes them from the hub."""
    rows: int | None = None
    """Labelled training rows of each task, drawn at random (null: all)."""
    test_rows: int | None = None
    """Test rows of each task, drawn at random (null: all)."""
    seed: int = 0
    """Seed of the draws."""

    def __post_init__(self) -> None:
        names = [task.name for task in self.tasks]
        if not names or len(set(names)) < len(names):
            raise ConfigError(f"tasks={names}", allowed="one or more, each name once")
        for task in self.tasks:
            if self.folder is not None and (task.local_train is None or task.local_test is None):
                raise ConfigError(f"the task {task.name!r} lacks local_train or local_test", do="give both")

    def placed(self) -> tuple[LabelledTask, ...]:
        """The tasks with the files that will be read as `train` and `test`."""
        if self.folder is None:
            return self.tasks
        placed = []
        for task in self.tasks:
            assert task.local_train is not None and task.local_test is not None
            sides = [
                replace(side, source=str(self.folder / side.source))
                for side in (task.local_train, task.local_test)
            ]
            placed.append(replace(task, train=sides[0], test=sides[1]))
        return tuple(placed)


def write_tasks(config: LabelledConfig, folder: Path) -> list[list[Any]]:
    """Write the files of all tasks into a folder.

    Returns:
        For each task its name, numbers of texts, labelled rows and test rows, and its classes.

    Raises:
        DataError: a split is missing, lacks a field or has no labels.
    """
    texts: list[str] = []
    table: list[list[Any]] = []
    for task in config.placed():
        training, test = load_dataset(task.train), load_dataset(task.test)
        texts += [row[task.text] for row in training]
        written = []
        for name, dataset, most in (("train", training, config.rows), ("test", test, config.test_rows)):
            rows = _drawn(dataset, task, most, config.seed)
            write_lines(rows, folder / task.name / f"{name}.jsonl")
            written.append(rows)
        labels = sorted({row["label"] for row in written[0]})
        table.append([task.name, len(training), *map(len, written), ", ".join(labels)])
    write_lines(({"text": text} for text in texts), folder / "texts.jsonl")
    write_json(folder / "tasks.json", [task.name for task in config.tasks])
    return table


def run(config: LabelledConfig, context: StageContext) -> StageResult:
    """Write the files into the stage's folder."""
    table = write_tasks(config, context.folder)
    columns = ["task", "texts", "labelled rows", "test rows", "classes"]
    numbers = {"tasks": len(table), "texts": sum(row[1] for row in table)}
    return StageResult(numbers, [Table("Tasks", columns, table)])


def _drawn(dataset: Dataset, task: LabelledTask, most: int | None, seed: int) -> list[dict[str, str]]:
    """Rows of text and label, class numbers by their names."""
    order = np.random.default_rng(seed).permutation(len(dataset))
    names = dataset.class_names.get(task.label)
    rows = []
    for row in dataset.take(map(int, order[:most])):
        label = row[task.label]
        if label is None or label == -1:
            raise DataError(f"{task.name}: a row has no label", do="use a split with labels")
        named = names[int(label)] if names and isinstance(label, int) else str(label)
        rows.append({"text": row[task.text], "label": named})
    return rows


def write_lines(rows: Iterable[Mapping[str, Any]], path: Path) -> Path:
    """Rows as JSON lines."""
    with replacing_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return path


def _files(config: LabelledConfig) -> list[Path]:
    paths = [Path(side.source) for task in config.placed() for side in (task.train, task.test)]
    return [path for path in paths if path.is_file()]


STAGE = Stage(LabelledConfig, run, files=_files)
