"""The loop: accumulation, clipping, ends, evaluation, best weights."""

from __future__ import annotations

import json
import math
import os
import random
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from hortus.errors import ArtifactError, ConfigError, DataError
from hortus.training import TensorData, Trainer, TrainingConfig, TrainingResult

from .tasks import Regression, Tokens, rows, sentences


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def run(task: Any, data: Any, folder: Path, *, resume: bool = False, **options: Any) -> TrainingResult:
    """Train quietly on the CPU in fp32; options of the Trainer are told from the config's by name."""
    own = {name: options.pop(name) for name in ("validation", "callbacks") if name in options}
    defaults: dict[str, Any] = {"dtype": "float32", "device": "cpu", "compile": "off"}
    config = TrainingConfig(**{**defaults, **options})
    return Trainer(config, task, data, folder=folder, quiet=True, **own).train(resume=resume)


def weights(task: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in task.network.state_dict().items()}


@pytest.mark.parametrize("micro_batch_size", [1, 5, 32])
@pytest.mark.parametrize("clip_norm", [None, 0.01])
def test_step_does_not_depend_on_how_the_batch_is_cut(
    tmp_path: Path, micro_batch_size: int, clip_norm: float | None
) -> None:
    # 40 rows: windows of 32 and a ragged 8, three epochs of them; rows have different numbers of targets.
    cut, whole = Tokens(dtype=torch.float64), Tokens(dtype=torch.float64)
    options = {"epochs": 3, "batch_size": 32, "clip_norm": clip_norm, "learning_rate": 0.05}
    a = run(cut, sentences(), tmp_path / "a", micro_batch_size=micro_batch_size, **options)
    b = run(whole, sentences(), tmp_path / "b", **options)
    assert (a.steps, a.samples, a.stopped) == (b.steps, b.samples, b.stopped) == (6, 120, "epochs")
    for name, tensor in weights(cut).items():
        torch.testing.assert_close(tensor, weights(whole)[name], rtol=1e-12, atol=1e-14)


def test_gradient_is_the_mean_over_scored_tokens(tmp_path: Path) -> None:
    # One step of plain descent, against the gradient of the mean loss over the whole window.
    task, reference, data = (
        Tokens(dtype=torch.float64),
        Tokens(dtype=torch.float64),
        sentences(10, shuffle=False),
    )
    batch = next(iter(sentences(10, shuffle=False, batch_size=10)))
    total, count, _ = reference.loss(batch)
    (total / count).backward()
    before = weights(reference)
    run(task, data, tmp_path, steps=1, batch_size=10, micro_batch_size=3, optimizer="rmsprop", eps=1e12,
        learning_rate=1e12, betas=(0.9, 0.0), clip_norm=None, schedule="constant",
        weight_decay=0.0)  # fmt: skip
    # With an eps this large rmsprop is descent with rate learning_rate / eps = 1.
    for name, parameter in reference.network.named_parameters():
        torch.testing.assert_close(weights(task)[name], before[name] - parameter.grad, rtol=1e-9, atol=1e-12)


def test_trains_and_reports(tmp_path: Path) -> None:
    result = run(Regression(dropout=0.0), rows(), tmp_path, steps=60, batch_size=8, learning_rate=0.02,
                 log_every=20, validation=rows(seed=2))  # fmt: skip
    assert result.stopped == "steps" and not result.interrupted
    assert [record["step"] for record in result.history] == [20, 40, 60, 60]
    losses = [record["loss"] for record in result.history if "loss" in record]
    assert losses[-1] < 0.5 * losses[0]
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == result.history
    assert {"absolute", "learning_rate", "gradient_norm", "samples_per_second", "memory_bytes"} <= set(
        lines[0]
    )
    assert result.best is not None and result.best["validation_loss"] == result.metrics["validation_loss"]
    assert result.last_checkpoint == result.best_checkpoint == tmp_path / "checkpoints" / "step-00000060"
    assert result.seconds > 0 and result.energy_kwh > 0


