"""Training the parts of an ensemble in the common Trainer, one after another, the CNN in two stages.

As published, the CNN trains end to end, then a fresh read-out trains on the frozen network's features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hortus.affinity.complexes import Complex
from hortus.affinity.convolution import ConvolutionNetwork, Head
from hortus.affinity.graph_network import graph_batch
from hortus.affinity.learning import ComplexData, Regression, published_training
from hortus.affinity.voxels import voxel_batch
from hortus.errors import ConfigError, HortusError, nearest
from hortus.training import TensorData, Trainer, TrainingConfig, TrainingResult

if TYPE_CHECKING:
    from hortus.affinity.model import HACNet

__all__ = ["TrainingStoppedError", "fit_networks"]

_KINDS = ("cnn", "head", "gcn")


class TrainingStoppedError(HortusError):
    """Training ended before its time, on request; its checkpoint is whole."""


def fit_networks(
    model: HACNet,
    complexes: Sequence[Complex],
    labels: np.ndarray,
    rows: np.ndarray,
    held: np.ndarray,
    folder: Path,
) -> dict[str, TrainingResult]:
    """Train every network of `model` in place.

    Args:
        rows, held: complexes to train on and to choose epochs by.
        folder: one folder a part, which an interrupted run of the same settings goes on from.
    """
    for name in model.training or {}:
        if name not in _KINDS:
            raise ConfigError(f"training has the unknown part {name!r}", do=nearest(name, _KINDS))
    results = {}
    for number, (part, network) in enumerate(model.networks_.items()):
        kind = "cnn" if part == "cnn" else "gcn"
        config = _settings(model, kind, model.seed + number, len(rows))
        task = Regression(network, model.config_.label_mean)
        grid, cutoff = model.config_.grid, model.config_.graph.cutoff
        options: dict[str, Any] = {"batch_size": config.batch_size, "seed": config.seed}
        if kind == "cnn":
            options["make"] = lambda batch, random, grid=grid: voxel_batch(batch, grid, random)
        else:
            options["make"] = lambda batch, random, cutoff=cutoff: graph_batch(batch, cutoff)
        data = ComplexData(complexes, labels, rows, **options)
        validation = ComplexData(complexes, labels, held, **options, shuffle=False) if len(held) else None
        results[part] = _train(config, task, data, validation, folder / part, model.quiet)
        if isinstance(network, ConvolutionNetwork):
            results["head"] = _fit_head(model, network, complexes, labels, (rows, held), folder / "head")
    return results


def _settings(model: HACNet, kind: str, seed: int, count: int) -> TrainingConfig:
    config = (model.training or {}).get(kind) or published_training(kind)
    every = config.evaluate_every or -(-count // config.batch_size)
    return replace(config, seed=seed, evaluate_every=every)


def _train(
    config: TrainingConfig, task: Regression, data: Any, validation: Any, folder: Path, quiet: bool
) -> TrainingResult:
    if validation is None:
        config = replace(config, evaluate_every=None, metric="loss", metric_goal="lowest")
    callbacks = [task.add_correlation] if validation is not None else []
    trainer = Trainer(
        config, task, data, folder=folder, validation=validation, callbacks=callbacks, quiet=quiet
    )
    resume = (folder / "checkpoints").is_dir()
    result = trainer.train(resume=resume)
    if result.interrupted:
        raise TrainingStoppedError(f"training was stopped by {result.stopped}", do="run it again to go on")
    return result


def _fit_head(
    model: HACNet,
    network: ConvolutionNetwork,
    complexes: Sequence[Complex],
    labels: np.ndarray,
    split: tuple[np.ndarray, np.ndarray],
    folder: Path,
) -> TrainingResult:
    config = _settings(model, "head", model.seed, len(split[0]))
    # The published second stage normalises with momentum 0.3 where the first uses 0.1.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        plan = network.config
        head = Head(network.num_features, plan.head_width, momentum=0.3, deviation=plan.head_deviation)
    tables = [
        TensorData(
            {
                "features": _features(model, network, complexes, part),
                "label": torch.from_numpy(labels[part].astype(np.float32)),
            },
            batch_size=config.batch_size,
            shuffle=shuffle,
            seed=config.seed,
        )
        if len(part)
        else None
        for part, shuffle in zip(split, (True, False), strict=True)
    ]
    device = next(network.parameters()).device
    task = Regression(head, model.config_.label_mean, call=lambda batch: head(batch["features"]))
    result = _train(config, task, tables[0], tables[1], folder, model.quiet)
    network.head = head.to(device)
    return result


@torch.no_grad()
def _features(
    model: HACNet, network: ConvolutionNetwork, complexes: Sequence[Complex], rows: np.ndarray
) -> torch.Tensor:
    network.eval()
    device = next(network.parameters()).device
    parts = []
    for start in range(0, len(rows), 16):
        batch = [complexes[int(row)] for row in rows[start : start + 16]]
        voxels = voxel_batch(batch, model.config_.grid)["voxels"]
        parts.append(network.features(voxels.to(device)).cpu())
    return torch.cat(parts)
