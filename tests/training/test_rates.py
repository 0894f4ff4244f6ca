"""Speed, time left and the end of a run, with a clock that the tests turn."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hortus.training import TrainingConfig, rates
from hortus.training.rates import Rates

CPU = torch.device("cpu")


class Clock:
    now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(rates, "time", clock)
    return clock


def build(planned: int | None = None, **settings: Any) -> Rates:
    return Rates(TrainingConfig(**settings), CPU, torch.float32, flops_per_token=1e6, planned_samples=planned)


def test_end_of_a_run_with_time_to_spare_does_not_depend_on_the_clock(clock: Clock) -> None:
    measured = build(planned=1000, steps=100, max_minutes=1)
    for now, samples in [(100.5, 1), (110, 200), (125, 600), (140, 999)]:
        clock.now = now
        assert measured.expected_samples(samples) == 1000


def test_end_of_a_run_that_the_time_will_cut(clock: Clock) -> None:
    measured = build(planned=1000, steps=100, max_minutes=1)
    clock.now = 101.0  # less than 2 % of the time: the speed is not known yet
    assert measured.expected_samples(2) == 1000
    clock.now = 130.0
    assert measured.expected_samples(300) == pytest.approx(600)


def test_end_of_a_run_that_only_time_ends(clock: Clock) -> None:
    measured = build(max_minutes=1)
    assert measured.expected_samples(10) is None
    clock.now = 115.0
    assert measured.expected_samples(10) == pytest.approx(40)
    assert build(epochs=3).expected_samples(10) is None


def test_time_left_is_the_shorter_limit(clock: Clock) -> None:
    measured = build(planned=1000, steps=100, max_minutes=1)
    clock.now = 110.0
    assert measured.remaining_seconds(100) == pytest.approx(50)  # 90 by samples, 50 by time
    assert measured.remaining_seconds(800) == pytest.approx(2.5)
    assert build(epochs=1).remaining_seconds(5) is None


def test_resume_counts_what_was_before(clock: Clock) -> None:
    measured = build(planned=1000, steps=100)
    measured.resume(samples=500, seconds=40.0, energy_kwh=2.0)
    clock.now = 110.0
    assert measured.seconds == pytest.approx(50)
    assert measured.energy_kwh >= 2.0
    assert measured.remaining_seconds(600) == pytest.approx(40)  # 100 samples in 10 s since the resume


def test_measure(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "matmul_peak_flops", lambda device, dtype: 1e9)
    measured = build(planned=1000, steps=100)
    clock.now = 102.0
    numbers = measured.measure(samples=10, window_samples=10, window_tokens=400)
    assert (numbers["samples_per_second"], numbers["tokens_per_second"]) == (5.0, 200.0)
    assert "matmul_share" not in numbers  # too short to pay for the measurement
    clock.now = 106.0
    measured.pause(2.0)  # an evaluation
    numbers = measured.measure(samples=20, window_samples=10, window_tokens=400)
    assert numbers["tokens_per_second"] == 200.0
    assert numbers["matmul_share"] == pytest.approx(200 * 1e6 / 1e9)
    clock.now = 108.0
    assert "tokens_per_second" not in measured.measure(samples=30, window_samples=10, window_tokens=0)


def test_measuring_the_peak_draws_nothing_from_the_run(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "matmul_peak_flops", lambda device, dtype: float(torch.rand(9).numel()))
    measured = build(planned=1000, steps=100)
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    clock.now = 110.0
    assert "matmul_share" in measured.measure(samples=10, window_samples=10, window_tokens=400)
    assert torch.equal(torch.rand(3), expected)
