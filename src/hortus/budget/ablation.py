"""Ablations: a grid of small decoders on an equal budget, in parallel processes, and what they say.

    FOLDER/data/                 corpora, tokenizers, shards, one a combination of data factors
    FOLDER/trials/NAME/          job.json, result.json (see `hortus.budget.ablation_trial`)
    FOLDER/results.json          all scores, effects and verdicts

The recipe stage `ablate`; `hortus budget ablate RECIPE` is the command.
"""

from __future__ import annotations

import itertools
import multiprocessing
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import fields
from pathlib import Path
from typing import Any

from hortus.artifact import read_json, write_json
from hortus.budget.ablation_config import AblateConfig, label
from hortus.budget.ablation_data import prepare_data
from hortus.budget.ablation_report import summarise
from hortus.budget.ablation_trial import Job, run_trial
from hortus.config import from_mapping
from hortus.errors import ConfigError, DeviceError, nearest
from hortus.models.decoder import DecoderConfig
from hortus.recipe import Stage, StageContext, StageResult
from hortus.registry import require
from hortus.training import TrainingConfig

__all__ = ["STAGE", "settings_of"]

_DATA = ("sources", "vocab_size", "alpha", "code_share", "languages")
_MODEL = {field.name for field in fields(DecoderConfig)} - {"vocab_size"}
_TRAINING = {field.name for field in fields(TrainingConfig)}
Setting = dict[str, Any]


def settings_of(config: AblateConfig) -> list[Setting]:
    """The combinations of levels that are trained.

    >>> import dataclasses
    >>> config = AblateConfig(factors={"position": ["none", "alibi"], "embedding_norm": [True, False]})
    >>> len(settings_of(config)), len(settings_of(dataclasses.replace(config, design="single")))
    (4, 3)
    """
    names, base = list(config.factors), {name: levels[0] for name, levels in config.factors.items()}
    if config.design == "grid":
        return [
            dict(zip(names, levels, strict=True)) for levels in itertools.product(*config.factors.values())
        ]
    return [base] + [{**base, name: level} for name in names for level in config.factors[name][1:]]


def run(config: AblateConfig, context: StageContext) -> StageResult:
    """Train what is missing, score, compare, and say what each factor does."""
    _check(config)
    trials = _Trials(config, context.folder)
    rates: dict[int, float] = {}
    settings = settings_of(config)
    if config.learning_rates:
        swept = [(s, config.seeds[0], rate) for s in range(len(settings)) for rate in config.learning_rates]
        scores = trials.run(swept)
        for index in range(len(settings)):
            found = {rate: r[config.score] for (s, _, rate), r in scores.items() if s == index}
            rates[index] = min(found, key=lambda rate: found[rate])
    plan = [(s, seed, rates.get(s, trials.rate(s))) for s in range(len(settings)) for seed in config.seeds]
    results = trials.run(plan)
    rows = [[results[one] for one in plan if one[0] == s] for s in range(len(settings))]
    names = [{name: label(level) for name, level in setting.items()} for setting in settings]
    summary = summarise(config, names, rows, [rates.get(s, trials.rate(s)) for s in range(len(settings))])
    write_json(context.folder / "results.json", dict(summary.numbers) | {"trials": rows})
    return summary


def _check(config: AblateConfig) -> None:
    known = {*_DATA, *_MODEL, *_TRAINING}
    for name in config.factors:
        if name not in known:
            raise ConfigError(f"factors.{name} is nothing that can be varied", do=nearest(name, known))
    if "vocab_size" in config.factors and config.score == "loss":
        raise ConfigError("score=loss across tokenizers", allowed="bits_per_byte")
    for setting in settings_of(config):
        from_mapping(DecoderConfig, _model(config, setting), "model")
        from_mapping(TrainingConfig, _training(config, setting), "training")


def _model(config: AblateConfig, setting: Setting) -> dict[str, Any]:
    own = {name: level for name, level in setting.items() if name in _MODEL}
    return {"max_positions": config.sequence_length, **config.model, **own}


def _training(config: AblateConfig, setting: Setting) -> dict[str, Any]:
    own = {name: level for name, level in setting.items() if name in _TRAINING}
    usual = {"device": "cpu", "dtype": "float32", "compile": "off", "log_every": 50}
    return {**usual, **config.training, **own}


