"""A run as a YAML file of stages: cached, resumable, ending in one report.

    name: quickstart
    folder: runs/quickstart
    stages:
      corpus:    {sources: [chatterbot, stdlib]}
      tokenizer: {vocab_size: 8192}
      training:  {stage: pretrain, steps: 600}

A stage's key is the hash of its kind, its settings, the keys of the stages before it that it reads and the
content of the files it names. Records of the stages stand in FOLDER/stages; a stage that was finished with
the same key is not run again. Settings are addressed as `--set training.steps=200`.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

import hortus
from hortus import registry
from hortus.artifact import read_json, replacing_file, write_json
from hortus.carbon import grid
from hortus.config import from_mapping, load_yaml, override, to_mapping
from hortus.device import EnergyMeter, describe_machine
from hortus.errors import ConfigError, nearest
from hortus.report import Block, Table, from_json, to_json, write_report

__all__ = [
    "Recipe",
    "RunResult",
    "Stage",
    "StageContext",
    "StageResult",
    "lock_folder",
    "read_recipe",
    "read_records",
    "run_recipe",
]

RECORDS = "stages"
_WATCH_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class StageContext:
    """What a stage is given.

    Args:
        folder: the stage's own output folder, kept between tries so that a stage can resume.
        inputs: output folders of the earlier stages it needs, by the kind of stage.
        resume: continue from what an interrupted try left; else the folder is empty.
        recipe: the whole recipe as plain values, to be stored in artifacts.
    """

    folder: Path
    inputs: Mapping[str, Path]
    resume: bool
    recipe: Mapping[str, Any]


@dataclass(frozen=True)
class StageResult:
    """What a stage tells the report: plain numbers by name, and blocks.

    `stopped` says why a stage ended early on request (a signal, a kill switch): it is not cached as done.
    """

    numbers: Mapping[str, Any] = field(default_factory=dict)
    blocks: Sequence[Block] = ()
    stopped: str | None = None


@dataclass(frozen=True)
class Stage:
    """A kind of stage.

    Args:
        config: the dataclass of its settings.
        run: does the work.
        needs: kinds of stage that must stand before it.
        uses: kinds that it reads where the recipe has them.
        files: the user's files that the output depends on, so that a changed file is a changed key.
        parallel: every process of a torchrun carries it out, together; other stages are the first one's.
    """

    config: type
    run: Callable[[Any, StageContext], StageResult]
    needs: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    files: Callable[[Any], Sequence[Path]] = lambda config: ()
    parallel: bool = False


@dataclass(frozen=True, kw_only=True)
class _PlannedStage:
    name: str
    kind: str
    stage: Stage
    config: Any


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A recipe that was read and checked: every stage known, every setting of the right type."""

    name: str
    folder: Path
    stages: tuple[_PlannedStage, ...]
    source: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """Numbers by stage, seconds by stage, which came from the cache, and where the report is."""

    numbers: Mapping[str, Mapping[str, Any]]
    seconds: Mapping[str, float]
    cached: tuple[str, ...]
    report: Path
    stopped: str | None = None


def read_recipe(path: str | Path, assignments: Sequence[str] = ()) -> Recipe:
    """Read a recipe file and check it whole, before anything runs.

    "{folder}" in a setting stands for the run's folder.

    Args:
        assignments: "stage.key=value" settings that replace the file's; "folder=PATH" and "name=..." too.

    Raises:
        ConfigError: unknown stage, unknown key (nearest named), wrong type, a stage that lacks its input.
    """
    source = load_yaml(path)
    _check_keys(source, path)
    top = [a for a in assignments if "." not in a.partition("=")[0]]
    source = override(source, top)
    source["stages"] = override(source["stages"], [a for a in assignments if a not in top])
    unknown = [name for name in source["stages"] if name not in load_yaml(path)["stages"]]
    if unknown:
        raise ConfigError(
            f"the recipe has no stage {unknown[0]!r}", do=nearest(unknown[0], load_yaml(path)["stages"])
        )
    _check_keys(source, path)
    source["stages"] = _with_folder(source["stages"], str(source["folder"]))
    stages = tuple(_plan(name, settings) for name, settings in source["stages"].items())
    _check_order(stages)
    return Recipe(name=str(source["name"]), folder=Path(source["folder"]), stages=stages, source=source)


def _with_folder(value: Any, folder: str) -> Any:
    """The settings with the run's folder for "{folder}", by which a stage names an earlier one's file."""
    if isinstance(value, dict):
        return {key: _with_folder(one, folder) for key, one in value.items()}
    if isinstance(value, list):
        return [_with_folder(one, folder) for one in value]
    return value.replace("{folder}", folder) if isinstance(value, str) else value


