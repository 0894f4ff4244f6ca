"""Settings of the studio, and the shapes of what its browser sends.

Every request body is one of these dataclasses, read by `hortus.config.from_mapping`: an unknown key or a
wrong type is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from hortus.errors import ConfigError

__all__ = [
    "ClassWording",
    "DataSource",
    "LargeRequest",
    "PromptText",
    "RunRequest",
    "StudioConfig",
    "Task",
    "Variable",
    "Variations",
    "WorkingRequest",
]

MOST_WORKING = 20
MOST_CARDS = 256
MOST_VARIABLES = 6
MOST_WORDINGS = 24
MOST_LARGE_ROWS = 20_000
METRICS = ("exact_match", "f1", "rouge1", "rouge2", "rougeL")


@dataclass(frozen=True, kw_only=True)
class StudioConfig:
    """How the studio runs.

    Raises:
        ConfigError: a value outside its range.

    >>> StudioConfig(port=0).folder
    PosixPath('studio')
    """

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 0
    """Port to listen on; 0 takes a free one."""
    folder: Path = Path("studio")
    """Where projects, uploaded files and deployed classifiers are kept."""
    templates: Path | None = None
    """A folder of PromptSource templates to start from."""
    runs: Path = Path("runs")
    """Folder of recipe runs whose reports are shown."""
    token: str | None = None
    """Token of the printed link; a random one by default."""
    max_upload_bytes: int = 512 * 2**20
    """Largest file that may be uploaded."""
    max_body_bytes: int = 4 * 2**20
    """Largest other request."""

    def __post_init__(self) -> None:
        if not 0 <= self.port < 65536:
            raise ConfigError(f"port={self.port}", allowed="0 to 65535")
        if self.token is not None and len(self.token) < 16:
            raise ConfigError("the token is shorter than 16 characters", do="use a long random one")
        for name in ("max_upload_bytes", "max_body_bytes"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}", allowed="1 or more")


@dataclass(frozen=True, kw_only=True)
class DataSource:
    """Data to open; the fields are those of `hortus.prompts.DatasetConfig`."""

    source: str
    subset: str | None = None
    split: str = "train"
    columns: Mapping[str, str] = field(default_factory=dict)
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    encoding: str = "utf-8"


@dataclass(frozen=True, kw_only=True)
class WorkingRequest:
    """How the working set is drawn."""

    how: Literal["random", "stratified", "picked"] = "random"
    count: int = MOST_WORKING
    seed: int = 0
    field: str | None = None
    rows: tuple[int, ...] = ()
    search: str = ""
    filters: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        size = len(set(self.rows)) if self.how == "picked" else self.count
        if not 1 <= size <= MOST_WORKING:
            raise ConfigError(f"a working set of {size} rows", allowed=f"1 to {MOST_WORKING}")


@dataclass(frozen=True, kw_only=True)
class ClassWording:
    """A value of the label field and the answer that stands for it."""

    value: str
    wording: str


@dataclass(frozen=True, kw_only=True)
class Task:
    """What an answer is and when it is right.

    `kind` choices ranks the classes' wordings; fields ranks what fields of the row hold; generate writes;
    template takes choices and target from each prompt's own text, as PromptSource does.
    """

    kind: Literal["choices", "fields", "generate", "template"] = "choices"
    label: str | None = None
    classes: tuple[ClassWording, ...] = ()
    choice_fields: tuple[str, ...] = ()
    gold: Literal["text", "number", "number_from_1", "letter"] = "text"
    metric: str = "exact_match"
    max_new_tokens: int = 16
    stop: tuple[str, ...] = ("\n",)
    scoring: Literal["sum", "per_character", "beyond_prior"] = "sum"

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise ConfigError(f"task.metric={self.metric!r}", allowed=", ".join(METRICS))
        if not 1 <= self.max_new_tokens <= 512:
            raise ConfigError(f"task.max_new_tokens={self.max_new_tokens}", allowed="1 to 512")
        if not all(self.stop):
            raise ConfigError("task.stop holds an empty text", allowed="texts that are not empty")
        for name in (self.label, *self.choice_fields):
            if name is not None and not name.isidentifier():
                raise ConfigError(f"the task's field {name!r}", allowed="a name of a field")
        for one in self.classes:
            if not one.wording.strip() or "|||" in one.wording:
                raise ConfigError(f"the wording {one.wording!r} of {one.value!r}", allowed="text without |||")


@dataclass(frozen=True, kw_only=True)
class Variable:
    """A named place of a template and the wordings that are tried there."""

    name: str
    wordings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Variations:
    """A template with fields `{{ text }}` and variables `[[name]]`."""

    template: str = ""
    answer_choices: str | None = None
    variables: tuple[Variable, ...] = ()
    mode: Literal["product", "aligned"] = "product"

    def __post_init__(self) -> None:
        if len(self.variables) > MOST_VARIABLES:
            raise ConfigError(f"{len(self.variables)} variables", allowed=f"up to {MOST_VARIABLES}")
        names = [variable.name for variable in self.variables]
        if len(set(names)) < len(names):
            raise ConfigError("two variables have the same name", do="rename one")
        for variable in self.variables:
            if not variable.name.isidentifier():
                raise ConfigError(f"variable {variable.name!r}", allowed="letters, digits and _")
            if len(variable.wordings) > MOST_WORDINGS:
                raise ConfigError(
                    f"variable {variable.name} has {len(variable.wordings)} wordings",
                    allowed=f"up to {MOST_WORDINGS}",
                )


@dataclass(frozen=True, kw_only=True)
class PromptText:
    """One prompt to score: a template in which every variable has its wording."""

    template: str
    answer_choices: str | None = None
    wordings: Mapping[str, int] = field(default_factory=dict)
    name: str = ""
    id: str = ""
    """Ignored: the id is computed from the text and the task."""


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """Score prompts on a few rows."""

    prompts: tuple[PromptText, ...]
    model: str
    slot: str = "grid"
    task: Task | None = None
    rows: tuple[int, ...] | None = None
    when_closed: Literal["continue", "stop"] = "continue"

    def __post_init__(self) -> None:
        _check_prompts(self.prompts)
        if self.rows is not None and not 1 <= len(self.rows) <= 1000:
            raise ConfigError(f"{len(self.rows)} rows", allowed="1 to 1000")


@dataclass(frozen=True, kw_only=True)
class LargeRequest:
    """Score prompts on many rows."""

    prompts: tuple[PromptText, ...]
    model: str
    rows: int = 1000
    seed: int = 0
    halving: bool = True
    include_seen: bool = False
    task: Task | None = None
    when_closed: Literal["continue", "stop"] = "continue"

    def __post_init__(self) -> None:
        _check_prompts(self.prompts)
        if not 1 <= self.rows <= MOST_LARGE_ROWS:
            raise ConfigError(f"rows={self.rows}", allowed=f"1 to {MOST_LARGE_ROWS}")


def _check_prompts(prompts: tuple[Any, ...]) -> None:
    if not 1 <= len(prompts) <= MOST_CARDS:
        raise ConfigError(f"{len(prompts)} prompts", allowed=f"1 to {MOST_CARDS}")