def test_best_weights_are_restored_and_kept_on_disk(tmp_path: Path) -> None:
    # The validation labels contradict the training, so the loss on them soon rises.
    class Contrary(Regression):
        def evaluate_loss(self, batch: Any) -> Any:
            total, count, metrics = self.loss({**batch, "y": torch.zeros_like(batch["y"])})
            return total, count, metrics

    task, seen = Contrary(normalise=False), {}

    def remember(event: str, trainer: Trainer, record: dict[str, Any]) -> None:
        if event == "evaluate":
            seen[record["step"]] = weights(task)

    result = run(task, rows(), tmp_path, steps=50, learning_rate=0.03, evaluate_every=5, keep_checkpoints=1,
                 checkpoint_every=5, patience=3, validation=rows(seed=2), callbacks=[remember])  # fmt: skip
    assert result.stopped == "patience" and result.best is not None
    best = result.best["step"]
    assert result.steps == best + 15
    assert all(torch.equal(tensor, seen[best][name]) for name, tensor in weights(task).items())
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert kept == [f"step-{best:08d}", f"step-{result.steps:08d}"]
    assert not task.network.training


def test_highest_metric_from_a_callback_decides(tmp_path: Path) -> None:
    values = iter([1.0, 3.0, 2.0, 0.0])

    def score(event: str, trainer: Trainer, record: dict[str, Any]) -> None:
        if event == "evaluate":
            record["validation_score"] = next(values)

    result = run(Regression(), rows(), tmp_path, steps=8, evaluate_every=2, metric="score",
                 metric_goal="highest", validation=rows(seed=2), callbacks=[score])  # fmt: skip
    assert result.best is not None and (result.best["step"], result.best["validation_score"]) == (4, 3.0)
    assert result.best_checkpoint is not None and result.best_checkpoint.name == "step-00000004"


def test_unknown_metric_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"training.metric='f1' is not measured; allowed: loss, absolute"):
        run(Regression(), rows(), tmp_path, steps=2, metric="f1", validation=rows(seed=2))


def test_evaluation_leaves_no_trace(tmp_path: Path) -> None:
    plain, evaluated = Regression(dropout=0.5), Regression(dropout=0.5)

    run(plain, rows(), tmp_path / "a", steps=6)
    run(evaluated, rows(), tmp_path / "b", steps=6, evaluate_every=1, validation=rows(seed=2),
        restore_best=False)  # fmt: skip
    assert all(torch.equal(tensor, weights(evaluated)[name]) for name, tensor in weights(plain).items())


def test_the_callers_random_state_is_untouched(tmp_path: Path) -> None:
    def draws() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), torch.rand(()).item()

    random.seed(7), np.random.seed(7), torch.manual_seed(7)
    expected = draws()
    task, data = Regression(), rows()
    random.seed(7), np.random.seed(7), torch.manual_seed(7)
    run(task, data, tmp_path, steps=3)
    assert draws() == expected


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_nonfinite_update_is_skipped_and_counted(tmp_path: Path, bad: float) -> None:
    class Sometimes(Regression):
        calls = 0

        def loss(self, batch: Any) -> Any:
            total, count, metrics = super().loss(batch)
            self.calls += 1
            return (total * bad if self.calls == 3 else total), count, metrics

    task = Sometimes()
    steps_with_weights: dict[int, torch.Tensor] = {}

    def remember(event: str, trainer: Trainer, record: dict[str, Any]) -> None:
        if event == "log":
            steps_with_weights[record["step"]] = task.network[0].weight.detach().clone()

    result = run(task, rows(), tmp_path, steps=5, batch_size=8, log_every=1, callbacks=[remember])
    assert result.skipped_steps == 1
    assert torch.equal(steps_with_weights[2], steps_with_weights[3])
    assert not torch.equal(steps_with_weights[3], steps_with_weights[4])
    assert all(torch.isfinite(tensor).all() for tensor in weights(task).values())
    assert result.history[2]["loss"] is None  # nothing but the skipped step in that line


def test_nan_from_the_first_step_on_blames_the_data(tmp_path: Path) -> None:
    x = torch.full((8, 3), math.nan)
    with pytest.raises(DataError, match="not finite for 4 steps in a row, at step 4, and never before"):
        run(
            Regression(normalise=False),
            TensorData({"x": x, "y": x[:, 0]}),
            tmp_path,
            steps=9,
            max_nonfinite_steps=4,
        )


