"""Fair splits: published lists of names, and tools to make such splits for one's own complexes.

A split keeps look-alikes together: complexes are joined into groups where their similarity reaches a limit,
and whole groups go to one side. Similarities: ligand fingerprints (ECFP4 Tanimoto), Murcko scaffolds, protein
sequences (global alignment by gemmi), protein structures (TM-align, where it is on the PATH).
"""

from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hortus.affinity.evaluation import tanimoto
from hortus.affinity.receptor import read_receptor
from hortus.artifact import write_json
from hortus.errors import ConfigError, DataError, DeviceError, nearest
from hortus.registry import require

__all__ = [
    "Split",
    "drop_similar",
    "group",
    "group_folds",
    "read_split",
    "same_scaffold",
    "sequence_identity",
    "sequence_of",
    "similar_groups",
    "split_groups",
    "structure_similarity",
    "write_split",
]

Split = dict[str, list[str]]


def read_split(path: str | Path, name: str | None = None) -> Split:
    """A split {"train": names, ...} from JSON, plain or .gz: one split, or several by name.

    Raises:
        DataError: not such a file; a name that it lacks; a complex on two sides.
    """
    path = Path(path)
    try:
        raw = path.read_bytes()
        value = json.loads(gzip.decompress(raw) if path.suffix == ".gz" else raw)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"{path} is no JSON file of splits: {error}", do="check the path") from error
    if name is not None:
        if name not in value:
            raise DataError(f"{path} has no split {name!r}", do=nearest(name, value))
        value = value[name]
    if not isinstance(value, dict) or not all(isinstance(part, list) for part in value.values()):
        raise DataError(f"{path} holds several splits", do="name one of: " + ", ".join(map(str, value)))
    sides: dict[str, str] = {}
    for side, members in value.items():
        for member in members:
            # Test subsets of one list (casf2016 and casf2016_indep, say) may overlap; training may not.
            if sides.setdefault(member, side) != side and "train" in (side, sides[member]):
                raise DataError(f"{path}: {member!r} is in both {sides[member]!r} and {side!r}")
    return {side: [str(member) for member in members] for side, members in value.items()}


def write_split(path: str | Path, split: Split) -> None:
    """Write a split as JSON, whole or not at all."""
    write_json(path, split)


def group(
    by: str, names: Sequence[str], smiles: Sequence[str], structures: Mapping[str, Path], limit: float
) -> np.ndarray:
    """(n,) group numbers of complexes that must stand on one side.

    Args:
        by: "random" (each alone), "scaffold", "ligand", "sequence" or "structure".
        structures: of each complex by name; needed by the last two.
        limit: similarity from which complexes are look-alikes.

    Raises:
        ConfigError: a structure is needed and not there.
    """
    if by == "random":
        return np.arange(len(names))
    if by == "scaffold":
        return same_scaffold(smiles)
    if by == "ligand":
        return similar_groups(tanimoto(smiles, smiles), limit)
    missing = [name for name in names if name not in structures]
    if missing:
        raise ConfigError(f"no structure of {missing[0]!r} is known", do="name the folders with --data")
    paths = [structures[name] for name in names]
    if by == "sequence":
        return similar_groups(sequence_identity([sequence_of(path) for path in paths]), limit)
    return similar_groups(structure_similarity(paths), limit)


def similar_groups(similarity: np.ndarray, limit: float) -> np.ndarray:
    """(n,) group numbers: complexes joined, directly or over others, by a similarity of `limit` or more.

    >>> similar_groups(np.array([[1, 0.9, 0], [0.9, 1, 0], [0, 0, 1]]), 0.8).tolist()
    [0, 0, 1]
    """
    count = len(similarity)
    parent = list(range(count))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for first, second in zip(*np.nonzero(np.triu(similarity >= limit, 1)), strict=True):
        parent[root(int(second))] = root(int(first))
    roots = [root(node) for node in range(count)]
    numbers: dict[int, int] = {}
    return np.array([numbers.setdefault(node, len(numbers)) for node in roots])


