"""What the common Trainer trains: VCNet jointly, or its VAE alone under a predictor that stays as it is.

B rows, D columns of the matrix, U columns that may change, C width of the condition
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from hortus.counterfactual.config import VCNetSettings
from hortus.counterfactual.losses import divergence, kl_weight, prediction_loss, reconstruction_loss
from hortus.counterfactual.network import VCNetNetwork
from hortus.training import Batch, Metrics, Task, TensorData, Trainer, TrainingConfig, TrainingResult

__all__ = ["VCNetTask", "train_task"]


class VCNetTask:
    """The loss of VCNet on batches with `x` (B, D), `known` (B, U) and `y` (B,) or `condition` (B, C).

    Args:
        network: with a predictor, trained jointly on `y`; without one, conditioned on `condition`.
        settings: the terms and their weights.
        num_rows: rows of an epoch, by which the annealing counts epochs.
    """

    def __init__(self, network: VCNetNetwork, settings: VCNetSettings, num_rows: int) -> None:
        self.network, self.settings = network, settings
        self._num_rows, self._rows_seen = num_rows, 0

    def loss(self, batch: Batch) -> tuple[Tensor, Tensor, Metrics]:
        """Sum over the batch's rows of all weighted terms; one count a row."""
        network, settings = self.network, self.settings
        x, count = batch["x"], torch.tensor(len(batch["x"]))
        metrics: dict[str, tuple[Tensor, Tensor]] = {}
        total = x.new_zeros(())
        if network.shape.predictor:
            logits = network.logits(x)
            condition = network.condition(logits)
            term = prediction_loss(logits, batch["y"], network.shape.head)
            total = total + settings.prediction_weight * term
            metrics["prediction_loss"] = (term.detach(), count)
        else:
            condition = batch["condition"]
        if settings.detach_condition:
            condition = condition.detach()
        mean, log_variance = network.encode(x, condition)
        latent = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        output = network.activate(network.decode(latent, condition, x))
        target = x[:, list(network.shape.outputs)]
        rebuilt = reconstruction_loss(output, target, batch["known"], settings.reconstruction)
        spread = divergence(mean, log_variance)
        epoch = self._rows_seen // self._num_rows
        self._rows_seen += len(x)
        weight = kl_weight(epoch, settings.kl_step, settings.kl_max, clamp=settings.clamp_kl)
        total = total + settings.reconstruction_weight * rebuilt + weight * spread
        if settings.validity_weight and network.shape.predictor:
            term = self._validity_loss(x, latent, condition)
            total = total + settings.validity_weight * term
            metrics["validity_loss"] = (term.detach(), count)
        metrics |= {"reconstruction_loss": (rebuilt.detach(), count), "divergence": (spread.detach(), count)}
        return total, count, metrics

    def _validity_loss(self, x: Tensor, latent: Tensor, condition: Tensor) -> Tensor:
        """Ours, off by default: how far the fixed predictor is from the target on soft counterfactuals."""
        network, head = self.network, self.network.shape.head
        if head == "binary":
            wanted = 1 - condition.detach().round()
            target = wanted[:, 0]
        elif head == "classes":
            others = condition.detach().scatter(1, condition.argmax(1, keepdim=True), 0)
            target = others.argmax(1)
            wanted = nn.functional.one_hot(target, condition.shape[1]).to(x.dtype)
        else:
            wanted = torch.rand_like(condition)
            target = wanted[:, 0]
        moved = network.place(network.activate(network.decode(latent.detach(), wanted, x)), x)
        frozen = {name: value.detach() for name, value in network.predictor.named_parameters()}
        logits = torch.func.functional_call(network.predictor, frozen, (moved,))
        return prediction_loss(logits, target, head)

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """All parameters in one group, as published: one Adam, no decay."""
        return [{"params": list(self.network.parameters()), "weight_decay": weight_decay}]


@contextmanager
def _one_thread() -> Iterator[None]:
    """Layers this narrow gain nothing from a second thread, and on a busy machine lose tenfold (measured)."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def train_task(
    task: Task,
    tensors: Mapping[str, Tensor],
    *,
    settings: VCNetSettings,
    seed: int,
    device: str,
    verbose: bool,
) -> TrainingResult:
    """Train with Adam at a constant rate, the last epoch kept; the network comes back on the CPU.

    Raises:
        DataError: the loss was never finite.
        DeviceError: the device is not in this machine.
    """
    num_rows = len(next(iter(tensors.values())))
    config = TrainingConfig(
        epochs=settings.epochs_for(num_rows),
        batch_size=settings.batch_size,
        optimizer="adam",
        learning_rate=settings.learning_rate,
        betas=(0.9, 0.999),
        weight_decay=0.0,
        clip_norm=None,
        schedule="constant",
        device=device,
        # The nets are so small that emulated or mixed precision only costs, and so does compiling.
        dtype="float32",
        compile="off",
        seed=seed,
        log_every=max(1, settings.epochs_for(num_rows) * num_rows // settings.batch_size // 20),
        keep_checkpoints=1,
    )
    data = TensorData(tensors, batch_size=settings.batch_size, seed=seed)
    with tempfile.TemporaryDirectory() as folder, _one_thread():
        result = Trainer(config, task, data, folder=folder, quiet=not verbose).train()
    task.network.cpu()
    return result
