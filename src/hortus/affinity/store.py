"""Prepared complexes on disk: written once, in parallel, resumable; read through a memory map.

    settings.json   how the complexes were prepared, and the format's version
    index.jsonl     one line a complex: name, first row, rows, ligand atoms, centre, mass, SMILES, warnings
    atoms.f32       rows of 23 float32: x, y, z, van der Waals radius, 19 features
    skipped.csv     complexes that could not be prepared, and why

Both files only grow. A complex counts once its line stands; what follows the last line is cut off on resume.
Memory does not grow with the number of complexes, neither in writing nor in reading.
"""

from __future__ import annotations

import copy
import csv
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any, overload

import numpy as np

from hortus.affinity.complexes import Complex, read_complex
from hortus.affinity.config import NUM_FEATURES, PreparationConfig
from hortus.artifact import read_json, replacing_file, write_json
from hortus.config import from_mapping, to_mapping
from hortus.errors import ArtifactError, ConfigError, DataError, HortusError

__all__ = ["ComplexFiles", "ComplexStore", "find_complexes", "prepare_folder"]

_COLUMNS = 4 + NUM_FEATURES
_FORMAT = 1


@dataclass(frozen=True)
class ComplexFiles:
    """The two files of one complex."""

    name: str
    receptor: Path
    ligand: Path


def find_complexes(folder: str | Path) -> list[ComplexFiles]:
    """Complexes of a PDBbind-style folder: ID/ID_pocket.pdb (or ID_protein) and ID/ID_ligand.mol2 (or .sdf).

    MOL2 is preferred, since PDBbind's SDF files carry more broken valences.

    Raises:
        DataError: no such folder, or no complex in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(
            f"{folder} is not a folder", allowed="a folder of ID/ID_pocket.pdb, ID/ID_ligand.mol2"
        )
    found = []
    for place in sorted(path for path in folder.iterdir() if path.is_dir()):
        receptor = _first(place, ("_pocket", "_protein"), (".pdb", ".cif", ".pdb.gz", ".cif.gz"))
        ligand = _first(place, ("_ligand",), (".mol2", ".sdf"))
        if receptor is not None and ligand is not None:
            found.append(ComplexFiles(place.name, receptor, ligand))
    if not found:
        raise DataError(
            f"{folder} holds no complexes", allowed="ID/ID_pocket.pdb with ID/ID_ligand.mol2 or .sdf"
        )
    return found


def _first(folder: Path, stems: Sequence[str], suffixes: Sequence[str]) -> Path | None:
    for stem in stems:
        for suffix in suffixes:
            path = folder / f"{folder.name}{stem}{suffix}"
            if path.is_file():
                return path
    return None


class ComplexStore(Sequence[Complex]):
    """The complexes of a prepared folder, read when they are asked for.

    Raises:
        ArtifactError: the folder is not a store, or its files do not fit each other.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        settings = read_json(self.folder / "settings.json")
        if settings.get("format") != _FORMAT:
            raise ArtifactError(
                f"{self.folder} has the store format {settings.get('format')!r}", allowed=str(_FORMAT)
            )
        self.preparation = from_mapping(PreparationConfig, settings["preparation"], "preparation")
        self._lines = list(_read_index(self.folder / "index.jsonl"))
        self._rows = sum(line["rows"] for line in self._lines)
        path = self.folder / "atoms.f32"
        if not path.is_file() or path.stat().st_size < self._rows * _COLUMNS * 4:
            raise ArtifactError(f"{path} is shorter than its index says", do="prepare the complexes again")
        shape = (self._rows, _COLUMNS)
        self._atoms = np.memmap(path, np.float32, "r", shape=shape) if self._rows else np.empty(shape, "f4")

    @property
    def names(self) -> list[str]:
        return [line["name"] for line in self._lines]

    @property
    def smiles(self) -> list[str]:
        """SMILES of the ligands."""
        return [line["smiles"] for line in self._lines]

    def subset(self, rows: Iterable[int]) -> ComplexStore:
        """These complexes, in this order; nothing is read yet."""
        part = copy.copy(self)
        part._lines = [self._lines[int(row)] for row in rows]
        return part

    @property
    def skipped(self) -> dict[str, str]:
        """Complexes that could not be prepared, with the reason."""
        path = self.folder / "skipped.csv"
        if not path.is_file():
            return {}
        with path.open(newline="", encoding="utf-8") as file:
            return {row["name"]: row["reason"] for row in csv.DictReader(file)}

    def __len__(self) -> int:
        return len(self._lines)

    @overload
    def __getitem__(self, index: int) -> Complex: ...
    @overload
    def __getitem__(self, index: slice) -> list[Complex]: ...
    def __getitem__(self, index: int | slice) -> Complex | list[Complex]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        line = self._lines[index]
        rows = np.array(self._atoms[line["first"] : line["first"] + line["rows"]])
        return Complex(
            name=line["name"],
            positions=rows[:, :3],
            features=rows[:, 4:],
            radii=rows[:, 3],
            num_ligand_atoms=line["ligand_atoms"],
            center=np.array(line["center"]),
            ligand_mass=line["mass"],
            warnings=tuple(line["warnings"]),
            smiles=line["smiles"],
        )


