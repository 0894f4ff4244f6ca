"""What the Trainer asks of a task and of its data, and ready-made data for tables.

B rows (samples) in a batch
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from hortus.errors import DataError
from hortus.training.stream import RowData

__all__ = ["Batch", "Data", "Metrics", "Task", "TensorData", "decay_groups"]

Batch = dict[str, Tensor]
Metrics = Mapping[str, tuple[Tensor | float, Tensor | float]]


class Task(Protocol):
    """A network and its loss.

    Three optional methods and one optional attribute refine it:

    - `evaluate_loss(batch)`: like `loss`, for validation data (default: `loss` itself);
    - `rows(batch) -> int`: samples in a batch (default: the first axis of the first tensor);
    - `to(device)`: move everything, a frozen teacher included (default: `network.to(device)`);
    - `flops_per_token: float`: forward and backward (default: 6 per trainable parameter).
    """

    @property
    def network(self) -> nn.Module:
        """The module that is trained; its trainable weights and its buffers are what a checkpoint holds."""
        ...

    def loss(self, batch: Batch) -> tuple[Tensor, Tensor, Metrics]:
        """Loss of one micro-batch.

        Returns:
            The loss summed over its terms (scalar tensor), how many terms were summed (integer tensor), and
            further metrics as (sum, count) pairs. Sums and counts of all micro-batches are added before they
            are divided, so a token weighs the same wherever the batch was cut.
        """
        ...

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """What is trained: dicts with `params` and `weight_decay`, as torch.optim takes them."""
        ...


@runtime_checkable
class Data(Protocol):
    """An iterable of dicts of tensors whose position can be saved and restored exactly.

    Iterating goes from the present position to the end of the epoch. `length` is the number of samples in an
    epoch, or None when unknown. Data with a `batch_size` attribute is asked, before every batch, for the
    number of samples wanted next. Data that ignores it gives what it has; the step ends when it is enough.
    """

    length: int | None

    def __iter__(self) -> Iterator[Batch]: ...

    def state_dict(self) -> dict[str, Any]:
        """The position after the last batch taken, as JSON values."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a saved position."""
        ...

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of an epoch; the order may depend on its number."""
        ...


class TensorData(RowData):
    """Rows of tensors held in memory, shuffled anew each epoch.

    Args:
        tensors: name -> (N, ...); the first axis of all is the same N rows.
        batch_size: rows in a batch; may be set between batches.
        shuffle: whether each epoch has an order of its own, made from seed and epoch.
        seed: seed of the orders.

    Raises:
        DataError: no tensors, no rows, or different numbers of rows.

    >>> data = TensorData({"x": torch.arange(5)}, batch_size=2, shuffle=False)
    >>> [batch["x"].tolist() for batch in data]
    [[0, 1], [2, 3], [4]]
    """

    def __init__(
        self, tensors: Mapping[str, Tensor], *, batch_size: int = 32, shuffle: bool = True, seed: int = 0
    ) -> None:
        rows = {name: len(tensor) for name, tensor in tensors.items()}
        if not rows or not all(rows.values()):
            raise DataError("the training data is empty", allowed="at least one row", do="check the source")
        if len(set(rows.values())) > 1:
            raise DataError(f"tensors of different lengths: {rows}", allowed="one number of rows for all")
        super().__init__(next(iter(rows.values())), batch_size, shuffle, seed)
        self._tensors = dict(tensors)

    def _batch(self, rows: np.ndarray) -> Batch:
        chosen = torch.from_numpy(rows)
        return {name: tensor[chosen] for name, tensor in self._tensors.items()}


def decay_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """The usual two groups: matrices and embeddings decay; biases and normalisations do not.

    Parameters with requires_grad=False are in neither. A tied parameter is in its group once.

    >>> [len(group["params"]) for group in decay_groups(nn.Linear(2, 3), 0.1)]
    [1, 1]
    """
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
