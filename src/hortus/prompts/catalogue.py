"""Catalogues: which datasets, templates and splits belong to which task cluster, and who trains on them.

A catalogue is a YAML file of names and roles. `t0`, which comes with hortus, lists the datasets of T0, T0+
and T0++ (T0 paper, tables of the training mixtures and held-out tasks). A dataset that a model of the family
is evaluated on and does not train on is held out of that model's mixture, and so is every cluster none of
whose datasets it trains on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, TypeVar

from hortus.config import from_mapping, load_yaml
from hortus.errors import ConfigError, nearest
from hortus.prompts.config import DatasetConfig, MixtureConfig, TaskConfig

__all__ = ["Catalogue", "CatalogueEntry", "expand_catalogue", "load_catalogue"]

AnyMixture = TypeVar("AnyMixture", bound=MixtureConfig)


@dataclass(frozen=True, kw_only=True)
class CatalogueEntry:
    """One dataset and its role."""

    dataset: str
    subset: str | None = None
    cluster: str
    training: str | None = None
    """The first level that trains on it, or null."""
    train_split: str = "train"
    train_rows: int | None = None
    """Rows of the training split as the rules count them, where they should not be counted afresh."""
    templates: tuple[str, ...] = ()
    """Names of the templates to use; all when empty."""
    without: tuple[str, ...] = ()
    evaluation: tuple[str, ...] = ()
    """Splits to evaluate on; none when empty."""
    evaluation_cluster: str | None = None
    """The cluster it is evaluated under, where that is another one."""
    evaluation_templates: str = "all"
    """`all`, or `original` for the templates of the dataset's original task."""
    licence: str | None = None
    source: str | None = None
    """A file, folder or hub id; the dataset's own name on the hub when null."""
    columns: Mapping[str, str] = field(default_factory=dict)
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.evaluation_templates not in ("all", "original"):
            raise ConfigError(
                f"{self.name}: evaluation_templates={self.evaluation_templates!r}", allowed="all, original"
            )

    @property
    def name(self) -> str:
        return self.dataset if self.subset is None else f"{self.dataset}/{self.subset}"

    def task(self, split: str, templates: str | Path, **options: Any) -> TaskConfig:
        """The dataset's split under its templates below a folder."""
        data = DatasetConfig(
            source=self.source or self.dataset,
            subset=self.subset,
            split=split,
            columns=self.columns,
            classes=self.classes,
        )
        place = str(Path(templates) / self.name)
        names = self.templates
        return TaskConfig(name=self.name, data=data, templates=place, template_names=names, **options)


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """Datasets by cluster and role.

    >>> catalogue = load_catalogue("t0")
    >>> [len(catalogue.training(level)) for level in catalogue.levels]
    [38, 48, 54]
    """

    name: str
    levels: tuple[str, ...]
    """Names of the training mixtures, each of which holds the ones before it."""
    datasets: tuple[CatalogueEntry, ...]

    def __post_init__(self) -> None:
        for entry in self.datasets:
            if entry.training is not None and entry.training not in self.levels:
                raise ConfigError(
                    f"{entry.name} trains at level {entry.training!r}",
                    do=nearest(entry.training, self.levels),
                )

    @property
    def clusters(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(entry.cluster for entry in self.datasets))

    def training(self, level: str) -> list[CatalogueEntry]:
        """What a model of this level trains on.

        Raises:
            ConfigError: the level is unknown.
        """
        if level not in self.levels:
            raise ConfigError(f"catalogue {self.name} has no level {level!r}", do=nearest(level, self.levels))
        trained = self.levels[: self.levels.index(level) + 1]
        return [entry for entry in self.datasets if entry.training in trained]

    def held_out(self, level: str) -> list[CatalogueEntry]:
        """What a model of this level is evaluated on and does not train on."""
        trained = self.training(level)
        return [entry for entry in self.datasets if entry.evaluation and entry not in trained]

    def held_out_clusters(self, level: str) -> tuple[str, ...]:
        """Clusters that a model of this level sees nothing of in training."""
        trained = {entry.cluster for entry in self.training(level)}
        evaluated = (entry.evaluation_cluster or entry.cluster for entry in self.held_out(level))
        return tuple(dict.fromkeys(cluster for cluster in evaluated if cluster not in trained))

    def training_tasks(self, level: str, templates: str | Path) -> tuple[TaskConfig, ...]:
        return tuple(
            entry.task(
                entry.train_split,
                templates,
                without=entry.without,
                cluster=entry.cluster,
                train_rows=entry.train_rows,
            )
            for entry in self.training(level)
        )

    def held_out_tasks(self, level: str, templates: str | Path) -> tuple[TaskConfig, ...]:
        return tuple(
            entry.task(
                split,
                templates,
                original_only=entry.evaluation_templates == "original",
                cluster=entry.evaluation_cluster or entry.cluster,
            )
            for entry in self.held_out(level)
            for split in entry.evaluation
        )


def load_catalogue(name_or_file: str | Path) -> Catalogue:
    """Read a catalogue: `t0`, or a YAML file of the same form.

    Raises:
        ConfigError: it is missing or malformed.
    """
    own = files("hortus.prompts") / "data" / f"{name_or_file}.yaml"
    if "/" not in str(name_or_file) and own.is_file():
        with as_file(own) as path:
            return from_mapping(Catalogue, load_yaml(path), where=f"catalogue {name_or_file}")
    return from_mapping(Catalogue, load_yaml(name_or_file), where=str(name_or_file))


def expand_catalogue(config: AnyMixture) -> AnyMixture:
    """The same mixture with the catalogue's tasks written out."""
    if config.catalogue is None:
        return config
    catalogue, level = load_catalogue(config.catalogue.file), config.catalogue.level
    own_clusters = config.held_out_clusters
    if own_clusters is None:
        own_clusters = tuple(task.cluster for task in config.held_out if task.cluster)
    return replace(
        config,
        training=config.training + catalogue.training_tasks(level, config.catalogue.templates),
        held_out=config.held_out + catalogue.held_out_tasks(level, config.catalogue.templates),
        held_out_clusters=own_clusters + catalogue.held_out_clusters(level),
        catalogue=None,
    )
