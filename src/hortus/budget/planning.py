"""From a budget to a model: candidates, what each would reach, and which one the rules choose.

With `tokens` given the choice is the largest shape that sees them within the hours; sizes within 5 % of it
count as equal, and of those the fastest wins. Without, it is the shape of the lowest loss by the law, after
what text is worth that is read again; losses within 0.1 % count as equal, and of those the smallest wins, for
it is the cheapest to serve. Of equals the one wins whose heads are nearest to the wanted width. A pipeline is
taken only where nothing else fits.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hortus.budget.config import PlanConfig
from hortus.budget.counts import Counts, count
from hortus.budget.estimate import Layout, Memory, estimate_memory, estimate_step
from hortus.budget.hardware import Device, find_device
from hortus.budget.laws import Law, find_law
from hortus.budget.process import process_memory
from hortus.budget.shapes import candidate_shapes, shape_faults
from hortus.budget.text import TextSupply, read_supply
from hortus.carbon import Grid, grid
from hortus.errors import ConfigError
from hortus.models.bloom.config import BloomConfig

__all__ = ["Candidate", "Plan", "default_batch", "plan"]

_EQUAL_SIZE, _EQUAL_LOSS = 0.05, 0.001
_HOURS_A_WEEK, _HOURS_A_YEAR = 168, 8766
_SAVE_SECONDS, _RESTART_SECONDS = 40, 1800  # as the published run's: a checkpoint, and being up again


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A shape, how it would be spread, and what it would reach in the budget."""

    shape: BloomConfig
    layout: Layout
    counts: Counts
    memory: Memory
    batch_size: int
    step_seconds: float
    teraflops: float
    """A device's, counted as the published logs do: 8 a parameter and token with recomputation, else 6."""
    utilization: float
    """Model FLOP (no recomputation) as a share of the device's peak."""
    tokens: float
    steps: int
    loss: float
    hours: float
    """Of devices, lost work included."""
    days: float
    serving_hours: float
    faults: tuple[str, ...]
    verdict: str = ""

    @property
    def parameters(self) -> int:
        """All of them."""
        return self.counts.parameters

    @property
    def name(self) -> str:
        """Layers × width × heads."""
        return f"{self.shape.num_layers} × {self.shape.hidden_size} × {self.shape.num_heads}"


@dataclass(frozen=True, kw_only=True)
class _Setting:
    config: PlanConfig
    device: Device
    law: Law
    supply: TextSupply
    goodput: float
    """Share of the time that is not lost to failures and checkpoints."""
    gpus: int


@dataclass(frozen=True, kw_only=True)
class Plan(_Setting):
    """Every candidate with its verdict, the best first, and what the chosen one costs."""

    grid: Grid
    candidates: tuple[Candidate, ...]
    chosen: Candidate

    @property
    def training_flops(self) -> float:
        """6·N·D of the chosen one."""
        return 6 * self.chosen.parameters * self.chosen.tokens

    @property
    def energy_kwh(self) -> float:
        """Of the chosen run, the site's overhead included."""
        return self.chosen.hours * self.device.watts / 1000 * self.config.overhead

    @property
    def carbon_kg(self) -> float:
        """CO2e of that energy on the chosen grid."""
        return self.grid.carbon_kg(self.energy_kwh)

    @property
    def cost(self) -> float:
        """US dollars."""
        price = self.device.price if self.config.price is None else self.config.price
        return self.chosen.hours * price


def plan(config: PlanConfig) -> Plan:
    """Weigh all candidates of a budget and choose one.

    Raises:
        ConfigError: an unknown device, law, language or grid; devices that do not divide; or no candidate
            passes (the commonest reasons are named).

    >>> paper = PlanConfig(gpu_hours=1_161_261, tokens=400e9, tensor_parallel=4, pipeline_parallel=12,
    ...                    flash_attention=False, checkpointing=True)
    >>> plan(paper).chosen.name
    '70 × 14336 × 112'
    """
    device = find_device(config.gpu)
    gpus = _number_of_devices(config, device)
    setting = _Setting(
        config=config,
        device=device,
        law=find_law(config.law),
        supply=read_supply(config.languages, config.alpha),
        goodput=_goodput(gpus, config.failures_per_year),
        gpus=gpus,
    )
    place = grid(config.country)
    guess = _probable_size(setting)
    candidates = [_weigh(shape, setting) for shape in candidate_shapes(config, guess / 2.5, guess * 1.6)]
    good = [candidate for candidate in candidates if not candidate.faults]
    if not good:
        raise ConfigError(
            f"no shape passes: {_commonest(candidates)}",
            allowed="budgets and limits that at least one shape meets",
            do="loosen a limit or raise gpu_hours",
        )
    chosen = _choose(good, config)
    judged = [dataclasses.replace(one, verdict=_verdict(one, chosen, config)) for one in candidates]
    judged.sort(key=lambda one: (one.verdict != "chosen", _distance(one, chosen), bool(one.faults)))
    return Plan(**vars(setting), grid=place, candidates=tuple(judged), chosen=judged[0])


