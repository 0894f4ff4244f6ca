"""hortus affinity: prepare, train, predict, evaluate, split, convert."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import cyclopts
from cyclopts import Parameter
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from hortus.affinity.config import FitConfig
from hortus.artifact import replacing_file
from hortus.errors import ConfigError, DataError

if TYPE_CHECKING:
    from hortus.affinity.model import HACNet
    from hortus.affinity.prediction import Prediction
    from hortus.affinity.store import ComplexStore

__all__ = ["Measured", "app", "convert", "evaluate", "predict", "prepare", "split", "train"]

app = cyclopts.App(name="affinity", help="Predict protein-ligand binding affinity from structures.")

Json = Annotated[bool, Parameter(name="--json", negative=(), help="Print one JSON object.")]
Flag = Annotated[bool, Parameter(negative=())]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was measured, and which complexes stand on which side."""

    labels: Path
    """PDBbind index or CSV of names and values."""
    column: str | None = None
    """Column of the CSV: any numeric property of a complex."""
    split: Path | None = None
    """JSON split: lists train, val and test, or several such splits by name."""
    split_name: str | None = None
    """Name of the split in a file of several."""

    def rows(self, store: ComplexStore, *sides: str) -> tuple[dict[str, list[int]], dict[str, float]]:
        """Rows of the labelled complexes of each side (without a split: all, in the first); the labels."""
        from hortus.affinity.labels import read_labels
        from hortus.affinity.splits import read_split

        values = read_labels(self.labels, self.column)
        place = {name: i for i, name in enumerate(store.names) if name in values}
        if not place:
            raise DataError("no complex of the store has a label", do="check the names in both")
        listed = {sides[0]: list(place)} if self.split is None else read_split(self.split, self.split_name)
        if sides[0] not in listed:
            raise ConfigError(f"the split has no side {sides[0]!r}", allowed=", ".join(listed))
        return {s: [place[name] for name in listed.get(s, ()) if name in place] for s in sides}, values


@app.command
def prepare(
    data: tuple[Path, ...],
    *,
    output: Path,
    preset: Literal["default", "hacnet"] = "default",
    jobs: int = 1,
    json: Json = False,
) -> int:
    """Prepare complexes once into a compact store, in parallel, going on where an earlier try ended.

    Parameters
    ----------
    data
        PDBbind-style folders: ID/ID_pocket.pdb (or _protein) with ID/ID_ligand.mol2 (or .sdf).
    output
        The store's folder; complexes that fail are in its skipped.csv with the reason.
    preset
        default, or hacnet: what the published weights expect.
    jobs
        Processes.
    """
    from hortus.affinity.config import PreparationConfig
    from hortus.affinity.store import find_complexes, prepare_folder

    found = [files for folder in data for files in find_complexes(folder)]
    with _progress(len(found)) as advance:
        store = prepare_folder(found, output, PreparationConfig.preset(preset), jobs=jobs, progress=advance)
    lines = [f"{len(store)} complexes in {output}, {len(store.skipped)} skipped"]
    lines += [f"  {name}: {reason}" for name, reason in store.skipped.items()]
    result = {"store": str(output), "complexes": len(store), "skipped": store.skipped}
    return _print(result, "\n".join(lines), json)


@app.command
def train(
    store: Path,
    *,
    output: Path,
    measured: Measured,
    fit: Annotated[FitConfig | None, Parameter(name="*")] = None,
    json: Json = False,
) -> int:
    """Train the ensemble on a prepared store and write the artifact.

    Of a split, the list train is trained on and the list val chooses epochs.

    Parameters
    ----------
    store
        Folder made by `hortus affinity prepare`.
    output
        The artifact's folder; checkpoints stand in OUTPUT.training and are gone on from.
    """
    from hortus.affinity.model import untrained
    from hortus.affinity.store import ComplexStore

    opened = ComplexStore(store)
    sides, values = measured.rows(opened, "train", "val")
    if not sides["train"]:
        raise DataError(
            f"{measured.split}: no training complex is in the store", do="check the names in both"
        )
    chosen = opened.subset([*sides["train"], *sides["val"]])
    target = f"{measured.column}, as given in {measured.labels.name}" if measured.column else None
    folder = output.with_name(output.name + ".training")
    model = untrained(fit or FitConfig(), opened.preparation, folder, target)
    validation = range(len(sides["train"]), len(chosen)) if measured.split else None
    model.fit(chosen, [values[name] for name in chosen.names], validation)
    model.save(output)
    result = {"model": str(output), "complexes": len(chosen), "error": model.error_}
    return _print(result, f"{output}: {len(chosen)} complexes; error {model.error_}", json)


