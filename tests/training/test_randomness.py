"""Random states through JSON and back."""

from __future__ import annotations

import json
import random

import numpy as np
import torch

from hortus.training import randomness

CPU = torch.device("cpu")


def draw() -> list[float]:
    """One of each kind; the normal draws of NumPy and Python keep a second value for the next call."""
    numbers = [random.random(), random.gauss(0, 1), float(np.random.rand()), float(np.random.randn())]
    return [*numbers, torch.rand(()).item(), torch.randn(()).item()]


def test_state_goes_through_json_exactly() -> None:
    with randomness.preserved(CPU):
        randomness.seed_all(5)
        draw()
        state = json.dumps(randomness.capture(CPU))
        expected = [draw() for _ in range(3)]
        randomness.seed_all(6)
        assert draw() != expected[0]
        randomness.restore(json.loads(state), CPU)
        assert [draw() for _ in range(3)] == expected


def test_preserved_block_leaves_no_trace_even_when_it_fails() -> None:
    with randomness.preserved(CPU):
        randomness.seed_all(5)
        expected = draw()
        randomness.seed_all(5)
        try:
            with randomness.preserved(CPU):
                draw()
                raise KeyError
        except KeyError:
            pass
        assert draw() == expected


def test_seed_may_be_larger_than_numpys() -> None:
    with randomness.preserved(CPU):
        randomness.seed_all(2**40 + 1)
        first = draw()
        randomness.seed_all(2**40 + 1)
        assert draw() == first