class _Trials:
    """The trials of a run: their jobs, and the processes that carry them out."""

    def __init__(self, config: AblateConfig, folder: Path) -> None:
        self._config, self._folder = config, folder
        self._settings = settings_of(config)
        self._data = [prepare_data(config, setting, folder / "data") for setting in self._settings]

    def rate(self, index: int) -> float:
        """A setting's learning rate, transferred from the reference width where that is given."""
        config, setting = self._config, self._settings[index]
        rate = float(from_mapping(TrainingConfig, _training(config, setting), "training").learning_rate)
        if config.reference_width is None:
            return rate
        width = from_mapping(DecoderConfig, _model(config, setting), "model").hidden_size
        return rate * config.reference_width / width

    def run(self, plan: Sequence[tuple[int, int, float]]) -> dict[tuple[int, int, float], dict[str, Any]]:
        """Results of (setting, seed, learning rate); what has one is not trained again.

        Raises:
            DeviceError: a process died; what is finished stays.
        """
        places = {one: self._write_job(*one) for one in plan}
        missing = {str(place): one for one, place in places.items() if not (place / "result.json").is_file()}
        done = len(places) - len(missing)
        runner = _in_processes if self._config.address is None else _on_ray
        for place, result in runner(list(missing), self._config):
            done += 1
            number = result[self._config.score]
            _say(f"{done} of {len(places)}: {Path(place).name}, {number:.4f}, {result['cpu_seconds']:.0f} s")
        return {one: read_json(place / "result.json") for one, place in places.items()}

    def _write_job(self, index: int, seed: int, rate: float) -> Path:
        config, setting = self._config, self._settings[index]
        training = _training(config, setting) | {"learning_rate": rate, "seed": seed}
        training["min_learning_rate"] = min(rate, training.get("min_learning_rate", 0.0))
        training["steps"] = self._steps(index, training["steps"])
        job: Job = {
            "model": {"model_type": "hortus_decoder", **_model(config, setting)},
            "training": training,
            "seed": seed,
            "sequence_length": config.sequence_length,
            "adapt_share": config.adapt_share,
            "mask_share": config.mask_share,
            "tasks": [str(Path(task).resolve()) for task in config.tasks],
            **self._data[index],
        }
        levels = [f"{name}={label(level)}" for name, level in setting.items()]
        name = ",".join([*levels, f"seed={seed}", *([f"rate={rate:g}"] if config.learning_rates else [])])
        place = self._folder / "trials" / name.replace("/", "_")
        if not (place / "job.json").is_file() or read_json(place / "job.json") != job:
            place.mkdir(parents=True, exist_ok=True)
            (place / "result.json").unlink(missing_ok=True)
            write_json(place / "job.json", job)
        return place

    def _steps(self, index: int, steps: int) -> int:
        if self._config.budget == "tokens":
            return steps
        sizes = [self._size(setting) for setting in (self._settings[0], self._settings[index])]
        return max(1, round(steps * sizes[0] / sizes[1]))

    def _size(self, setting: Setting) -> int:
        """Parameters that take part in every product: all but the table of positions."""
        vocab_size = setting.get("vocab_size", self._config.vocab_size)
        shape = from_mapping(
            DecoderConfig, _model(self._config, setting) | {"vocab_size": vocab_size}, "model"
        )
        learned = shape.max_positions * shape.hidden_size if shape.position == "learned" else 0
        return shape.num_parameters - learned


def _in_processes(places: Sequence[str], config: AblateConfig) -> Iterator[tuple[str, dict[str, Any]]]:
    if not places:
        return
    pool = ProcessPoolExecutor(config.processes, mp_context=multiprocessing.get_context("spawn"))
    try:
        running = {pool.submit(run_trial, place): place for place in places}
        for finished in as_completed(running):
            yield running[finished], finished.result()
    except BrokenProcessPool as error:
        raise DeviceError(
            "a process of the ablation was killed", do="lower processes if memory ran out; --resume goes on"
        ) from error
    finally:
        # Interrupted, the trials in progress stop at once: their checkpoints let them go on.
        workers = list((pool._processes or {}).values())
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.terminate()


def _on_ray(places: Sequence[str], config: AblateConfig) -> Iterator[tuple[str, dict[str, Any]]]:
    ray = require("ray", extra="ray")
    ray.init(address=config.address, ignore_reinit_error=True, log_to_driver=False)
    remote: Callable[..., Any] = ray.remote(num_cpus=1)(run_trial).remote
    running = {remote(str(Path(place).resolve())): place for place in places}
    while running:
        finished, _ = ray.wait(list(running))
        yield running.pop(finished[0]), ray.get(finished[0])


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


STAGE = Stage(AblateConfig, run)