def _probable_size(setting: _Setting) -> float:
    """Parameters around which to look: the law's optimum at 40 % of the peak, text and serving considered."""
    config, best = setting.config, (math.inf, 1e6)
    flops = config.gpu_hours * 3600 * 0.4 * setting.device.peak_flops
    if config.tokens:
        return flops / (6 * config.tokens + 2 * config.serving_tokens)
    for step in range(131):
        size = 10 ** (4 + step / 12)
        tokens = (flops - 2 * size * config.serving_tokens) / 6 / size
        if tokens > 0:
            best = min(best, (setting.law.loss(size, setting.supply.worth(tokens)), size))
    return best[1]


def _number_of_devices(config: PlanConfig, device: Device) -> int:
    """As given, or the power of two (times one model's devices) that ends nearest to the wanted weeks."""
    group = (config.tensor_parallel or 1) * (config.pipeline_parallel or 1)
    if config.gpus is not None:
        if config.gpus % group:
            raise ConfigError(
                f"gpus={config.gpus} does not divide into groups of {group}",
                allowed=f"multiples of tensor_parallel × pipeline_parallel = {group}",
            )
        return config.gpus
    if math.isinf(device.link):
        return group  # this machine
    wanted = config.gpu_hours / (config.weeks * _HOURS_A_WEEK)
    return group * 2 ** max(0, round(math.log2(wanted / group)))


def _goodput(gpus: int, failures_per_year: float) -> float:
    """With checkpoints at Young's interval √(2·save·time between failures)."""
    if not failures_per_year:
        return 1.0
    between = _HOURS_A_YEAR * 3600 / (gpus * failures_per_year)
    interval = math.sqrt(2 * _SAVE_SECONDS * between)
    lost = _SAVE_SECONDS / interval + (interval / 2 + _RESTART_SECONDS) / between
    return max(0.05, 1 - lost)


def default_batch(parameters: float) -> int:
    """Sequences of a step: a power law through the published BLOOMs, 256 at 0.56B and 2048 at 176B.

    >>> [default_batch(size) for size in (1.7e9, 7.1e9, 176e9)]
    [512, 512, 2048]
    """
    return 2 ** max(0, round(math.log2(256 * (parameters / 559e6) ** 0.3615)))