def _check_keys(source: Mapping[str, Any], path: str | Path) -> None:
    required = ("name", "folder", "stages")
    for key in source:
        if key not in (*required, "description"):
            raise ConfigError(
                f"{path}: unknown key {key!r}", do=nearest(str(key), (*required, "description"))
            )
    for key in required:
        if not source.get(key):
            raise ConfigError(f"{path} lacks the key {key!r}", allowed="name, folder, stages")
    if not isinstance(source["stages"], dict):
        raise ConfigError(f"{path}: stages is not a mapping", allowed="stage names with their settings")


def _plan(name: str, settings: Any) -> _PlannedStage:
    if settings is not None and not isinstance(settings, dict):
        raise ConfigError(f"stage {name!r} is {settings!r}", allowed="a mapping of settings")
    settings = dict(settings or {})
    kind = str(settings.pop("stage", name))
    if kind not in registry.STAGES:
        raise ConfigError(f"stage {name!r} has the unknown kind {kind!r}", do=nearest(kind, registry.STAGES))
    stage = registry.resolve(registry.STAGES[kind])
    return _PlannedStage(name=name, kind=kind, stage=stage, config=from_mapping(stage.config, settings, name))


def _check_order(stages: Sequence[_PlannedStage]) -> None:
    seen: set[str] = set()
    for planned in stages:
        missing = [kind for kind in planned.stage.needs if kind not in seen]
        if missing:
            raise ConfigError(
                f"stage {planned.name!r} needs a stage of kind {missing[0]!r} before it",
                do="add it to the recipe",
            )
        seen.add(planned.kind)


def run_recipe(recipe: Recipe, *, resume: bool = False, until: str | None = None) -> RunResult:
    """Run the stages that are not cached, in order, and write report.html.

    Args:
        resume: let an interrupted stage go on from what it left; without it that stage starts anew, and
            what it left is kept as STAGE.previous.
        until: the last stage to run.

    Raises:
        ConfigError: `until` is no stage; another run holds the folder.
    """
    names = [planned.name for planned in recipe.stages]
    if until is not None and until not in names:
        raise ConfigError(f"--until {until!r} is not a stage", do=nearest(until, names))
    wanted = names[: names.index(until) + 1] if until else names
    if int(os.environ.get("RANK", "0")) > 0:
        return _follow(recipe, wanted)
    # Started again by torchrun after a failure, a run goes on from what this very launch left.
    resume = resume or int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0
    with lock_folder(recipe.folder):
        return _run_locked(recipe, resume, wanted)


def _follow(recipe: Recipe, names: Sequence[str]) -> RunResult:
    """The other processes of a torchrun: wait for the first one's stages, join in the parallel ones."""
    keys: dict[str, str] = {}
    folders: dict[str, Path] = {}
    stopped = None
    for planned in recipe.stages[: len(names)]:
        key, folder = _key(planned, keys), recipe.folder / planned.name
        record = None
        while record is None or not (record["done"] or planned.stage.parallel):
            time.sleep(_WATCH_SECONDS)
            record = _read_record(recipe, planned.name, key)
        if not record["done"]:
            inputs = {kind: folders[kind] for kind in _inputs(planned.stage, folders)}
            context = StageContext(folder=folder, inputs=inputs, resume=True, recipe=recipe.source)
            stopped = planned.stage.run(planned.config, context).stopped
        keys[planned.kind], folders[planned.kind] = key, folder
        if stopped:
            break
    return RunResult(numbers={}, seconds={}, cached=(), report=recipe.folder / "report.html", stopped=stopped)


def _run_locked(recipe: Recipe, resume: bool, names: Sequence[str]) -> RunResult:
    with replacing_file(recipe.folder / "recipe.yaml") as temporary:
        temporary.write_text(
            yaml.safe_dump(dict(recipe.source), sort_keys=False, allow_unicode=True), "utf-8"
        )
    records: dict[str, dict[str, Any]] = {}
    keys: dict[str, str] = {}
    folders: dict[str, Path] = {}
    cached: list[str] = []
    stopped = None
    for planned in recipe.stages[: len(names)]:
        key = _key(planned, keys)
        folder = recipe.folder / planned.name
        record = _read_record(recipe, planned.name, key)
        if record is not None and record["done"] and folder.is_dir():
            cached.append(planned.name)
            _say(f"{planned.name}: unchanged, taken from {folder}")
        else:
            resuming = resume and record is not None and folder.is_dir()
            record = _run_stage(planned, recipe, key, folders, resuming)
        records[planned.name] = record
        keys[planned.kind], folders[planned.kind] = key, folder
        stopped = record.get("stopped")
        if stopped:
            _say(f"{planned.name}: {stopped}; go on with --resume")
            break
    report = recipe.folder / "report.html"
    _write_report(recipe, records, report)
    return RunResult(
        numbers={name: record["numbers"] for name, record in records.items()},
        seconds={name: record["seconds"] for name, record in records.items()},
        cached=tuple(cached),
        report=report,
        stopped=stopped,
    )


