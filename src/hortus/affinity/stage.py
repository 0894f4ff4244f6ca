"""The recipe stages `complexes` (prepare) and `affinity` (cross-validate beside baselines, then train)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hortus.affinity.config import FitConfig, PreparationConfig
from hortus.affinity.evaluation import (
    MEASURES,
    gain_over,
    mass_baseline,
    nearest_baseline,
    score_table,
    tanimoto,
)
from hortus.affinity.example import write_example
from hortus.affinity.fitting import TrainingStoppedError
from hortus.affinity.labels import read_labels
from hortus.affinity.model import HACNet, untrained
from hortus.affinity.splits import group_folds, similar_groups
from hortus.affinity.store import ComplexStore, find_complexes, prepare_folder
from hortus.errors import DataError
from hortus.recipe import Stage, StageContext, StageResult
from hortus.report import Block, Curves, Table, Text

__all__ = ["COMPLEXES", "STAGE", "AffinityStage", "ComplexesStage", "cross_validate"]


@dataclass(frozen=True, kw_only=True)
class ComplexesStage:
    """Settings of the stage `complexes`."""

    data: tuple[Path, ...] = ()
    """PDBbind-style folders (ID/ID_pocket.pdb, ID/ID_ligand.mol2); none: the generated example."""
    labels: Path | None = None
    """A PDBbind index or a CSV table of names and values; none: labels.csv in the first folder."""
    column: str | None = None
    """The column of a CSV table to learn."""
    preset: Literal["default", "hacnet"] = "default"
    """How complexes are prepared."""
    jobs: int = 2
    """Processes."""


def _files(config: ComplexesStage) -> list[Path]:
    return [] if config.labels is None else [config.labels]


def run_complexes(config: ComplexesStage, context: StageContext) -> StageResult:
    """Prepare every complex that has a label into the stage's folder."""
    folders = list(config.data) or [write_example(context.folder / "example")]
    labels = read_labels(config.labels or folders[0] / "labels.csv", config.column)
    found = [files for folder in folders for files in find_complexes(folder)]
    labelled = [files for files in found if files.name in labels]
    if not labelled:
        raise DataError(f"none of {len(found)} complexes has a label", do="check the names of both")
    store = prepare_folder(
        labelled, context.folder / "store", PreparationConfig.preset(config.preset), jobs=config.jobs
    )
    lines = ["name,value", *(f"{name},{labels[name]!r}" for name in store.names)]
    (context.folder / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    skipped = store.skipped
    numbers = {
        "complexes": len(store),
        "skipped": len(skipped),
        "without a label": len(found) - len(labelled),
    }
    blocks: list[Block] = [
        Table("Prepared complexes", ["what", "number"], [[k, v] for k, v in numbers.items()])
    ]
    if skipped:
        blocks.append(Table("Skipped", ["complex", "reason"], [list(item) for item in skipped.items()]))
    return StageResult(numbers=numbers, blocks=blocks)


@dataclass(frozen=True, kw_only=True)
class AffinityStage(FitConfig):
    """Settings of the stage `affinity`."""

    folds: int = 0
    """Folds of the cross-validation; 0 leaves it out."""
    ligand_limit: float = 0.6
    """Ligands this similar (ECFP4 Tanimoto) are kept in one fold."""


def run_affinity(config: AffinityStage, context: StageContext) -> StageResult:
    """Cross-validate where asked, then train on all complexes and write the artifact to FOLDER/model."""
    try:
        return _run_affinity(config, context)
    except TrainingStoppedError as stopped:
        return StageResult(stopped=stopped.what)


def _run_affinity(config: AffinityStage, context: StageContext) -> StageResult:
    source = context.inputs["complexes"]
    store = ComplexStore(source / "store")
    labels = read_labels(source / "labels.csv", "value")
    values = np.array([labels[name] for name in store.names])
    numbers: dict[str, Any] = {}
    blocks: list[Block] = []
    if config.folds:
        predictions = cross_validate(store, values, config, context.folder / "folds")
        rows = score_table(values, predictions)
        title = f"Cross-validation: {config.folds} folds, similar ligands kept together (95 % intervals)"
        columns = ["predictor", "n", *MEASURES]
        blocks.append(Table(title, columns, [[row[column] for column in columns] for row in rows]))
        numbers["cross_validation"] = rows
        for baseline in ("ligand mass", "nearest ligand", "mean"):
            gain = gain_over(values, predictions["HAC-Net"], predictions[baseline])
            blocks.append(Text(f"HAC-Net against {baseline}", gain))
            numbers[f"against {baseline}"] = gain
    model = untrained(config, store.preparation, context.folder / "training").fit(store, values)
    model.save(context.folder / "model", recipe=context.recipe)
    blocks += _training_blocks(model)
    numbers |= {"model": str(context.folder / "model"), **{f"error {k}": v for k, v in model.error_.items()}}
    return StageResult(numbers=numbers, blocks=blocks)


def cross_validate(
    store: ComplexStore, values: np.ndarray, config: AffinityStage, folder: Path
) -> dict[str, np.ndarray]:
    """Predictions for every complex by models that did not see it, and those of both baselines.

    Finished folds are kept in `folder` and not trained again.
    """
    similarity = tanimoto(store.smiles, store.smiles)
    folds = group_folds(similar_groups(similarity, config.ligand_limit), config.folds, config.seed)
    predictions: dict[str, np.ndarray] = {}
    for fold in range(config.folds):
        test, train = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        for name, part in _fold(store, values, config, (train, test), folder / f"fold-{fold}").items():
            predictions.setdefault(name, np.zeros(len(store)))[test] = part
    return predictions


def _fold(
    store: ComplexStore,
    values: np.ndarray,
    config: AffinityStage,
    split: tuple[np.ndarray, np.ndarray],
    folder: Path,
) -> dict[str, np.ndarray]:
    train, test = split
    kept = folder / "predictions.npz"
    if kept.is_file():
        return dict(np.load(kept))
    seen, unseen = store.subset(train), store.subset(test)
    model = untrained(config, store.preparation, folder).fit(seen, values[train])
    parts = model.predict_parts(unseen)
    result = {"HAC-Net": np.mean(list(parts.values()), axis=0), **parts}
    result["ligand mass"] = mass_baseline(seen, values[train], unseen)
    result["nearest ligand"] = nearest_baseline(seen, values[train], unseen)
    result["mean"] = np.full(len(test), values[train].mean())
    np.savez(kept, **result)
    return result


def _training_blocks(model: HACNet) -> list[Block]:
    blocks: list[Block] = []
    for name, key in (("Training loss", "loss"), ("Validation loss", "validation_loss")):
        series = {}
        for part, result in model.results_.items():
            points = [(r["epoch"], r[key]) for r in result.history if key in r]
            if points:
                series[part] = ([x for x, _ in points], [y for _, y in points])
        if series:
            blocks.append(Curves(name, "epoch", "squared error", series))
    if model.error_:
        text = ", ".join(f"{name} {value:.3g}" for name, value in model.error_.items())
        blocks.append(Text("Error on validation complexes", text))
    return blocks


COMPLEXES = Stage(ComplexesStage, run_complexes, files=_files)
STAGE = Stage(AffinityStage, run_affinity, needs=("complexes",))
