"""Random state of PyTorch (CPU and CUDA), NumPy and Python, as JSON values and back."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

__all__ = ["capture", "preserved", "restore", "seed_all"]


def seed_all(seed: int) -> None:
    """Seed the three libraries' global generators."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


def capture(device: torch.device) -> dict[str, Any]:
    """The state of every generator that training may draw from, as JSON values."""
    numpy_state: Any = np.random.get_state(legacy=False)
    numpy_state["state"]["key"] = numpy_state["state"]["key"].tolist()
    version, words, gauss = random.getstate()
    state = {
        "torch": torch.get_rng_state().tolist(),
        "numpy": numpy_state,
        "python": [version, list(words), gauss],
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device).tolist()
    return state


def restore(state: dict[str, Any], device: torch.device) -> None:
    """Put every generator back to a captured state."""
    torch.set_rng_state(torch.tensor(state["torch"], dtype=torch.uint8))
    numpy_state = {**state["numpy"], "state": dict(state["numpy"]["state"])}
    numpy_state["state"]["key"] = np.array(numpy_state["state"]["key"], dtype=np.uint32)
    np.random.set_state(numpy_state)
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(torch.tensor(state["cuda"], dtype=torch.uint8), device)


@contextmanager
def preserved(device: torch.device) -> Iterator[None]:
    """Run a block whose random draws leave no trace outside it."""
    state = capture(device)
    try:
        yield
    finally:
        restore(state, device)