def split_groups(
    names: Sequence[str], groups: np.ndarray, *, validation: float = 0.1, test: float = 0.1, seed: int = 0
) -> Split:
    """Whole groups to each side, the largest to training, until the shares are met.

    Raises:
        ConfigError: the shares leave nothing to train on.
    """
    if not (0 <= validation < 1 and 0 <= test < 1 and validation + test < 1):
        raise ConfigError(f"validation={validation}, test={test}", allowed="shares whose sum is below 1")
    wanted = {"test": test * len(names), "val": validation * len(names)}
    split: Split = {"train": [], "val": [], "test": []}
    for members in _shuffled_groups(groups, seed):
        # The smaller groups come first: large families would overshoot a small side.
        side = next((s for s in wanted if len(split[s]) + len(members) <= wanted[s] + 0.5), "train")
        split[side] += [names[i] for i in members]
    return {side: sorted(members) for side, members in split.items()}


def group_folds(groups: np.ndarray, folds: int, seed: int = 0) -> np.ndarray:
    """(n,) fold numbers: groups stay whole, folds get near-equal sizes.

    Raises:
        ConfigError: fewer than two folds, or fewer groups than folds.
    """
    if folds < 2 or len(np.unique(groups)) < folds:
        raise ConfigError(f"folds={folds}", allowed=f"2 to {len(np.unique(groups))}, the number of groups")
    assigned, sizes = np.zeros(len(groups), np.int64), np.zeros(folds, np.int64)
    for members in sorted(_shuffled_groups(groups, seed), key=len, reverse=True):
        fold = int(np.argmin(sizes))
        assigned[members] = fold
        sizes[fold] += len(members)
    return assigned


def _shuffled_groups(groups: np.ndarray, seed: int) -> list[np.ndarray]:
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    order = np.random.default_rng(seed).permutation(len(members))
    return sorted((members[i] for i in order), key=len)


def drop_similar(train: Sequence[str], test: Sequence[str], limit: float) -> np.ndarray:
    """(len(train),) bool: training SMILES that no test SMILES resembles by `limit` or more, to be kept.

    The published folds were thinned this way; their cut-off is not published.
    """
    return np.asarray((tanimoto(train, test) < limit).all(axis=1))


def same_scaffold(smiles: Sequence[str]) -> np.ndarray:
    """(n,) group numbers by Murcko scaffold; a molecule without rings is its own group."""
    from rdkit import Chem
    from rdkit.Chem.Scaffolds import MurckoScaffold

    numbers: dict[str, int] = {}
    groups = []
    for place, text in enumerate(smiles):
        molecule = Chem.MolFromSmiles(text)
        scaffold = "" if molecule is None else MurckoScaffold.MurckoScaffoldSmiles(mol=molecule)
        groups.append(numbers.setdefault(scaffold or f"alone {place}", len(numbers)))
    return np.array(groups)


def sequence_of(path: str | Path) -> str:
    """One-letter sequence of the polymer residues of a structure, in file order."""
    gemmi = require("gemmi", extra="affinity")
    receptor = read_receptor(path)
    kinds = receptor.residue_kinds
    letters = [
        gemmi.find_tabulated_residue(name).one_letter_code.upper().strip() or "X"
        for name, kind in zip(receptor.residue_names, kinds, strict=True)
        if kind == "polymer"
    ]
    return "".join(letters)


def sequence_identity(sequences: Sequence[str]) -> np.ndarray:
    """(n, n): identical residues over the shorter sequence, after global alignment (gemmi)."""
    gemmi = require("gemmi", extra="affinity")
    count = len(sequences)
    result = np.eye(count)
    scoring = gemmi.AlignmentScoring()
    for i in range(count):
        for j in range(i):
            a, b = list(sequences[i]), list(sequences[j])
            if not a or not b:
                continue
            aligned = gemmi.align_string_sequences(a, b, [], scoring)
            result[i, j] = result[j, i] = aligned.match_count / min(len(a), len(b))
    return result


def structure_similarity(paths: Sequence[str | Path]) -> np.ndarray:
    """(n, n): TM-scores, the larger of both normalisations, by TM-align.

    Raises:
        DeviceError: neither TMalign nor USalign is on the PATH.
    """
    tool = shutil.which("TMalign") or shutil.which("USalign")
    if tool is None:
        raise DeviceError("neither TMalign nor USalign is on the PATH", do="install one of them")
    result = np.eye(len(paths))
    for i in range(len(paths)):
        for j in range(i):
            done = subprocess.run(
                [tool, str(paths[i]), str(paths[j])], capture_output=True, text=True, check=False
            )
            scores = [float(score) for score in re.findall(r"TM-score=\s*([0-9.]+)", done.stdout)]
            if not scores:
                raise DataError(f"{tool} could not compare {paths[i]} and {paths[j]}")
            result[i, j] = result[j, i] = max(scores)
    return result
