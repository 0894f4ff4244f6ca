"""Files in, answers out: poses of one receptor scored block by block, in one process or several.

The receptor is prepared once in each process, memory stays flat however many poses follow, and a pose that
cannot be scored becomes an answer that says why.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hortus.affinity.complexes import Complex, PreparedReceptor
from hortus.affinity.ligand import BadLigand, Ligand, read_ligands
from hortus.affinity.receptor import read_receptor
from hortus.errors import HortusError

if TYPE_CHECKING:
    from hortus.affinity.model import HACNet

__all__ = ["Prediction", "complex_or_reason", "describe", "predict_in_parallel", "predict_poses"]

_BLOCK = 8
_GUARD = 50.0  # the official single-complex path drops a CNN output this far off


@dataclass(frozen=True)
class Prediction:
    """What is said about one pose.

    Args:
        value: the mean of the parts, NaN where `reason` says why there is none.
        parts: output of each network.
        spread: standard deviation of the parts.
        low, high: the interval that held 95 % of the validation complexes; NaN when never calibrated.
    """

    name: str
    value: float = float("nan")
    parts: Mapping[str, float] = field(default_factory=dict)
    spread: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    warnings: tuple[str, ...] = ()
    reason: str = ""


def complex_or_reason(receptor: PreparedReceptor, entry: Ligand | BadLigand) -> Complex | Prediction:
    """The complex of a pose, or a prediction that says why there is none."""
    if isinstance(entry, BadLigand):
        return Prediction(entry.name, reason=entry.reason)
    try:
        return receptor.complex_with(entry)
    except HortusError as error:
        return Prediction(entry.name, reason=str(error))


def describe(
    model: HACNet, entries: Sequence[Complex | Prediction], *, compat: bool = False
) -> list[Prediction]:
    """Predictions for complexes; entries that are predictions already (failures) pass through."""
    complexes = [entry for entry in entries if isinstance(entry, Complex)]
    parts = model.predict_parts(complexes, compat_single=compat) if complexes else {}
    rows = iter(range(len(complexes)))
    return [
        entry if isinstance(entry, Prediction) else _one(model, entry, parts, next(rows), compat)
        for entry in entries
    ]


def _one(model: HACNet, one: Complex, parts: Mapping[str, np.ndarray], row: int, compat: bool) -> Prediction:
    values = {part: float(outputs[row]) for part, outputs in parts.items()}
    used, notes = list(values.values()), list(one.warnings)
    low, high = (model.domain_.get(f"mass_{end}", float("nan")) for end in ("low", "high"))
    if one.ligand_mass < 0.9 * low or one.ligand_mass > 1.1 * high:
        notes.append(
            f"ligand mass {one.ligand_mass:.0f} is outside the training range {low:.0f}-{high:.0f} g/mol"
        )
    if compat and abs(values.get("cnn", 0.0)) >= _GUARD and len(values) > 1:
        used = [value for part, value in values.items() if part != "cnn"]
        notes.append("the CNN's output is out of range and was left out (compat)")
    value, reach = float(np.mean(used)), model.error_.get("half_width_95%", float("nan"))
    spread = float(np.std(used)) if len(used) > 1 else float("nan")
    return Prediction(one.name, value, values, spread, value - reach, value + reach, tuple(notes))


def _blocks(ligands: str | Path) -> Iterator[list[Ligand | BadLigand]]:
    entries = read_ligands(ligands)
    return iter(lambda: list(islice(entries, _BLOCK)), [])


def predict_poses(
    model: HACNet, protein: str | Path, ligands: str | Path, *, compat: bool = False
) -> Iterator[Prediction]:
    """One prediction for each molecule of a ligand file, in order."""
    receptor = PreparedReceptor(read_receptor(protein), model.config_.preparation)
    for block in _blocks(ligands):
        yield from describe(model, [complex_or_reason(receptor, entry) for entry in block], compat=compat)


_worker: tuple[HACNet, PreparedReceptor]


def _begin_worker(model: str, protein: Path) -> None:
    from hortus.affinity.model import HACNet

    global _worker
    torch.set_num_threads(1)
    opened = HACNet.load(model)
    _worker = opened, PreparedReceptor(read_receptor(protein), opened.config_.preparation)


def _score(block: list[Ligand | BadLigand], compat: bool) -> list[Prediction]:
    model, receptor = _worker
    return describe(model, [complex_or_reason(receptor, entry) for entry in block], compat=compat)


def predict_in_parallel(
    model: str, protein: Path, ligands: Path, *, jobs: int, compat: bool = False
) -> Iterator[Prediction]:
    """As `predict_poses`, by processes that each load the artifact `model` and prepare the receptor."""
    read_receptor(protein)  # a bad file is named here, once, and not by every process
    begin = (model, protein)
    # A forked child would inherit OpenMP's locks from compiled code that ran here, and die.
    with ProcessPoolExecutor(jobs, get_context("spawn"), initializer=_begin_worker, initargs=begin) as pool:
        running: deque[Any] = deque()
        for block in _blocks(ligands):
            running.append(pool.submit(_score, block, compat))
            # A bounded queue keeps memory flat however many poses wait.
            if len(running) >= 4 * jobs:
                yield from running.popleft().result()
        while running:
            yield from running.popleft().result()