def test_divergence_ends_with_advice(tmp_path: Path) -> None:
    class Diverging(Regression):
        calls = 0

        def loss(self, batch: Any) -> Any:
            total, count, metrics = super().loss(batch)
            self.calls += 1
            return total * (math.inf if self.calls > 2 else 1), count, metrics

    with pytest.raises(ConfigError, match="3 steps in a row, at step 5; lower training.learning_rate"):
        run(Diverging(), rows(), tmp_path, steps=9, batch_size=8, max_nonfinite_steps=3)


def test_stop_file_saves_and_returns(tmp_path: Path) -> None:
    def ask(event: str, trainer: Trainer, record: dict[str, Any]) -> None:
        if event == "log" and record["step"] == 3:
            (tmp_path / "stop").touch()

    result = run(Regression(), rows(), tmp_path, steps=10, log_every=1, callbacks=[ask])
    assert (result.stopped, result.steps, result.interrupted) == ("stop file", 3, True)
    assert not (tmp_path / "stop").exists()
    assert run(Regression(), rows(), tmp_path, steps=10, resume=True).steps == 10


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_saves_and_returns(tmp_path: Path, number: signal.Signals) -> None:
    def ask(event: str, trainer: Trainer, record: dict[str, Any]) -> None:
        if event == "log" and record["step"] == 2:
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    result = run(
        Regression(), rows(), tmp_path, steps=10, log_every=1, callbacks=[ask], validation=rows(seed=2)
    )
    assert (result.stopped, result.steps) == (number.name, 2)
    assert result.last_checkpoint is not None and result.last_checkpoint.name == "step-00000002"
    assert signal.getsignal(number) is before


def test_trains_outside_the_main_thread(tmp_path: Path) -> None:
    # Python has signal handlers only in the main thread; a server trains in another one.
    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(run, Regression(), rows(), tmp_path, steps=2).result()
    assert result.steps == 2


def test_trainer_can_be_asked_again(tmp_path: Path) -> None:
    config = TrainingConfig(steps=4, dtype="float32", device="cpu", compile="off")
    trainer = Trainer(config, Regression(), rows(), folder=tmp_path, quiet=True)
    assert trainer.train().steps == trainer.train(resume=True).steps == 4


def test_second_interrupt_ends_at_once(tmp_path: Path) -> None:
    def ask(event: str, trainer: Trainer, record: dict[str, Any]) -> None:
        if event == "log":
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run(Regression(), rows(), tmp_path, steps=10, log_every=1, callbacks=[ask])
    assert signal.getsignal(signal.SIGINT) is before


def test_time_budget_ends_the_run_and_the_decay(tmp_path: Path) -> None:
    result = run(Regression(), rows(), tmp_path, max_minutes=0.5 / 60, schedule="linear", learning_rate=0.01,
                 log_every=1)  # fmt: skip
    assert result.stopped == "max_minutes" and result.seconds >= 0.5
    rates = [record["learning_rate"] for record in result.history]
    assert rates == sorted(rates, reverse=True) and rates[-1] < 0.005 < rates[0]


def test_finished_run_returns_at_once(tmp_path: Path) -> None:
    first = run(Regression(), rows(), tmp_path, steps=4, log_every=2, validation=rows(seed=2))
    task = Regression(seed=5)
    again = run(task, rows(), tmp_path, steps=4, log_every=2, validation=rows(seed=2), resume=True)
    assert (again.steps, again.history, again.best) == (4, first.history, first.best)
    assert again.last_checkpoint == first.last_checkpoint


def test_second_run_in_the_same_folder(tmp_path: Path) -> None:
    def nest(event: str, trainer: Trainer, record: dict[str, Any]) -> None:
        if event == "start":
            with pytest.raises(ConfigError, match=rf"another run \(process {os.getpid()}\) trains in"):
                run(Regression(), rows(), tmp_path, steps=1)

    assert run(Regression(), rows(), tmp_path, steps=1, callbacks=[nest]).steps == 1


def test_old_checkpoints_are_not_overwritten_unasked(tmp_path: Path) -> None:
    run(Regression(), rows(), tmp_path, steps=2)
    with pytest.raises(ConfigError, match="holds a run of 2 steps; .*resume it, or choose another folder"):
        run(Regression(), rows(), tmp_path, steps=4)


