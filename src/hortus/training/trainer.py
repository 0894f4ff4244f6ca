"""The training loop: one for every model of hortus.

Read `Trainer.train` first: it is the loop, from top to bottom. The loss of a step is the sum over all its
terms divided by their number, however the batch is cut, so 1 x 32 samples equal 32 x 1.

    step          one update of the weights, from one batch of `batch_size` samples (the last of an epoch may
                  be smaller; the batch ramp makes the first ones smaller)
    micro-batch   what one forward and backward pass takes
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from hortus.config import to_mapping
from hortus.device import choose_device, choose_dtype
from hortus.errors import ConfigError
from hortus.training import randomness
from hortus.training.best import BestEvaluation
from hortus.training.checkpoint import (
    Checkpoint,
    Snapshot,
    checkpoint_folder,
    choose_checkpoint,
    find_best,
)
from hortus.training.compilation import CompiledLoss, Loss
from hortus.training.config import TrainingConfig
from hortus.training.guard import LossGuard, out_of_memory_named
from hortus.training.interruption import INTERRUPTIONS, StopRequest, exclusive
from hortus.training.optimizers import build_optimizer
from hortus.training.progress import Progress, Record
from hortus.training.ranks import join
from hortus.training.rates import Rates
from hortus.training.result import TrainingResult
from hortus.training.schedules import learning_rate, planned_samples
from hortus.training.state import trained_tensors
from hortus.training.sums import Sums
from hortus.training.task import Batch, Data, Task
from hortus.training.validation import validate
from hortus.training.windows import Windows

__all__ = ["Callback", "Trainer", "TrainingResult"]

# callback(event, trainer, record), event one of "start", "log", "evaluate", "end". What it adds to the record
# of "log" or "evaluate" is logged with it, and can be the metric that decides the best checkpoint.
Callback = Callable[[str, "Trainer", Record], None]


class Trainer:
    """Trains a task's network on data.

    Args:
        config: how.
        task: network, loss and parameter groups.
        data: the training data.
        folder: where checkpoints/, metrics.jsonl, a lock and, on request, TensorBoard files go. A file named
            `stop` put there ends the run after the step in progress.
        validation: data for evaluations, read from the start each time.
        callbacks: functions called at "start", "log", "evaluate" and "end".
        quiet: print nothing.

    >>> import tempfile
    >>> from hortus.training import TensorData
    >>> class Line:
    ...     network = torch.nn.Linear(1, 1)
    ...     def loss(self, batch):
    ...         error = (self.network(batch["x"]) - batch["y"]) ** 2
    ...         return error.sum(), torch.tensor(error.numel()), {}
    ...     def parameter_groups(self, weight_decay):
    ...         return [{"params": list(self.network.parameters()), "weight_decay": weight_decay}]
    >>> x = torch.linspace(-1, 1, 64)[:, None]
    >>> config = TrainingConfig(steps=200, batch_size=16, learning_rate=0.05, weight_decay=0.0)
    >>> data = TensorData({"x": x, "y": 2 * x + 1})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     result = Trainer(config, Line(), data, folder=folder, quiet=True).train()
    >>> result.steps, result.stopped, round(Line.network.weight.item(), 2)
    (200, 'steps', 2.0)
    """

    def __init__(
        self,
        config: TrainingConfig,
        task: Task,
        data: Data,
        *,
        folder: str | Path,
        validation: Data | None = None,
        callbacks: Sequence[Callback] = (),
        quiet: bool = False,
    ) -> None:
        self.config, self.task, self.data, self.validation = config, task, data, validation
        self.folder, self.callbacks, self._quiet = Path(folder), tuple(callbacks), quiet
        self.device = choose_device(config.device)
        self.dtype = choose_dtype(config.dtype, self.device)
        self.ranks = join(config.tensor_parallel, self.device)
        self.step = self.samples = 0

    def train(self, *, resume: bool = False) -> TrainingResult:
        """Train until the configured end, or until asked to stop.

        Args:
            resume: go on from the newest whole checkpoint in the folder, if there is one.

        Raises:
            ConfigError: another run holds the folder; it has checkpoints and resume is False; the loss
                stopped being finite.
            DataError: the data is empty, or no loss was ever finite.
            ArtifactError: a checkpoint is corrupt and resume is False, or none of them is whole.
            DeviceError: the disk or the memory is full.
        """
        config, ranks = self.config, self.ranks
        with ExitStack() as stack:
            if ranks.first:
                stack.enter_context(exclusive(self.folder))
            stack.enter_context(randomness.preserved(self.device))
            stop = stack.enter_context(StopRequest(self.folder))
            self._progress = stack.enter_context(
                Progress(
                    self.folder,
                    steps=config.steps,
                    quiet=self._quiet or not ranks.first,
                    tensorboard=config.tensorboard,
                    write=ranks.first,
                )
            )
            self._writer = stack.enter_context(
                ranks.open_writer(self.folder / "checkpoints", config.keep_checkpoints, config.metric_goal)
            )
            self._prepare(resume or ranks.restarted(self.folder))
            self._call("start", {})
            while (reason := ranks.end(self._reason_to_end(stop))) is None:
                sums = self._accumulate()
                if not sums.samples:
                    continue  # the epoch had just ended
                self._update(sums)
                if self.step % config.log_every == 0:
                    self._log()
                if config.evaluate_every and self.step % config.evaluate_every == 0:
                    self._evaluate()
                if config.checkpoint_every and self.step % config.checkpoint_every == 0:
                    self._save()
            return self._finish(reason)

    # Before the loop

    def _prepare(self, resume: bool) -> None:
        config, task, say = self.config, self.task, self._progress.say
        self.ranks.check(config, task)
        getattr(task, "to", task.network.to)(self.device)
        task.network.train()
        self.ranks.spread(task.network, self.dtype)
        groups = task.parameter_groups(config.weight_decay)
        self._parameters: list[Tensor] = [parameter for group in groups for parameter in group["params"]]
        self._trained = trained_tensors(task.network, self._parameters)
        groups = self.ranks.own(groups)
        self._pieces: list[Tensor] = [piece for group in groups for piece in group["params"]]
        self._optimizer = build_optimizer(groups, config)
        # Ranks that time themselves would not all decide to compile.
        mode = "off" if config.compile == "auto" and self.ranks.size > 1 else config.compile
        self._loss = CompiledLoss(task.loss, mode, self.device, say)
        self._guard = LossGuard(config.max_nonfinite_steps, config.spike_deviations, say)
        planned = planned_samples(config, getattr(self.data, "length", None))
        flops = getattr(task, "flops_per_token", 6.0 * sum(p.numel() for p in self._parameters))
        self._rates = Rates(config, self.device, self.dtype, flops, planned, self.ranks.size)
        self._windows = Windows(config, self.data, getattr(task, "rows", None), self.ranks.data_parts)
        self._best = BestEvaluation(config.metric, config.metric_goal)
        self._logged = Sums()
        self.step = self.samples = self._evaluated_at = self._saved_at = 0
        folder = self._writer.folder
        checkpoint = self.ranks.choose(lambda: choose_checkpoint(folder, resume, say), folder)
        self.ranks.begin(self.folder)
        if checkpoint is None:
            randomness.seed_all(config.seed)
            self._windows.start()
        else:
            self._restore(checkpoint)
            say(f"resumed from {checkpoint.folder}")
        self._progress.open(self.step)

    def _restore(self, checkpoint: Checkpoint) -> None:
        state = checkpoint.state()
        earlier = state["config"]
        changes = self.config.changes_from(earlier)
        if "optimizer" in changes:
            raise ConfigError(
                f"training.optimizer={self.config.optimizer!r} does not fit the checkpoint",
                allowed=earlier["optimizer"],
                do="resume with the same optimizer, or start in another folder",
            )
        if changes:
            listed = ", ".join(f"{name} {then} -> {now}" for name, (then, now) in changes.items())
            self._progress.say(f"changed since the checkpoint: {listed}")
        self.ranks.load_weights(self._trained, checkpoint)
        self.ranks.load_optimizer(self._optimizer, self._parameters, checkpoint)
        self.step, self.samples = state["step"], state["samples"]
        self._saved_at, self._evaluated_at = self.step, state["evaluated_at"]
        self._best.load_state_dict(state["best"])
        self._guard.load_state_dict(state["guard"])
        self._logged = Sums(**state["logged"])
        self._rates.resume(self.samples, state["seconds"], state["energy_kwh"])
        self._windows.start(state["epoch"], state["data"])
        randomness.restore(state["random"], self.device)

    # One step

    def _reason_to_end(self, stop: StopRequest) -> str | None:
        config = self.config
        if config.steps is not None and self.step >= config.steps:
            return "steps"
        if config.epochs is not None and self._windows.epoch >= config.epochs:
            return "epochs"
        if self._rates.time_share() >= 1:
            return "max_minutes"
        if config.patience is not None and self._best.evaluations_since >= config.patience:
            return "patience"
        self._writer.check()
        return stop.reason()

    def _accumulate(self) -> Sums:
        """Add up the gradients of the summed loss over the micro-batches of one step."""
        sums = Sums()
        self.ranks.seed(self.config.seed, self.step)
        for batch, samples in self._windows.micro_batches(self.samples):
            with out_of_memory_named(samples):
                batch = self._to_device(self.ranks.share(batch, samples))
                loss, count, metrics = self._loss.run(batch, self._forward_and_backward, self._undo)
            sums.add(loss, count, metrics, batch, samples)
        return sums

    def _forward_and_backward(self, loss_of: Loss, batch: Batch) -> tuple[Tensor, Tensor, Any]:
        with self._autocast():
            loss, count, metrics = self.ranks.weigh(loss_of(batch))
        loss.backward()
        return loss, count, metrics

    def _undo(self) -> None:
        for tensor in (*self._parameters, *self._pieces):
            tensor.grad = None

    def _update(self, sums: Sums) -> None:
        """Turn the summed gradient into the mean one, clip it, and take the step unless it is not finite."""
        config = self.config
        self.step += 1
        self.samples += sums.samples
        own_loss, sums = sums.loss, self.ranks.total(sums)
        gradients = self.ranks.gradients(self._parameters, self._pieces)
        norm = self.ranks.norm(self._parameters, gradients)
        # The only point at which the processor waits for the device: three numbers in one transfer.
        norm = norm.to(torch.promote_types(norm.dtype, torch.float32))
        numbers = [torch.as_tensor(number).to(norm) for number in (norm, sums.loss, sums.count)]
        norm_of_sum, loss_sum, count = torch.stack(numbers).tolist()
        terms = max(count, 1.0)
        self._gradient_norm = norm_of_sum / terms
        if self._guard.allows(self.step, loss_sum / terms, self._gradient_norm):
            scale = 1 / terms
            if config.clip_norm is not None and self._gradient_norm > config.clip_norm:
                scale *= config.clip_norm / self._gradient_norm
            torch._foreach_mul_(gradients, scale)
            self._set_learning_rate()
            self._optimizer.step()
            self._logged.merge(sums)
        else:
            self.ranks.name_not_finite(float(own_loss), self._progress.say)
            self._logged.merge(Sums(samples=sums.samples, tokens=sums.tokens))
        self._undo()
        self._batch_samples = sums.samples
        self._loss.decide(self._rates.remaining_seconds(self.samples))

    def _set_learning_rate(self) -> None:
        decay_samples = self.config.decay_samples or self._rates.expected_samples(self.samples)
        rate = self.ranks.agree(learning_rate(self.config, self.samples, decay_samples))
        for group in self._optimizer.param_groups:
            group["lr"] = rate

    def _to_device(self, batch: Batch) -> Batch:
        return {name: tensor.to(self.device, non_blocking=True) for name, tensor in batch.items()}

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    # Between steps

    def _record(self) -> Record:
        return {"step": self.step, "samples": self.samples, "epoch": self._windows.epoch}

    def _log(self) -> None:
        sums, rate = self._logged, self._optimizer.param_groups[0]["lr"]
        record = self._record() | sums.means()
        record |= {"learning_rate": rate, "gradient_norm": self._gradient_norm}
        record |= {"batch_samples": self._batch_samples, "skipped_steps": self._guard.skipped}
        record |= self._rates.measure(self.samples, sums.samples, sums.tokens)
        self._logged = Sums()
        self.ranks.watch_speed(self._progress.say)
        self._call("log", record)
        self._progress.record(record)

    def _evaluate(self) -> None:
        """Loss and metrics on the validation data; the best so far is saved."""
        if self.validation is None:
            return
        began = perf_counter()
        sums = validate(
            self.task,
            self.validation,
            batch_size=self.config.micro_batch_size or self.config.batch_size,
            device=self.device,
            autocast=self._autocast,
            to_device=self._to_device,
            ranks=self.ranks,
        )
        record = self._record() | sums.means("validation_")
        self._call("evaluate", record)
        improved = self._best.improves(record)
        self._progress.record(record)
        self._evaluated_at = self.step
        if improved:
            self._save(self._best.value(record))
        self._rates.pause(perf_counter() - began)

    def _save(self, metric: float | None = None) -> None:
        """Snapshot the run and let the background thread write it. Nothing is done twice for one step."""
        if self._saved_at == self.step and metric is None:
            return
        state = {
            "step": self.step,
            "samples": self.samples,
            "evaluated_at": self._evaluated_at,
            "best": self._best.state_dict(),
            "epoch": self._windows.epoch,
            "data": self.data.state_dict(),
            "random": randomness.capture(self.device),
            "guard": self._guard.state_dict(),
            "logged": self._logged.to_json(),
            "seconds": self._rates.seconds,
            "energy_kwh": self._rates.energy_kwh,
            "config": to_mapping(self.config),
        }
        weights, optimizer = self.ranks.snapshot(self._trained, self._optimizer, self._parameters)
        self._writer.submit(Snapshot(self.step, weights, optimizer, state, metric))
        self._saved_at = self.step

    def _finish(self, reason: str) -> TrainingResult:
        writer, best = self._writer, None
        interrupted = reason in INTERRUPTIONS
        if self.validation is not None and self._evaluated_at != self.step and not interrupted:
            self._evaluate()
        self._save()
        writer.wait()
        if self.validation is not None:
            goal = self.config.metric_goal
            best = self.ranks.choose(lambda: find_best(writer.folder, goal), writer.folder)
        if best is not None and self.config.restore_best and not interrupted:
            self.ranks.load_weights(self._trained, best)
        self._undo()
        self._progress.say(f"ended by {reason} at step {self.step}")
        metrics = {name: value for record in self._progress.history for name, value in record.items()}
        result = TrainingResult(
            steps=self.step,
            samples=self.samples,
            stopped=reason,
            metrics=metrics,
            best=self._best.record,
            history=self._progress.history,
            seconds=self._rates.seconds,
            energy_kwh=self._rates.energy_kwh,
            energy_source=self._rates.energy_source,
            skipped_steps=self._guard.skipped,
            last_checkpoint=checkpoint_folder(writer.folder, self._saved_at) if self._saved_at else None,
            best_checkpoint=best.folder if best else None,
        )
        self.task.network.eval()
        self._call("end", metrics)
        return result

    def _call(self, event: str, record: Record) -> None:
        for callback in self.callbacks:
            callback(event, self, record)