@app.command
def predict(
    *,
    model: str,
    protein: Path,
    ligands: Path,
    output: Path | None = None,
    attribution: Path | None = None,
    jobs: int = 1,
    compat: Flag = False,
    json: Json = False,
) -> int:
    """Predict the affinity of posed ligands to one protein: CSV on stdout, or a .csv or .sdf file.

    Parameters
    ----------
    model
        Artifact folder or hub id.
    protein
        PDB or mmCIF, the whole protein or a pocket, also .gz.
    ligands
        SDF (many poses), MOL2 or CXSMILES, posed in the protein's frame.
    output
        File to write: .csv, or .sdf with the values as properties.
    attribution
        Folder for a PDB with each atom's share in the B-factor column and a drawing, for each pose.
    jobs
        Processes.
    compat
        Repeat the official single-complex behaviour.
    """
    from hortus.affinity.attribution import attribute_poses
    from hortus.affinity.model import HACNet
    from hortus.affinity.prediction import predict_in_parallel, predict_poses

    opened = HACNet.load(model)
    if jobs > 1:
        predictions = predict_in_parallel(model, protein, ligands, jobs=jobs, compat=compat)
    else:
        predictions = predict_poses(opened, protein, ligands, compat=compat)
    if json:
        _print({"target": opened.config_.target, "predictions": [asdict(p) for p in predictions]}, "", json)
    elif output is not None and output.suffix == ".sdf":
        _write_sdf(output, ligands, predictions, opened.config_.target)
    elif output is not None:
        with replacing_file(output) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            _write_csv(file, predictions, opened)
    else:
        _write_csv(sys.stdout, predictions, opened)
    if attribution is not None:
        attribute_poses(opened, protein, ligands, attribution)
    return 0


def _write_csv(file: Any, predictions: Iterable[Prediction], model: HACNet) -> None:
    parts = list(model.config_.parts)
    print(f"# value, low and high: {model.config_.target}", file=file)
    note = "95 % interval from validation complexes" if model.error_ else "low and high: not calibrated"
    print(f"# {note}; parts: {', '.join(parts)}; {' '.join(model.config_.notes)}".rstrip(), file=file)
    writer = csv.writer(file)
    writer.writerow(["name", "value", "low", "high", "spread", *parts, "warnings", "failed_because"])
    for one in predictions:
        numbers = [one.value, one.low, one.high, one.spread, *(one.parts.get(p) for p in parts)]
        texts = ["" if number is None or number != number else f"{number:.3f}" for number in numbers]
        writer.writerow([one.name, *texts, "; ".join(one.warnings), one.reason])
        file.flush()


def _write_sdf(path: Path, ligands: Path, predictions: Iterable[Prediction], target: str) -> None:
    from rdkit import Chem

    from hortus.affinity.ligand import BadLigand, read_ligands

    failed = 0
    with replacing_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for number, (entry, one) in enumerate(zip(read_ligands(ligands), predictions, strict=True), start=1):
            if isinstance(entry, BadLigand) or one.reason:
                failed += 1
                print(f"pose {number} ({one.name}): {one.reason}", file=sys.stderr)
                continue
            properties = {"hortus_value": one.value, "hortus_low": one.low, "hortus_high": one.high}
            properties |= {f"hortus_{part}": value for part, value in one.parts.items()}
            texts = {name: f"{value:.3f}" for name, value in properties.items()}
            texts |= {"hortus_pose": str(number), "hortus_target": target}
            texts |= {"hortus_warnings": "; ".join(one.warnings)} if one.warnings else {}
            file.write(Chem.MolToMolBlock(entry.chemical, kekulize=False))
            file.writelines(f">  <{name}>\n{text}\n\n" for name, text in texts.items())
            file.write("$$$$\n")
    print(f"{path}: written, {failed} poses failed", file=sys.stderr)


