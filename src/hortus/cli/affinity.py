"""hortus affinity: prepare, train, predict, evaluate, split, convert."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import cyclopts
from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from hortus.artifact import replacing_file
from hortus.errors import ConfigError, DataError

if TYPE_CHECKING:
    from hortus.affinity.model import HACNet, Prediction

app = cyclopts.App(name="affinity", help="Predict protein-ligand binding affinity from structures.")

Json = Annotated[bool, Parameter(name="--json", negative=())]
Flag = Annotated[bool, Parameter(negative=())]


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
    json
        Print one JSON object.
    """
    from hortus.affinity.config import PreparationConfig
    from hortus.affinity.store import find_complexes, prepare_folder

    found = [files for folder in data for files in find_complexes(folder)]
    with _progress(len(found)) as advance:
        store = prepare_folder(found, output, PreparationConfig.preset(preset), jobs=jobs, progress=advance)
    result = {"store": str(output), "complexes": len(store), "skipped": store.skipped}
    if json:
        _print_json(result)
    else:
        print(f"{len(store)} complexes in {output}, {len(store.skipped)} skipped")
        for name, reason in store.skipped.items():
            print(f"  {name}: {reason}")
    return 0


@app.command
def train(
    store: Path,
    *,
    labels: Path,
    output: Path,
    column: str | None = None,
    size: Literal["full", "half", "graph"] = "half",
    split: Path | None = None,
    split_name: str | None = None,
    gcn_epochs: int = 300,
    cnn_epochs: int = 100,
    validation_share: float = 0.1,
    seed: int = 0,
    json: Json = False,
) -> int:
    """Train the ensemble on a prepared store and write the artifact.

    Parameters
    ----------
    store
        Folder made by `hortus affinity prepare`.
    labels
        PDBbind index or CSV of names and values.
    output
        The artifact's folder; checkpoints stand in OUTPUT.training and are gone on from.
    column
        Column of the CSV to learn: any numeric property of a complex.
    size
        full (48 voxels of 1 Å), half (24 of 2 Å), graph (no CNN).
    split
        JSON split; its train list is trained on, its val list chooses epochs.
    split_name
        Name of the split in a file of several.
    gcn_epochs
        Epochs of each graph network.
    cnn_epochs
        Epochs of the CNN and of its read-out.
    validation_share
        Share set aside where no split is given.
    seed
        Seed of everything random.
    json
        Print one JSON object.
    """
    from dataclasses import replace

    from hortus.affinity.config import HACNetConfig
    from hortus.affinity.learning import published_training
    from hortus.affinity.model import HACNet
    from hortus.affinity.store import ComplexStore

    opened, values = ComplexStore(store), _labels(labels, column)
    rows, held = _sides(opened.names, values, split, split_name)
    complexes = [opened[i] for i in [*rows, *held]] if split else _Labelled(opened, rows)
    config = HACNetConfig.size(size, preparation=opened.preparation)
    if column is not None:
        config = replace(config, target=f"{column}, as given in {labels.name}")
    epochs = {"gcn": gcn_epochs, "cnn": cnn_epochs, "head": cnn_epochs}
    training = {part: replace(published_training(part), epochs=count) for part, count in epochs.items()}
    folder = output.with_name(output.name + ".training")
    model = HACNet(
        config, training=training, validation_share=validation_share, seed=seed, folder=folder, quiet=False
    )
    names = [opened.names[i] for i in [*rows, *held]]
    validation = range(len(rows), len(names)) if split else None
    model.fit(complexes, [values[name] for name in names], validation)
    model.save(output)
    result = {"model": str(output), "complexes": len(names), "error": model.error_}
    _print_json(result) if json else print(f"{output}: {len(names)} complexes; error {model.error_}")
    return 0


class _Labelled(Sequence[Any]):
    """The complexes of a store that have a label, read when asked for."""

    def __init__(self, store: Any, rows: list[int]) -> None:
        self._store, self._rows = store, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        return self._store[self._rows[index]]


def _labels(path: Path, column: str | None) -> dict[str, float]:
    from hortus.affinity.labels import read_labels

    return read_labels(path, column)


