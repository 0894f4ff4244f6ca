"""Mixtures: many prompted tasks as one endless, deterministic stream of examples.

Follows T0: every (dataset, template) pair is a task, drawn with a probability proportional to its rate (see
`hortus.prompts.sampling.task_rate`), all shuffled together. Differs from it in that the stream resumes
exactly from a small state, and that held-out datasets and clusters belong to the mixture, which refuses to
train on them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from hortus.errors import ConfigError, DataError
from hortus.prompts.catalogue import expand_catalogue
from hortus.prompts.config import MixtureConfig, TaskConfig
from hortus.prompts.counting import RenderReport
from hortus.prompts.datasets import Dataset, load_dataset
from hortus.prompts.overlap import OverlapReport, ngram_overlap, row_text
from hortus.prompts.renderer import Renderer
from hortus.prompts.sampling import RowOrder, draw_tasks, keyed, task_rate
from hortus.prompts.template import Rendered, Template, render_all
from hortus.prompts.templatefile import load_templates

__all__ = ["Mixture", "PromptedExample", "PromptedTask", "open_task", "refuse_held_out"]

# Draws that are rendered together. Changing it changes the order of every mixture.
WINDOW = 512
# Draws without one usable example after which a task is given up, if its dataset is not smaller.
MOST_UNUSABLE = 20_000


@dataclass(frozen=True)
class PromptedExample:
    """One example to train on: a prompt and its valid targets, of which the first is the usual one."""

    input: str
    targets: list[str]
    choices: list[str] | None
    dataset: str
    template: str
    template_id: str
    index: int
    """The row's number in the dataset."""


@dataclass(frozen=True)
class PromptedTask:
    """One (dataset, template) pair."""

    dataset_name: str
    cluster: str
    dataset: Dataset
    template: Template
    rate: float = 0.0

    @property
    def name(self) -> str:
        return f"{self.dataset_name}/{self.template.name}"


def open_task(
    task: TaskConfig, dataset: Dataset | None = None, renderer: Renderer | None = None
) -> list[PromptedTask]:
    """Open a dataset with its templates, and see that it has every column that they need.

    Raises:
        DataError: a file is missing, or a template needs a column that the dataset lacks.
        TemplateError: a template does not parse.
    """
    template_set = load_templates(task.templates)
    templates = template_set.select(
        task.template_names, without=task.without, original_only=task.original_only
    )
    dataset = load_dataset(task.data) if dataset is None else dataset
    lacking = {}
    for template in templates:
        needed = template.inspect(renderer)["needed"]
        missing = {name: line for name, line in needed.items() if name not in dataset.columns}
        if missing:
            lacking[template.name] = (template.id, missing)
    if lacking:
        name, (template_id, missing) = next(iter(lacking.items()))
        column, line = next(iter(missing.items()))
        usable = ", ".join(template.name for template in templates if template.name not in lacking) or "none"
        raise DataError(
            f"{task.name}: template {name!r} ({template_id}), line {line}, needs the column {column!r}",
            allowed=", ".join(dataset.columns),
            do=f"map it with `columns`, or set template_names to those that fit: {usable}",
        )
    return [PromptedTask(task.name, task.cluster, dataset, template) for template in templates]


def refuse_held_out(config: MixtureConfig) -> None:
    """Refuse to train on a mixture's own held-out datasets, files and clusters.

    Raises:
        ConfigError: a training task is held out, by name, by its file or by its cluster.
    """
    names = {task.name.lower(): task.name for task in config.held_out}
    sources = {_source(task): task.name for task in config.held_out}
    clusters = config.held_out_clusters
    if clusters is None:
        clusters = tuple(task.cluster for task in config.held_out if task.cluster)
    for task in config.training:
        held = names.get(task.name.lower()) or sources.get(_source(task))
        if held:
            raise ConfigError(
                f"the mixture trains on {task.name!r}, which it holds out as {held!r}",
                do="take it out of `training` or of `held_out`",
            )
        if task.cluster and task.cluster in clusters:
            raise ConfigError(
                f"the mixture trains on {task.name!r} of the cluster {task.cluster!r}, which it holds out",
                do="take it out of `training`, or name other `held_out_clusters`",
            )


