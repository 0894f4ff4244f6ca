"""Settings of the prompts room: rendering limits, datasets, tasks and mixtures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from hortus.errors import ConfigError

__all__ = [
    "CatalogueConfig",
    "DatasetConfig",
    "MixtureConfig",
    "SEPARATOR",
    "RenderLimits",
    "TaskConfig",
    "TRUNCATE_CHARACTERS",
]

SEPARATOR = "|||"
"""Stands between a template's input and target, and between answer choices."""

# The published code cuts each printed value here unless told otherwise, and T0 was trained on the result.
TRUNCATE_CHARACTERS = 2048

RULES = ("t0", "xp3", "temperature", "weights")
TYPES = ("str", "int", "float", "json")


@dataclass(frozen=True, kw_only=True)
class RenderLimits:
    """What one rendering may use before it is stopped."""

    seconds: float = 2.0
    """Wall-clock seconds for one rendering, compilation included."""
    memory_bytes: int = 256 * 2**20
    """Address space of the worker process (Linux; elsewhere the time and output limits hold alone)."""
    output_characters: int = 1_000_000
    """Characters that one rendering may print, answer choices included."""

    def __post_init__(self) -> None:
        if not self.seconds > 0:
            raise ConfigError(f"seconds={self.seconds} leaves no time to render", allowed="above 0")
        if self.memory_bytes < 96 * 2**20:
            raise ConfigError(
                f"memory_bytes={self.memory_bytes} is below what the worker itself needs",
                allowed=f"at least {96 * 2**20}",
            )
        if self.output_characters < 1:
            raise ConfigError(
                f"output_characters={self.output_characters} prints nothing", allowed="1 or more"
            )


@dataclass(frozen=True, kw_only=True)
class DatasetConfig:
    """Where rows come from and how their columns become the fields that templates name."""

    source: str
    """A .jsonl, .csv, .tsv or .parquet file, a folder of them, or a hub id such as `glue`."""
    subset: str | None = None
    """The hub's configuration or a sub-folder, such as `rte` of super_glue."""
    split: str = "train"
    """The split's name in a folder or hub dataset; a single file is its own split."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Field name <- column name; columns that are not named keep their own name."""
    names: tuple[str, ...] = ()
    """Column names of a csv or tsv file that has no header line."""
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Field -> class names in label order; names in the data become their numbers, empty ones -1."""
    types: Mapping[str, str] = field(default_factory=dict)
    """Field -> int, float, json or str, for csv and tsv files, where every value is text."""
    encoding: str = "utf-8"
    """Text encoding of jsonl, csv and tsv files."""
    max_rows: int | None = None
    """Use the first rows only."""

    def __post_init__(self) -> None:
        wrong = {name: kind for name, kind in self.types.items() if kind not in TYPES}
        if wrong:
            raise ConfigError(f"types has unknown kinds: {wrong}", allowed=", ".join(TYPES))
        if self.max_rows is not None and self.max_rows < 1:
            raise ConfigError(f"max_rows={self.max_rows} keeps no row", allowed="1 or more, or null for all")


@dataclass(frozen=True, kw_only=True)
class TaskConfig:
    """One dataset with its templates; every (dataset, template) pair is a task of the mixture."""

    name: str
    """The dataset's name as held-out sets know it, such as `super_glue/rte`."""
    data: DatasetConfig
    templates: str
    """A templates.yaml file, or the folder that holds one."""
    template_names: tuple[str, ...] = ()
    """Use these templates only; all when empty."""
    without: tuple[str, ...] = ()
    """Leave these templates out."""
    original_only: bool = False
    """Use only the templates whose metadata marks the dataset's original task."""
    cluster: str = ""
    """The task cluster, such as `nli`; held-out clusters are compared with it."""
    weight: float = 1.0
    """This dataset's weight under the rule `weights`; its templates share it equally."""
    train_rows: int | None = None
    """Rows to count under the rules; the dataset's own number when null."""
    local: DatasetConfig | None = None
    """The same data in files, used instead of `data` where the mixture names the folder they are in."""
    local_templates: str | None = None
    """Templates for the columns of `local`, where those differ; not below the mixture's `templates`."""


@dataclass(frozen=True, kw_only=True)
class CatalogueConfig:
    """Takes a mixture's tasks from a catalogue; the data come from the hub unless it says where."""

    templates: str
    """The folder of template files, laid out as DATASET/SUBSET/templates.yaml."""
    file: str = "t0"
    """A catalogue's YAML file, or `t0` for the one that comes with hortus."""
    level: str = "T0"
    """Which of the catalogue's levels to train on; a level holds the earlier ones."""


@dataclass(frozen=True, kw_only=True)
class MixtureConfig:
    """Tasks to train on, tasks held out, and the rule that sets each task's share."""

    training: tuple[TaskConfig, ...] = ()
    held_out: tuple[TaskConfig, ...] = ()
    held_out_clusters: tuple[str, ...] | None = None
    """Clusters that may not be trained on; null for those of the held-out tasks."""
    catalogue: CatalogueConfig | None = None
    """More tasks, and more held-out ones, from a catalogue."""
    folder: str | None = None
    """Where the files of tasks with `local` data are; null takes all tasks from their `data`."""
    templates: str = ""
    """Where the tasks' template files are, if their paths begin there."""
    rule: str = "t0"
    """t0, xp3, temperature or weights."""
    cap: int | None = None
    """Rows at which a dataset (t0, temperature: 500,000) or a task (xp3: 100,000) stops counting."""
    temperature: float = 2.0
    """Rule `temperature`: a dataset's share is proportional to min(rows, cap) ** (1 / temperature)."""
    truncate: int | None = TRUNCATE_CHARACTERS
    """Characters kept of each printed value; null for all."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ConfigError(f"rule={self.rule!r} is not a mixture rule", allowed=", ".join(RULES))
        if not self.training and self.catalogue is None:
            raise ConfigError("a mixture needs at least one training task")
        if not self.temperature > 0:
            raise ConfigError(f"temperature={self.temperature} has no root", allowed="above 0")
        if self.cap is not None and self.cap < 1:
            raise ConfigError(f"cap={self.cap} keeps no row", allowed="1 or more")
        if self.rule == "weights" and self.training:
            weights = [task.weight for task in self.training]
            if not all(0 <= weight < float("inf") for weight in weights):
                raise ConfigError(f"weights {weights} must be finite and not negative")
            if sum(weights) <= 0:
                raise ConfigError(
                    f"the mixture's weights sum to {sum(weights):g}",
                    do="give at least one task a weight above 0",
                )

    def placed(self) -> Self:
        """The same mixture with `folder` and `templates` written into its tasks."""

        def place(task: TaskConfig) -> TaskConfig:
            data, templates = task.data, str(Path(self.templates) / task.templates)
            if self.folder is not None and task.local is not None:
                data = replace(task.local, source=str(Path(self.folder) / task.local.source))
                templates = task.local_templates or templates
            return replace(task, data=data, templates=templates, local=None, local_templates=None)

        return replace(
            self,
            training=tuple(map(place, self.training)),
            held_out=tuple(map(place, self.held_out)),
            folder=None,
            templates="",
        )
