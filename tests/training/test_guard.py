"""What the guard lets through, reports and refuses."""

from __future__ import annotations

import math

import pytest
import torch

from hortus.errors import ConfigError, DataError, DeviceError
from hortus.training.guard import LossGuard, out_of_memory_named


def test_spike_is_reported_and_allowed() -> None:
    said: list[str] = []
    guard = LossGuard(3, 10.0, said.append)
    for step in range(60):
        assert guard.allows(step, 2.0 + 0.05 * math.sin(step), 1.0)
    assert not said
    assert guard.allows(60, 5.1, 960.0)
    assert guard.spikes == 1 and said[0].startswith("step 60: loss spike, 5.1 over a running median of 2.0")
    # One spike in the history does not move the median: the next one is seen too.
    assert guard.allows(61, 5.1, 1.0) and guard.spikes == 2


def test_falling_noisy_loss_is_no_spike() -> None:
    said: list[str] = []
    guard = LossGuard(3, 10.0, said.append)
    for step in range(2000):
        guard.allows(step, 8 * math.exp(-step / 300) + 2 + 0.3 * math.sin(step * 1.7), 1.0)
    assert not said


def test_spikes_can_be_left_unreported() -> None:
    said: list[str] = []
    guard = LossGuard(3, 0.0, said.append)
    for step, loss in enumerate([1.0, 1.1] * 40 + [1e6]):
        guard.allows(step, loss, 1.0)
    assert not said and guard.spikes == 0


@pytest.mark.parametrize(
    ("loss", "norm"), [(math.nan, 1.0), (1.0, math.nan), (math.inf, 1.0), (1.0, math.inf)]
)
def test_nonfinite_is_refused(loss: float, norm: float) -> None:
    said: list[str] = []
    guard = LossGuard(3, 10.0, said.append)
    assert guard.allows(1, 1.0, 1.0)
    assert not guard.allows(2, loss, norm)
    assert guard.skipped == 1 and "step 2" in said[0] and "update left out" in said[0]


def test_only_a_row_of_them_ends_the_run() -> None:
    guard = LossGuard(2, 10.0, lambda line: None)
    for step in range(9):
        assert guard.allows(step, math.nan if step % 2 else 1.0, 1.0) == (step % 2 == 0)
    with pytest.raises(ConfigError, match="2 steps in a row, at step 11; lower training.learning_rate"):
        [guard.allows(step, math.nan, 1.0) for step in (10, 11)]


def test_never_finite_points_to_the_data() -> None:
    guard = LossGuard(1, 10.0, lambda line: None)
    with pytest.raises(DataError, match="check the data"):
        guard.allows(1, math.nan, math.nan)


def test_state_goes_on() -> None:
    first = LossGuard(3, 10.0, lambda line: None)
    for loss in (1.0, math.nan, 2.0, math.nan, math.nan):
        first.allows(1, loss, 1.0)
    second = LossGuard(3, 10.0, lambda line: None)
    second.load_state_dict(first.state_dict())
    assert second.state_dict() == first.state_dict()
    with pytest.raises(ConfigError):
        second.allows(2, math.nan, 1.0)


def test_lack_of_memory_says_what_to_lower() -> None:
    says = "no memory left for a micro-batch of 8 samples; lower training.micro_batch_size"
    with pytest.raises(DeviceError, match=says), out_of_memory_named(8):
        torch.empty(2**60, dtype=torch.uint8)
    with pytest.raises(DeviceError, match=says), out_of_memory_named(8):
        raise torch.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(RuntimeError, match="shapes"), out_of_memory_named(8):
        raise RuntimeError("shapes do not fit")