def _source(task: TaskConfig) -> tuple[str, str | None]:
    """What data a task reads, whatever its split: a path, or a hub id with its subset."""
    path = Path(task.data.source).expanduser()
    return (str(path.resolve()) if path.exists() else task.data.source.lower(), task.data.subset)


class Mixture:
    """An endless stream of prompted examples over many tasks.

    Iterating twice goes on where the first stopped. `state_dict` holds the position exactly; loaded into a
    mixture of the same configuration, the stream goes on as if never interrupted. With `shard=(rank, world)`
    each of several processes gets its own windows of the one stream.

    Args:
        config: the tasks and the rule.
        datasets: opened datasets by task name, to be used instead of `data`.
        renderer: where templates are rendered.
        shard: this process's number and the number of processes.

    Raises:
        ConfigError: it trains on what it holds out, or its rates sum to 0.
        DataError: a dataset or template file is missing or does not fit.

    >>> import pathlib, tempfile
    >>> from hortus.prompts import TemplateSet
    >>> from hortus.prompts.config import DatasetConfig
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "train.jsonl").write_text('{"text": "a"}\\n{"text": "b"}\\n')
    >>> TemplateSet("letters", templates=[Template.new("copy", "Copy {{ text }} ||| {{ text }}")]).save(
    ...     folder / "templates.yaml")
    >>> task = TaskConfig(name="letters", data=DatasetConfig(source=str(folder)), templates=str(folder))
    >>> mixture = Mixture(MixtureConfig(training=(task,)))
    >>> sorted(example.input for example in mixture.take(2))
    ['Copy a', 'Copy b']
    """

    def __init__(
        self,
        config: MixtureConfig,
        *,
        datasets: Mapping[str, Dataset] | None = None,
        renderer: Renderer | None = None,
        shard: tuple[int, int] = (0, 1),
    ):
        if not 0 <= shard[0] < shard[1]:
            raise ConfigError(f"shard={shard} is no (rank, world) pair", allowed="0 <= rank < world")
        self.config = expand_catalogue(config.placed())
        refuse_held_out(self.config)
        self._datasets, self._renderer, self._shard = datasets or {}, renderer, shard
        self.tasks = [task for entry in self.config.training for task in self._open(entry)]
        self.report = RenderReport()
        self._window, self._offset = 0, 0
        self._positions = np.zeros(len(self.tasks), dtype=np.int64)
        self._unusable = [0] * len(self.tasks)
        self._orders: dict[int, tuple[int, RowOrder]] = {}
        draw_tasks(self._rates, 0, 1, config.seed)

    def _open(self, entry: TaskConfig) -> Iterator[PromptedTask]:
        num_templates = len(load_templates(entry.templates))
        for task in open_task(entry, self._datasets.get(entry.name), self._renderer):
            rows = entry.train_rows or len(task.dataset)
            rate = task_rate(self.config, rows, num_templates, entry.weight)
            yield PromptedTask(task.dataset_name, task.cluster, task.dataset, task.template, rate)

    @property
    def _rates(self) -> list[float]:
        return [task.rate for task in self.tasks]

    def shares(self) -> dict[str, float]:
        """Each task's probability of being drawn."""
        total = sum(self._rates)
        return {task.name: task.rate / total for task in self.tasks}

    def take(self, count: int) -> list[PromptedExample]:
        """The next `count` examples."""
        return list(islice(self, count))

    def __iter__(self) -> Iterator[PromptedExample]:
        rank, world = self._shard
        while True:
            drawn = draw_tasks(self._rates, self._window, WINDOW, self.config.seed)
            if self._window % world == rank:
                yield from self._render_window(drawn)
            self._positions += np.bincount(drawn, minlength=len(self.tasks))
            self._window, self._offset = self._window + 1, 0

    def _render_window(self, drawn: np.ndarray) -> Iterator[PromptedExample]:
        positions = self._positions.copy()
        picked: list[tuple[int, int]] = []
        for number in drawn.tolist():
            picked.append((number, self._row(number, int(positions[number]))))
            positions[number] += 1
        picked = picked[self._offset :]
        jobs = [
            (self.tasks[number].template, index, self.tasks[number].dataset[index])
            for number, index in picked
        ]
        rendered = render_all(
            jobs, seed=self.config.seed, truncate=self.config.truncate, renderer=self._renderer
        )
        for (number, index), result in zip(picked, rendered, strict=True):
            self._offset += 1
            if self._count(number, result):
                task = self.tasks[number]
                yield PromptedExample(
                    input=result.input,
                    targets=result.targets,
                    choices=result.choices,
                    dataset=task.dataset_name,
                    template=task.template.name,
                    template_id=task.template.id,
                    index=index,
                )

    def _row(self, number: int, position: int) -> int:
        """The row of a task's position-th draw: each epoch visits every row once, in its own order."""
        dataset = self.tasks[number].dataset
        epoch, position = divmod(position, len(dataset))
        known = self._orders.get(number)
        if known is None or known[0] != epoch:
            key = keyed(self.config.seed, self.tasks[number].template.id, epoch)
            known = self._orders[number] = (epoch, RowOrder(dataset.blocks, key))
        return known[1].row(position)

    def _count(self, number: int, result: Rendered) -> bool:
        """Report a rendering and say whether it can be trained on.

        Raises:
            DataError: nothing of this task was usable for a whole epoch.
        """
        task = self.tasks[number]
        self.report.add(task.name, result)
        if result.status == "ok":
            self._unusable[number] = 0
            return True
        self._unusable[number] += 1
        # Twice over, since the run of failures may have begun in the middle of an epoch.
        if self._unusable[number] >= min(2 * len(task.dataset) * self._shard[1], MOST_UNUSABLE):
            counts = self.report.templates[task.name]
            raise DataError(
                f"{task.name} gave no usable example in {self._unusable[number]} rows: "
                f"{dict(counts.statuses)}, mostly because {counts.reasons.most_common(1)[0][0]}",
                do="leave this template out, or mend its columns and classes",
            )
        return False

    def state_dict(self) -> dict[str, Any]:
        """The position in the stream, plain enough for JSON."""
        return {
            "window": self._window,
            "offset": self._offset,
            "positions": self._positions.tolist(),
            "unusable": list(self._unusable),
            "report": self.report.to_mapping(),
            "fingerprint": self._fingerprint(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a mixture of the same configuration stopped.

        Raises:
            ConfigError: the state is another mixture's.
        """
        if state["fingerprint"] != self._fingerprint():
            raise ConfigError(
                "the checkpoint's mixture has other tasks, rates or seed than this one",
                do="resume with the recipe that wrote it, or start afresh",
            )
        self._window, self._offset = int(state["window"]), int(state["offset"])
        self._positions = np.array(state["positions"], dtype=np.int64)
        self._unusable = list(state["unusable"])
        self.report.load_mapping(state["report"])
        self._orders.clear()

    def _fingerprint(self) -> int:
        tasks = [(task.name, task.template.id, task.rate, len(task.dataset)) for task in self.tasks]
        return keyed(self.config.seed, self.config.truncate, WINDOW, self._shard, tasks)

    def overlap(self, n: int = 13, max_rows: int = 100_000) -> dict[str, OverlapReport]:
        """n-gram overlap of each held-out task's rows with up to `max_rows` rows of each training dataset.

        Raises:
            DataError: a held-out dataset cannot be opened.
        """
        training = {id(task.dataset): task.dataset for task in self.tasks}.values()
        reports = {}
        for entry in self.config.held_out:
            evaluation = self._datasets.get(entry.name) or load_dataset(entry.data)
            texts = (row_text(row) for dataset in training for row in islice(dataset, max_rows))
            reports[f"{entry.name} ({entry.data.split})"] = ngram_overlap(map(row_text, evaluation), texts, n)
        return reports