def _layouts(
    config: PlanConfig, device: Device, gpus: int, batch: int, stages: Sequence[int]
) -> Iterator[Layout]:
    tensor = (
        [config.tensor_parallel] if config.tensor_parallel else [t for t in (1, 2, 4, 8) if t <= device.node]
    )
    micro = [config.micro_batch] if config.micro_batch else [1, 2, 4, 8, 16]
    recompute = [False, True] if config.checkpointing is None else [config.checkpointing]
    for t, p, b, checkpointing in itertools.product(tensor, stages, micro, recompute):
        if gpus % (t * p) == 0 and batch % (gpus // (t * p) * b) == 0:
            yield Layout(
                data_parallel=gpus // (t * p),
                tensor_parallel=t,
                pipeline_parallel=p,
                zero_stage=3 if p == 1 else 1,
                micro_batch=b,
                checkpointing=checkpointing,
                flash_attention=config.flash_attention,
            )


def _best_layout(
    shape: BloomConfig, config: PlanConfig, device: Device, gpus: int, batch: int
) -> tuple[Layout, Memory]:
    """The fastest layout that fits, without a pipeline where one does; where none fits, the smallest."""
    found: list[tuple[Layout, Memory]] = []
    given = config.pipeline_parallel
    for stages in ([given],) if given else ([1], [2, 4, 8, 16]):
        layouts = _layouts(config, device, gpus, batch, stages)
        found += [(one, _memory(shape, one, device, batch, config.sequence_length)) for one in layouts]
        fitting = [one for one in found if one[1].total <= device.memory_bytes]
        if fitting:
            return min(fitting, key=lambda one: _rank(shape, one[0], config, device, batch))
    if not found:
        raise ConfigError(
            f"batch_size={batch} does not divide over {gpus} devices",
            allowed="a multiple of data-parallel degree × micro_batch",
            do="set batch_size, micro_batch or gpus",
        )
    return min(found, key=lambda one: one[1].total)


def _memory(shape: BloomConfig, layout: Layout, device: Device, batch: int, length: int) -> Memory:
    """Of the fullest device; of this process where it trains in 32 bits, which is measured more closely."""
    if device.number_bytes == 2:
        return estimate_memory(shape, layout, device, batch, length)
    return process_memory(shape, layout.micro_batch, length, checkpointing=layout.checkpointing)


def _rank(
    shape: BloomConfig, layout: Layout, config: PlanConfig, device: Device, batch: int
) -> tuple[int, float]:
    faults = shape_faults(shape, config, layout.tensor_parallel, layout.pipeline_parallel)
    return len(faults), estimate_step(shape, layout, device, batch, config.sequence_length).total


def _weigh(shape: BloomConfig, setting: _Setting) -> Candidate:
    config, device, gpus = setting.config, setting.device, setting.gpus
    counts = count(shape, length=config.sequence_length)
    batch = config.batch_size or max(default_batch(counts.parameters), gpus)
    layout, memory = _best_layout(shape, config, device, gpus, batch)
    seconds = estimate_step(shape, layout, device, batch, config.sequence_length).total
    step_tokens = batch * config.sequence_length
    speed = 6 * counts.parameters * step_tokens / seconds / gpus  # FLOP/s of a device without recomputation
    serving = 2 * counts.parameters * config.serving_tokens / speed / 3600
    hours = config.gpu_hours * (1 - config.reserve) - serving
    steps = max(0, int(hours * 3600 * setting.goodput / gpus / seconds))
    tokens = float(steps * step_tokens)
    faults = shape_faults(shape, config, layout.tensor_parallel, layout.pipeline_parallel)
    faults += _run_faults(memory, tokens, setting)
    spent = steps * seconds * gpus / setting.goodput / 3600
    return Candidate(
        shape=shape,
        layout=layout,
        counts=counts,
        memory=memory,
        batch_size=batch,
        step_seconds=seconds,
        teraflops=(8 if layout.checkpointing else 6) / 6 * speed / 1e12,
        utilization=counts.training_flops_per_token * step_tokens / seconds / gpus / device.peak_flops,
        tokens=tokens,
        steps=steps,
        loss=setting.law.loss(counts.parameters, setting.supply.worth(tokens)) if tokens else math.inf,
        hours=spent,
        days=spent / gpus / 24,
        serving_hours=serving,
        faults=tuple(faults),
    )


def _run_faults(memory: Memory, tokens: float, setting: _Setting) -> list[str]:
    config, device, supply = setting.config, setting.device, setting.supply
    faults = []
    if memory.total > device.memory_bytes:
        faults.append(f"needs {memory.total / 1e9:.0f} GB of {device.memory_bytes / 1e9:.0f}")
    if not tokens:
        faults.append("the hours end before its first step")
    elif config.tokens and tokens < config.tokens:
        faults.append(f"sees {tokens / 1e9:,.4g}B tokens of {config.tokens / 1e9:,.4g}B")
    if supply.unique and tokens / supply.total > config.max_epochs:
        faults.append(f"reads the text {tokens / supply.total:.1f} times, {config.max_epochs:g} are allowed")
    return faults


def _choose(good: list[Candidate], config: PlanConfig) -> Candidate:
    if not config.tokens:
        lowest = min(one.loss for one in good)
        equal = [one for one in good if one.loss <= lowest * (1 + _EQUAL_LOSS)]
        return min(equal, key=lambda one: (one.parameters, one.step_seconds, _head_distance(one, config)))
    largest = max(one.parameters for one in good)
    equal = [one for one in good if one.parameters >= largest * (1 - _EQUAL_SIZE)]
    return min(equal, key=lambda one: (-one.utilization, _head_distance(one, config), -one.parameters))


def _head_distance(one: Candidate, config: PlanConfig) -> int:
    return abs(one.shape.head_size - config.head_width)


def _verdict(one: Candidate, chosen: Candidate, config: PlanConfig) -> str:
    if one is chosen:
        return "chosen"
    if one.faults:
        return "rejected: " + "; ".join(one.faults)
    if config.tokens and one.parameters < chosen.parameters * (1 - _EQUAL_SIZE):
        return f"smaller: {1 - one.parameters / chosen.parameters:.0%} fewer parameters"
    if not config.tokens and one.parameters < chosen.parameters:
        return f"too small: loss higher by {one.loss / chosen.loss - 1:.2%}"
    if not config.tokens and one.parameters > chosen.parameters:
        return f"larger to serve, loss {one.loss / chosen.loss - 1:+.2%}"
    slower = 1 - one.utilization / chosen.utilization
    if slower < 5e-4:
        return f"as good, but heads of {one.shape.head_size} are farther from {config.head_width}"
    return f"as good, but slower by {slower:.1%}"


def _distance(one: Candidate, chosen: Candidate) -> float:
    return abs(math.log(one.parameters / chosen.parameters))


def _commonest(candidates: list[Candidate]) -> str:
    """The faults of the candidate that comes nearest."""
    if not candidates:
        return "none is of the size that the budget trains"
    nearest = min(candidates, key=lambda one: len(one.faults))
    return f"{nearest.name} ({nearest.parameters:,} parameters): " + "; ".join(nearest.faults)