def _run_stage(
    planned: _PlannedStage, recipe: Recipe, key: str, folders: Mapping[str, Path], resuming: bool
) -> dict[str, Any]:
    folder = recipe.folder / planned.name
    if not resuming:
        _set_aside(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = recipe.folder / RECORDS / f"{planned.name}.json"
    write_json(path, {"key": key, "done": False})
    _say(f"{planned.name}: {'going on' if resuming else 'running'}")
    meter, began = EnergyMeter(), time.perf_counter()
    meter.start()
    inputs = {kind: folders[kind] for kind in _inputs(planned.stage, folders)}
    context = StageContext(folder=folder, inputs=inputs, resume=resuming, recipe=recipe.source)
    result = planned.stage.run(planned.config, context)
    record = {
        "key": key,
        "done": result.stopped is None,
        "numbers": dict(result.numbers),
        "blocks": [to_json(block) for block in result.blocks],
        "seconds": time.perf_counter() - began,
        "energy_kwh": meter.stop(),
        "energy_source": meter.source,
        "stopped": result.stopped,
    }
    write_json(path, record)
    return record


def _inputs(stage: Stage, available: Mapping[str, Any]) -> list[str]:
    return [*stage.needs, *(kind for kind in stage.uses if kind in available)]


def _set_aside(folder: Path) -> None:
    """Keep what an earlier run left, one generation of it: a trained model is not a cache entry to lose."""
    if folder.is_dir() and any(folder.iterdir()):
        previous = folder.with_name(f"{folder.name}.previous")
        shutil.rmtree(previous, ignore_errors=True)
        folder.replace(previous)


def _key(planned: _PlannedStage, keys: Mapping[str, str]) -> str:
    parts = {
        "kind": planned.kind,
        "settings": to_mapping(planned.config),
        "inputs": {kind: keys[kind] for kind in _inputs(planned.stage, keys)},
        "files": [_file_hash(path) for path in planned.stage.files(planned.config)],
        "hortus": hortus.__version__,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return f"{path.name}:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _read_record(recipe: Recipe, name: str, key: str) -> dict[str, Any] | None:
    """What is known of a stage that was begun or finished with this key."""
    path = recipe.folder / RECORDS / f"{name}.json"
    if not path.is_file():
        return None
    record = read_json(path)
    return record if record.get("key") == key else None


def read_records(folder: str | Path) -> dict[str, dict[str, Any]]:
    """The finished stages of a run's folder by name, in the order in which they were finished."""
    paths = sorted((Path(folder) / RECORDS).glob("*.json"), key=lambda path: path.stat().st_mtime)
    records = {path.stem: read_json(path) for path in paths}
    return {name: record for name, record in records.items() if record["done"]}


def _write_report(recipe: Recipe, records: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    sections: list[tuple[str, Sequence[Block]]] = []
    for name, record in records.items():
        if record["blocks"]:
            sections.append(
                (name.replace("_", " ").capitalize(), [from_json(block) for block in record["blocks"]])
            )
    sections.append(("Cost", [_cost(records)]))
    environment = {**describe_machine(), "recipe": recipe.name, "written": time.strftime("%Y-%m-%d %H:%M %Z")}
    write_report(path, recipe.source.get("description") or recipe.name, sections, environment)


def _cost(records: Mapping[str, Mapping[str, Any]]) -> Table:
    """Time, energy and carbon by stage; records of older runs do not say how the energy was found."""
    place = grid()
    rows = [
        [
            name,
            round(record["seconds"], 1),
            record["energy_kwh"],
            place.carbon_kg(record["energy_kwh"]),
            record.get("energy_source", ""),
        ]
        for name, record in records.items()
    ]
    rows.append(["total", *(sum(row[column] for row in rows) for column in (1, 2, 3)), ""])
    columns = ["stage", "seconds", "energy, kWh", f"kg CO2e ({place})", "energy is"]
    return Table("", columns, rows)


@contextmanager
def lock_folder(folder: str | Path) -> Iterator[None]:
    """Hold a folder for this process, so that two runs can't write into it.

    The lock is the system's own: it goes when the process goes, however it ends.

    Raises:
        ConfigError: another process holds it (its number is named).
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            raise ConfigError(
                f"{folder} is in use by another run (process {file.read().strip() or 'unknown'})",
                do="wait for it, stop it, or choose another folder",
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