def _sides(
    names: list[str], values: dict[str, float], split: Path | None, split_name: str | None
) -> tuple[list[int], list[int]]:
    from hortus.affinity.splits import read_split

    place = {name: i for i, name in enumerate(names) if name in values}
    if not place:
        raise DataError("no complex of the store has a label", do="check the names in both")
    if split is None:
        return list(place.values()), []
    sides = read_split(split, split_name)
    rows = [place[name] for name in sides.get("train", ()) if name in place]
    held = [place[name] for name in sides.get("val", ()) if name in place]
    if not rows:
        raise DataError(f"{split}: no training complex is in the store", do="check the names in both")
    return rows, held


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
    json
        Print one JSON object.
    """
    from hortus.affinity.model import HACNet

    opened = HACNet.load(model)
    predictions: Iterable[Prediction]
    if jobs > 1:
        predictions = _in_parallel(model, protein, ligands, jobs, compat)
    else:
        predictions = opened.iterate_files(protein, ligands, compat=compat)
    if json:
        rows = [_plain(asdict(one)) for one in predictions]
        _print_json({"target": opened.config_.target, "predictions": rows})
    elif output is not None and output.suffix == ".sdf":
        _write_sdf(output, ligands, predictions, opened.config_.target)
    elif output is not None:
        with replacing_file(output) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            _write_csv(file, predictions, opened)
    else:
        _write_csv(sys.stdout, predictions, opened)
    if attribution is not None:
        _attribute(opened, protein, ligands, attribution)
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


def _in_parallel(model: str, protein: Path, ligands: Path, jobs: int, compat: bool) -> Iterator[Prediction]:
    """Each process scores every jobs-th block of poses; the receptor is prepared once in each."""
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        tasks = [
            pool.submit(_share, model, protein, ligands, (worker, jobs), compat) for worker in range(jobs)
        ]
        shares = [iter(task.result()) for task in tasks]
    while True:
        for share in shares:
            block = list(islice(share, _BLOCK))
            if not block:
                return
            yield from block


_BLOCK = 16


def _share(model: str, protein: Path, ligands: Path, turn: tuple[int, int], compat: bool) -> list[Prediction]:
    import torch

    from hortus.affinity.complexes import PreparedReceptor
    from hortus.affinity.ligand import read_ligands
    from hortus.affinity.model import HACNet, complex_or_reason
    from hortus.affinity.receptor import read_receptor

    torch.set_num_threads(1)
    opened = HACNet.load(model)
    receptor = PreparedReceptor(read_receptor(protein), opened.config_.preparation)
    result: list[Prediction] = []
    block: list[Any] = []
    for number, entry in enumerate(read_ligands(ligands)):
        if number // _BLOCK % turn[1] == turn[0]:
            block.append(complex_or_reason(receptor, entry))
        if len(block) == _BLOCK:
            result += opened.describe(block, compat=compat)
            block = []
    return result + opened.describe(block, compat=compat)


def _attribute(model: HACNet, protein: Path, ligands: Path, folder: Path) -> None:
    from hortus.affinity.attribution import atom_shares, draw_ligand, write_shares
    from hortus.affinity.complexes import Complex, PreparedReceptor
    from hortus.affinity.ligand import Ligand, read_ligands
    from hortus.affinity.model import complex_or_reason
    from hortus.affinity.receptor import read_receptor

    folder.mkdir(parents=True, exist_ok=True)
    receptor = PreparedReceptor(read_receptor(protein), model.config_.preparation)
    for number, entry in enumerate(read_ligands(ligands), start=1):
        one = complex_or_reason(receptor, entry)
        if isinstance(one, Complex) and isinstance(entry, Ligand):
            shares = atom_shares(model, one)
            write_shares(folder / f"pose-{number}.pdb", one, shares, receptor.receptor, entry)
            drawing = draw_ligand(entry, shares[: one.num_ligand_atoms])
            (folder / f"pose-{number}.svg").write_text(drawing, encoding="utf-8")


@app.command
def evaluate(
    store: Path,
    *,
    model: str,
    labels: Path,
    column: str | None = None,
    split: Path | None = None,
    split_name: str | None = None,
    side: str = "test",
    output: Path | None = None,
    json: Json = False,
) -> int:
    """Compare a model's predictions for a prepared store with measured values, beside two baselines.

    Parameters
    ----------
    store
        Folder made by `hortus affinity prepare`.
    model
        Artifact folder or hub id.
    labels
        PDBbind index or CSV of names and values.
    column
        Column of the CSV.
    split
        JSON split: its `side` is scored, and its train list feeds the baselines.
    split_name
        Name of the split in a file of several.
    side
        Which list of the split is scored.
    output
        CSV of the single predictions.
    json
        Print one JSON object.
    """
    import numpy as np

    from hortus.affinity.evaluation import evaluate as measure
    from hortus.affinity.evaluation import mass_baseline, nearest_baseline, score_table
    from hortus.affinity.model import HACNet
    from hortus.affinity.splits import read_split
    from hortus.affinity.store import ComplexStore

    opened, values, machine = ComplexStore(store), _labels(labels, column), HACNet.load(model)
    place = {name: i for i, name in enumerate(opened.names) if name in values}
    sides = read_split(split, split_name) if split else {side: list(place)}
    if side not in sides:
        raise ConfigError(f"the split has no side {side!r}", allowed=", ".join(sides))
    names = [name for name in sides[side] if name in place]
    if len(names) < 2:
        raise DataError(f"{len(names)} complexes of side {side!r} are in the store with a label")
    complexes, truth = [opened[place[name]] for name in names], np.array([values[name] for name in names])
    parts = machine.predict_parts(complexes)
    predictions = {"HAC-Net": np.mean(list(parts.values()), axis=0), **parts}
    known = [name for name in sides.get("train", ()) if name in place]
    if len(known) >= 2:
        train, train_values = [opened[place[name]] for name in known], [values[name] for name in known]
        predictions["ligand mass"] = mass_baseline(train, train_values, complexes)
        predictions["nearest ligand"] = nearest_baseline(train, train_values, complexes)
    if output is not None:
        with replacing_file(output) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["name", "measured", *predictions])
            writer.writerows(
                [name, truth[i], *(round(float(column[i]), 4) for column in predictions.values())]
                for i, name in enumerate(names)
            )
    if json:
        _print_json({name: measure(truth, column) for name, column in predictions.items()})
    else:
        _print_rows(score_table(truth, predictions), f"{len(names)} complexes, 95 % bootstrap intervals")
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
    json
        Print one JSON object.
    """
    import numpy as np

    from hortus.affinity import splits
    from hortus.affinity.evaluation import tanimoto
    from hortus.affinity.store import ComplexStore, find_complexes

    opened = ComplexStore(store)
    names, smiles = opened.names, [opened[i].smiles for i in range(len(opened))]
    if by in ("sequence", "structure"):
        paths = {files.name: files.receptor for folder in data for files in find_complexes(folder)}
        missing = [name for name in names if name not in paths]
        if missing:
            raise ConfigError(f"no structure of {missing[0]!r} is known", do="name the folders with --data")
    if by == "random":
        groups = np.arange(len(names))
    elif by == "scaffold":
        groups = splits.same_scaffold(smiles)
    elif by == "ligand":
        groups = splits.similar_groups(tanimoto(smiles, smiles), limit)
    elif by == "sequence":
        sequences = [splits.sequence_of(paths[name]) for name in names]
        groups = splits.similar_groups(splits.sequence_identity(sequences), limit)
    else:
        groups = splits.similar_groups(splits.structure_similarity([paths[name] for name in names]), limit)
    made = splits.split_groups(names, groups, validation=validation, test=test, seed=seed)
    splits.write_split(output, made)
    sizes = {side: len(members) for side, members in made.items()}
    result = {"split": str(output), "groups": len(set(groups.tolist())), **sizes}
    _print_json(result) if json else print(", ".join(f"{k} {v}" for k, v in result.items()))
    return 0


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
    json
        Print one JSON object.
    """
    from hortus.affinity.model import HACNet

    model = HACNet.from_published(gcn, cnn, mlp)
    model.save(output)
    result = {"model": str(output), "parts": list(model.config_.parts), "notes": list(model.config_.notes)}
    _print_json(result) if json else print(
        f"{output}: {', '.join(model.config_.parts)}. {' '.join(model.config_.notes)}"
    )
    return 0


def _progress(total: int) -> Any:
    from contextlib import contextmanager

    from rich.progress import Progress

    @contextmanager
    def shown() -> Iterator[Any]:
        with Progress(console=Console(stderr=True)) as bar:
            task = bar.add_task("complexes", total=total)
            yield lambda name, skipped: bar.update(
                task, advance=1, description=f"complexes, {skipped} skipped"
            )

    return shown()


def _plain(value: Any) -> Any:
    """NaN is no JSON: it becomes null."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and value != value else value


def _print_json(value: Any) -> None:
    print(json.dumps(_plain(value), ensure_ascii=False))


def _print_rows(rows: list[dict[str, Any]], title: str) -> None:
    table = Table(*rows[0], title=title)
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console().print(table)
