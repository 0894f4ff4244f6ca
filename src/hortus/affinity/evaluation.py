"""How good predictions are: five measures with bootstrap intervals, beside two baselines without physics.

The baselines show size bias and leakage: a line through the logarithm of the ligand's mass, and the label of
the nearest training ligand by ECFP4 Tanimoto similarity. A model that does not beat both has learnt little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hortus.affinity.complexes import Complex
from hortus.errors import DataError

__all__ = ["MEASURES", "evaluate", "gain_over", "mass_baseline", "nearest_baseline", "score_table"]

MEASURES = ("rmse", "mae", "r2", "pearson", "spearman")


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks, the mean rank for ties."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2)[inverse])


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    scale = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / scale) if scale > 0 else float("nan")


def _measure(truth: np.ndarray, predicted: np.ndarray) -> list[float]:
    error = predicted - truth
    spread = ((truth - truth.mean()) ** 2).sum()
    return [
        float(np.sqrt((error**2).mean())),
        float(np.abs(error).mean()),
        float(1 - (error**2).sum() / spread) if spread > 0 else float("nan"),
        _correlation(truth, predicted),
        _correlation(_ranks(truth), _ranks(predicted)),
    ]


def evaluate(
    truth: Sequence[float] | np.ndarray,
    predicted: Sequence[float] | np.ndarray,
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """RMSE, MAE, r² (coefficient of determination), Pearson and Spearman, each with a bootstrap interval.

    Args:
        truth, predicted: (n,) in one unit.
        resamples: bootstrap samples of the complexes; 0 leaves the intervals out.
        level: share of the samples that an interval holds.

    Returns:
        {measure: {"value", "low", "high"}} and {"n": {"value": n}}.

    Raises:
        DataError: different lengths, fewer than two, or a value that is not finite.

    >>> evaluate([1, 2, 3], [1, 2, 4], resamples=0)["mae"]["value"]
    0.3333333333333333
    """
    y, p = np.asarray(truth, float), np.asarray(predicted, float)
    if y.shape != p.shape or y.ndim != 1 or len(y) < 2:
        raise DataError(f"{len(y)} labels and {len(p)} predictions", allowed="two or more, as many of each")
    if not (np.isfinite(y).all() and np.isfinite(p).all()):
        raise DataError("a label or prediction is not finite", do="leave such complexes out")
    result: dict[str, dict[str, float]] = {"n": {"value": len(y)}}
    values = _measure(y, p)
    random = np.random.default_rng(seed)
    samples = np.array([_measure(y[i], p[i]) for i in random.integers(0, len(y), (resamples, len(y)))])
    for column, name in enumerate(MEASURES):
        result[name] = {"value": values[column]}
        if resamples:
            low, high = np.nanquantile(samples[:, column], [(1 - level) / 2, (1 + level) / 2])
            result[name] |= {"low": float(low), "high": float(high)}
    return result


def score_table(
    truth: np.ndarray, predictions: Mapping[str, np.ndarray], *, resamples: int = 1000
) -> list[dict[str, Any]]:
    """One row a predictor: its name, n, and "value [low, high]" of each measure."""
    rows = []
    for name, values in predictions.items():
        scores = evaluate(truth, values, resamples=resamples)
        row: dict[str, Any] = {"predictor": name, "n": int(scores["n"]["value"])}
        for measure in MEASURES:
            entry = scores[measure]
            text = f"{entry['value']:.3f}"
            row[measure] = f"{text} [{entry['low']:.3f}, {entry['high']:.3f}]" if "low" in entry else text
        rows.append(row)
    return rows


def gain_over(
    truth: np.ndarray, predicted: np.ndarray, baseline: np.ndarray, *, resamples: int = 1000, seed: int = 0
) -> str:
    """In words: by how much the RMSE is below a baseline's, with its paired 95 % bootstrap interval.

    >>> truth = np.arange(20.0)
    >>> gain_over(truth, truth, truth + 1)
    'RMSE 1.00 [1.00, 1.00] lower: better'
    """
    ours, other = ((values - truth) ** 2 for values in (predicted, baseline))
    rows = np.random.default_rng(seed).integers(0, len(truth), (resamples, len(truth)))
    gains = np.sqrt(other[rows].mean(axis=1)) - np.sqrt(ours[rows].mean(axis=1))
    low, high = np.quantile(gains, [0.025, 0.975])
    verdict = "better" if low > 0 else "worse" if high < 0 else "not told apart by these complexes"
    gain = np.sqrt(other.mean()) - np.sqrt(ours.mean())
    return f"RMSE {gain:.2f} [{low:.2f}, {high:.2f}] lower: {verdict}"


def mass_baseline(
    train: Sequence[Complex], labels: Sequence[float] | np.ndarray, test: Sequence[Complex]
) -> np.ndarray:
    """(n,): the least-squares line through (log mass of the ligand, label)."""
    mass = np.log([one.ligand_mass for one in train])
    design = np.column_stack([np.ones(len(mass)), mass])
    weights, *_ = np.linalg.lstsq(design, np.asarray(labels, float), rcond=None)
    return np.asarray(weights[0] + weights[1] * np.log([one.ligand_mass for one in test]))


def nearest_baseline(
    train: Sequence[Complex], labels: Sequence[float] | np.ndarray, test: Sequence[Complex]
) -> np.ndarray:
    """(n,): the mean label of the training ligands most similar to the test ligand (ECFP4 Tanimoto)."""
    similarity = tanimoto([one.smiles for one in test], [one.smiles for one in train])
    labels = np.asarray(labels, float)
    best = similarity.max(axis=1, keepdims=True)
    nearest = similarity >= best - 1e-9
    return np.asarray((nearest * labels).sum(axis=1) / nearest.sum(axis=1))


def tanimoto(left: Sequence[str], right: Sequence[str]) -> np.ndarray:
    """(len(left), len(right)): Tanimoto similarity of ECFP4 fingerprints (2,048 bits).

    Raises:
        DataError: a SMILES that RDKit can't read.
    """
    a, b = _fingerprints(left), _fingerprints(right)
    common = a @ b.T
    total = a.sum(axis=1)[:, None] + b.sum(axis=1)[None, :] - common
    return np.asarray(common / np.maximum(total, 1))


def _fingerprints(smiles: Sequence[str]) -> np.ndarray:
    from rdkit import Chem, rdBase
    from rdkit.Chem import rdFingerprintGenerator

    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    rows = np.zeros((len(smiles), 2048), np.float32)
    with rdBase.BlockLogs():
        for row, text in enumerate(smiles):
            molecule = Chem.MolFromSmiles(text, sanitize=False)
            if molecule is None:
                raise DataError(f"the SMILES {text[:40]!r} can't be read", do="mend the ligand")
            molecule.UpdatePropertyCache(strict=False)
            Chem.FastFindRings(molecule)
            rows[row] = generator.GetFingerprintAsNumPy(molecule)
    return rows
