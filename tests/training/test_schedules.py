"""Learning rate and batch size against their published statements."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hortus.training.config import TrainingConfig
from hortus.training.schedules import SCHEDULES, learning_rate, planned_samples, ramped_batch_size

BLOOM = TrainingConfig(
    steps=1, batch_size=2048, batch_ramp_start=192, batch_ramp_step=16, batch_ramp_samples=9_765_625,
    learning_rate=6e-5, min_learning_rate=6e-6, warmup_samples=183_105, decay_samples=200_000_000,
)  # fmt: skip


def test_blooms_published_run() -> None:
    """Warm-up and cosine of the 176B run; the first value is what its log shows after the first step."""
    rate = {
        samples: learning_rate(BLOOM, samples, BLOOM.decay_samples) for samples in (192, 183_105, 200_000_000)
    }
    assert rate[192] == pytest.approx(6.291e-8, rel=1e-3)
    assert rate[183_105] == pytest.approx(6e-5)
    assert rate[200_000_000] == pytest.approx(6e-6)
    assert learning_rate(BLOOM, 220_000_000, BLOOM.decay_samples) == 6e-6
    # The paper's ramp ended at step 12,695 (reported to the nearest log line).
    samples = step = 0
    while ramped_batch_size(BLOOM, samples) < 2048:
        samples += ramped_batch_size(BLOOM, samples)
        step += 1
    assert abs(step - 12_695) < 50


@given(
    start=st.integers(1, 64),
    step=st.integers(1, 32),
    increments=st.integers(1, 20),
    ramp=st.integers(1, 10**7),
    share=st.floats(0, 1.5),
)
def test_ramp_is_the_training_codes_rule(
    start: int, step: int, increments: int, ramp: int, share: float
) -> None:
    final = start + step * increments
    config = TrainingConfig(
        steps=1, batch_size=final, batch_ramp_start=start, batch_ramp_step=step, batch_ramp_samples=ramp
    )
    samples = int(ramp * share)
    # Megatron's statement, in whole numbers: one increment every ramp / increments samples.
    expected = final if samples >= ramp else start + step * ((samples * increments) // ramp)
    assert ramped_batch_size(config, samples) == min(expected, final)


@given(
    schedule=st.sampled_from(sorted(SCHEDULES)),
    warmup=st.integers(0, 1000),
    decay=st.integers(1, 10_000),
    samples=st.integers(1, 20_000),
    lowest=st.floats(0, 1),
)
def test_rate_stays_between_its_bounds_and_ends_at_the_lowest(
    schedule: str, warmup: int, decay: int, samples: int, lowest: float
) -> None:
    end = warmup + decay
    config = TrainingConfig(
        steps=1,
        schedule=schedule,
        warmup_samples=warmup,
        learning_rate=1.0,
        min_learning_rate=lowest,
        decay_samples=end,
    )  # type: ignore[arg-type]
    rate = learning_rate(config, samples, end)
    assert 0 <= rate <= 1 + 1e-12
    if samples >= warmup:
        assert rate >= lowest - 1e-12
        assert learning_rate(config, samples + 1, end) <= rate + 1e-12
    if samples >= end and schedule != "constant":
        assert rate == pytest.approx(lowest)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", lambda p: 1.0),
        ("linear", lambda p: 1 - p),
        ("cosine", lambda p: (1 + math.cos(math.pi * p)) / 2),
        ("wsd", lambda p: 1.0 if p < 0.75 else (1 - p) / 0.25),
    ],
)
def test_shapes(schedule: str, expected: object) -> None:
    config = TrainingConfig(steps=1, schedule=schedule, learning_rate=2.0, decay_share=0.25)  # type: ignore[arg-type]
    for samples in range(0, 101, 5):
        assert learning_rate(config, samples, 100) == pytest.approx(2 * expected(samples / 100))  # type: ignore[operator]


def test_nothing_decays_while_the_end_is_unknown() -> None:
    config = TrainingConfig(max_minutes=1, schedule="linear", learning_rate=1.0, warmup_samples=10)
    assert [learning_rate(config, samples, None) for samples in (5, 50)] == [0.5, 1.0]


@given(
    batch=st.integers(1, 40),
    steps=st.one_of(st.none(), st.integers(1, 60)),
    epochs=st.one_of(st.none(), st.integers(1, 4)),
    length=st.one_of(st.none(), st.integers(1, 100)),
)
def test_planned_samples_is_what_a_run_takes(
    batch: int, steps: int | None, epochs: int | None, length: int | None
) -> None:
    config = TrainingConfig(batch_size=batch, steps=steps, epochs=epochs, max_minutes=1)
    planned = planned_samples(config, length)
    if steps is None and (epochs is None or length is None):
        assert planned is None
        return
    samples = step = epoch = in_epoch = 0
    while (steps is None or step < steps) and (epochs is None or length is None or epoch < epochs):
        window = batch if length is None else min(batch, length - in_epoch)
        samples, step, in_epoch = samples + window, step + 1, in_epoch + window
        if in_epoch == length:
            epoch, in_epoch = epoch + 1, 0
    assert planned == samples