@app.command
def evaluate(
    store: Path,
    *,
    model: str,
    measured: Measured,
    side: str = "test",
    output: Path | None = None,
    json: Json = False,
) -> int:
    """Compare a model's predictions for a prepared store with measured values, beside two baselines.

    The baselines learn from the split's list train.

    Parameters
    ----------
    store
        Folder made by `hortus affinity prepare`.
    model
        Artifact folder or hub id.
    side
        Which list of the split is scored.
    output
        CSV of the single predictions.
    """
    import numpy as np

    from hortus.affinity.evaluation import evaluate as measure
    from hortus.affinity.evaluation import mass_baseline, nearest_baseline, score_table
    from hortus.affinity.model import HACNet
    from hortus.affinity.store import ComplexStore

    opened, machine = ComplexStore(store), HACNet.load(model)
    sides, values = measured.rows(opened, side, "train")
    complexes, known = opened.subset(sides[side]), opened.subset(sides["train"])
    if len(complexes) < 2:
        raise DataError(f"{len(complexes)} complexes of side {side!r} are in the store with a label")
    truth = np.array([values[name] for name in complexes.names])
    parts = machine.predict_parts(complexes)
    predictions = {"HAC-Net": np.mean(list(parts.values()), axis=0), **parts}
    if len(known) >= 2:
        seen = [values[name] for name in known.names]
        predictions["ligand mass"] = mass_baseline(known, seen, complexes)
        predictions["nearest ligand"] = nearest_baseline(known, seen, complexes)
    if output is not None:
        columns = np.round(np.column_stack([truth, *predictions.values()]), 4).tolist()
        with replacing_file(output) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["name", "measured", *predictions])
            writer.writerows([name, *row] for name, row in zip(complexes.names, columns, strict=True))
    if json:
        return _print({name: measure(truth, column) for name, column in predictions.items()}, "", json)
    rows = score_table(truth, predictions)
    table = Table(*rows[0], title=f"{len(complexes)} complexes, 95 % bootstrap intervals")
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console().print(table)
    return 0


@app.command
def split(
    store: Path,
    *,
    output: Path,
    by: Literal["random", "scaffold", "ligand", "sequence", "structure"] = "ligand",
    data: tuple[Path, ...] = (),
    limit: float = 0.6,
    validation: float = 0.1,
    test: float = 0.1,
    seed: int = 0,
    json: Json = False,
) -> int:
    """Make a fair split of a prepared store: look-alikes stay on one side.

    Parameters
    ----------
    store
        Folder made by `hortus affinity prepare`.
    output
        JSON file: {"train": [...], "val": [...], "test": [...]}.
    by
        What must not cross: nothing, Murcko scaffolds, similar ligands, protein sequences or structures.
    data
        The folders the store was made from; needed by sequence and structure.
    limit
        Similarity from which complexes are look-alikes (Tanimoto, identity, TM-score).
    validation
        Share of validation complexes.
    test
        Share of test complexes.
    seed
        Seed of the draw.
    """
    from hortus.affinity import splits
    from hortus.affinity.store import ComplexStore, find_complexes

    opened = ComplexStore(store)
    paths = {files.name: files.receptor for folder in data for files in find_complexes(folder)}
    groups = splits.group(by, opened.names, opened.smiles, paths, limit)
    made = splits.split_groups(opened.names, groups, validation=validation, test=test, seed=seed)
    splits.write_split(output, made)
    sizes = {side: len(members) for side, members in made.items()}
    result = {"split": str(output), "groups": len(set(groups.tolist())), **sizes}
    return _print(result, ", ".join(f"{name} {value}" for name, value in result.items()), json)


@app.command
def convert(
    *,
    output: Path,
    gcn: tuple[Path, ...] = (),
    cnn: Path | None = None,
    mlp: Path | None = None,
    json: Json = False,
) -> int:
    """Make an artifact of the published checkpoint files. They are read without running code in them.

    Parameters
    ----------
    output
        The artifact's folder.
    gcn
        GCN0_parameters.pt, and again for GCN1_parameters.pt.
    cnn
        CNN_parameters.pt; without it the ensemble is of graph networks only.
    mlp
        MLP_parameters.pt, the CNN's second read-out.
    """
    from hortus.affinity.model import HACNet

    model = HACNet.from_published(gcn, cnn, mlp)
    model.save(output)
    parts, notes = list(model.config_.parts), list(model.config_.notes)
    result = {"model": str(output), "parts": parts, "notes": notes}
    return _print(result, f"{output}: {', '.join(parts)}. {' '.join(notes)}", json)


@contextmanager
def _progress(total: int) -> Iterator[Any]:
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("complexes", total=total)
        yield lambda name, skipped: bar.update(task, advance=1, description=f"complexes, {skipped} skipped")


def _plain(value: Any) -> Any:
    """NaN is no JSON: it becomes null."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and value != value else value


def _print(value: Any, text: str, as_json: bool) -> int:
    print(json.dumps(_plain(value), ensure_ascii=False) if as_json else text)
    return 0