def test_empty_data(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the training data is empty"):
        TensorData({"x": torch.zeros(0, 3)})

    class Nothing:
        length = None

        def __iter__(self) -> Any:
            return iter(())

        def set_epoch(self, epoch: int) -> None: ...

    with pytest.raises(DataError, match="the training data is empty"):
        run(Regression(), Nothing(), tmp_path / "a", steps=3)
    with pytest.raises(DataError, match="the validation data is empty"):
        run(Regression(), rows(), tmp_path / "b", steps=3, validation=Nothing())


def test_data_smaller_than_a_batch_gives_one_step_an_epoch(tmp_path: Path) -> None:
    result = run(Regression(), rows(5), tmp_path, epochs=3, batch_size=64)
    assert (result.steps, result.samples) == (3, 15)


def test_frozen_weights_are_neither_trained_nor_saved(tmp_path: Path) -> None:
    class Frozen(Regression):
        def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
            return [{"params": list(self.network[4].parameters())}]

    task = Frozen(normalise=False)
    before = weights(task)
    result = run(task, rows(), tmp_path, steps=3)
    after = weights(task)
    assert torch.equal(before["0.weight"], after["0.weight"])
    assert not torch.equal(before["4.weight"], after["4.weight"])
    from safetensors.torch import load_file

    assert result.last_checkpoint is not None
    assert set(load_file(result.last_checkpoint / "model.safetensors")) == {"4.weight", "4.bias"}


def test_parameters_outside_the_network_are_refused(tmp_path: Path) -> None:
    class Outside(Regression):
        def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
            return [{"params": [nn.Parameter(torch.zeros(1))]}]

    with pytest.raises(ConfigError, match="parameter groups hold tensors that its network does not"):
        run(Outside(), rows(), tmp_path, steps=1)


def test_batch_ramp_and_rows_counted_by_the_task(tmp_path: Path) -> None:
    sizes: list[int] = []

    class Counting(Regression):
        def rows(self, batch: Any) -> int:
            sizes.append(len(batch["x"]))
            return sizes[-1]

    result = run(Counting(), rows(1000), tmp_path, steps=6, batch_size=16, batch_ramp_start=4,
                 batch_ramp_step=4, batch_ramp_samples=30)  # fmt: skip
    # increments of 4 at 10, 20 and 30 samples
    assert sizes == [4, 4, 4, 8, 12, 16]
    assert result.samples == sum(sizes)


def test_bfloat16_autocast_keeps_float32_weights(tmp_path: Path) -> None:
    kinds = []

    class Watching(Regression):
        def loss(self, batch: Any) -> Any:
            kinds.append(self.network[0](batch["x"]).dtype)
            return super().loss(batch)

    task = Watching()
    run(task, rows(), tmp_path, steps=2, dtype="bfloat16")
    assert set(kinds) == {torch.bfloat16}
    assert task.network[0].weight.dtype == torch.float32


def test_corrupt_checkpoint_is_named_and_resume_goes_on_from_the_last_good_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options: dict[str, Any] = {"checkpoint_every": 2, "keep_checkpoints": 3, "log_every": 2}
    run(Regression(), rows(), tmp_path, steps=6, **options)
    torn = tmp_path / "checkpoints" / "step-00000006" / "model.safetensors"
    torn.write_bytes(torn.read_bytes()[:-7])
    with pytest.raises(ArtifactError, match=rf"checkpoint file {torn} has \d+ bytes instead of \d+"):
        run(Regression(), rows(), tmp_path, steps=8, **options)
    config = TrainingConfig(steps=8, dtype="float32", device="cpu", compile="off", **options)
    result = Trainer(config, Regression(seed=9), rows(), folder=tmp_path).train(resume=True)
    assert (result.steps, result.history[-1]["step"]) == (8, 8)
    said = capsys.readouterr().err
    assert "model.safetensors has" in said and "set aside as broken-step-00000006" in said
    assert f"resumed from {tmp_path / 'checkpoints' / 'step-00000004'}" in said
    assert run(Regression(), rows(), tmp_path, steps=8, resume=True, **options).steps == 8


def test_resume_with_another_optimizer_is_refused(tmp_path: Path) -> None:
    run(Regression(), rows(), tmp_path, steps=2)
    with pytest.raises(
        ConfigError, match="training.optimizer='adam' does not fit the checkpoint; allowed: adamw"
    ):
        run(Regression(), rows(), tmp_path, steps=4, optimizer="adam", resume=True)