def _read_index(path: Path) -> Iterator[dict[str, Any]]:
    if not path.is_file():
        return
    with path.open(encoding="utf-8") as file:
        for line in file:
            if not line.endswith("\n"):
                return  # the write of this line was cut short: its complex is prepared again
            yield json.loads(line)


def prepare_folder(
    complexes: Iterable[ComplexFiles],
    folder: str | Path,
    config: PreparationConfig | None = None,
    *,
    jobs: int = 1,
    progress: Any = None,
) -> ComplexStore:
    """Prepare complexes into a store, going on where an earlier try ended.

    Args:
        complexes: files of each; a name may come once.
        jobs: processes.
        progress: called with (done, skipped) after each complex.

    Raises:
        DataError: a name comes twice, or not one complex could be prepared.
        ConfigError: the folder was begun with other settings.
    """
    folder, config = Path(folder), config or PreparationConfig()
    folder.mkdir(parents=True, exist_ok=True)
    _settle(folder, config)
    done = {line["name"]: line for line in _read_index(folder / "index.jsonl")}
    rows = sum(line["rows"] for line in done.values())
    _cut_off(folder, done, rows)
    skipped: dict[str, str] = {}
    todo = _unique(complexes, done)
    with (
        (folder / "atoms.f32").open("ab") as atoms,
        (folder / "index.jsonl").open("a", encoding="utf-8") as index,
    ):
        for name, result in _prepared(todo, config, jobs):
            if isinstance(result, str):
                skipped[name] = result
            else:
                atoms.write(_rows_of(result).tobytes())
                atoms.flush()
                index.write(json.dumps(_line_of(result, rows)) + "\n")
                index.flush()
                rows += len(result)
            if progress is not None:
                progress(name, len(skipped))
        os.fsync(atoms.fileno())
    _write_skipped(folder / "skipped.csv", skipped)
    store = ComplexStore(folder)
    if not len(store):
        name, reason = next(iter(skipped.items()), ("", "there were none"))
        raise DataError(f"not one complex could be prepared; {name}: {reason}", do="see skipped.csv")
    return store


def _settle(folder: Path, config: PreparationConfig) -> None:
    settings = {"format": _FORMAT, "preparation": to_mapping(config)}
    path = folder / "settings.json"
    if path.is_file() and read_json(path) != settings:
        raise ConfigError(
            f"{folder} was prepared with other settings", do="choose another folder or remove this one"
        )
    write_json(path, settings)


def _cut_off(folder: Path, done: dict[str, dict[str, Any]], rows: int) -> None:
    """Remove what a broken-off try left after the last whole complex."""
    with replacing_file(folder / "index.jsonl") as temporary:
        temporary.write_text("".join(json.dumps(line) + "\n" for line in done.values()), encoding="utf-8")
    path = folder / "atoms.f32"
    path.touch()
    os.truncate(path, rows * _COLUMNS * 4)


def _unique(complexes: Iterable[ComplexFiles], done: dict[str, Any]) -> Iterator[ComplexFiles]:
    seen: set[str] = set()
    for files in complexes:
        if files.name in seen:
            raise DataError(f"the complex {files.name!r} comes twice", do="give each an own name")
        seen.add(files.name)
        if files.name not in done:
            yield files


def _prepare_one(files: ComplexFiles, config: PreparationConfig) -> Complex | str:
    try:
        return read_complex(files.receptor, files.ligand, config, files.name)
    except HortusError as error:
        return str(error)
    except Exception as error:  # a file that no check foresaw must not end a batch of thousands
        return f"{type(error).__name__}: {error}"


def _prepared(
    todo: Iterator[ComplexFiles], config: PreparationConfig, jobs: int
) -> Iterator[tuple[str, Complex | str]]:
    if jobs <= 1:
        for files in todo:
            yield files.name, _prepare_one(files, config)
        return
    # A forked child would inherit OpenMP's locks from compiled code that ran here, and die.
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        running: dict[Future[Complex | str], str] = {}
        while True:
            # A bounded queue keeps memory flat however many complexes wait.
            for files in islice(todo, 4 * jobs - len(running)):
                running[pool.submit(_prepare_one, files, config)] = files.name
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), future.result()


def _rows_of(one: Complex) -> np.ndarray:
    return np.concatenate([one.positions, one.radii[:, None], one.features], axis=1, dtype=np.float32)


def _line_of(one: Complex, first: int) -> dict[str, Any]:
    return {
        "name": one.name,
        "first": first,
        "rows": len(one),
        "ligand_atoms": one.num_ligand_atoms,
        "center": [round(float(x), 4) for x in one.center],
        "mass": one.ligand_mass,
        "smiles": one.smiles,
        "warnings": list(one.warnings),
    }


def _write_skipped(path: Path, skipped: dict[str, str]) -> None:
    with replacing_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "reason"])
        writer.writerows(skipped.items())
