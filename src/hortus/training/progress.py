"""What a run says while it goes: metrics.jsonl, a live line on the terminal, TensorBoard.

Everything for people goes to stderr. On a terminal it is one live bar; elsewhere plain lines.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hortus.registry import require

__all__ = ["Progress"]

Record = dict[str, Any]

# What a plain line shows of a record, in order: field, and how it is written.
_COLUMNS: dict[str, Callable[[Any], str]] = {
    "loss": lambda value: f"loss {value:.4f}",
    "validation_loss": lambda value: f"validation loss {value:.4f}",
    "learning_rate": lambda value: f"rate {value:.2e}",
    "gradient_norm": lambda value: f"gradient {value:.2f}",
    "tokens_per_second": lambda value: f"{value:,.0f} tokens/s",
    "samples_per_second": lambda value: f"{value:,.1f} samples/s",
    "matmul_share": lambda value: f"{value:.0%} of matmul peak",
    "memory_bytes": lambda value: f"{value / 2**30:.1f} GiB",
    "energy_kwh": lambda value: f"{value * 1000:.1f} Wh",
    "eta_seconds": lambda value: f"{clock(value)} left",
}


class Progress:
    """Writes the records of a run, as a context manager.

    Args:
        folder: where metrics.jsonl (and tensorboard/) go.
        steps: number of steps planned, None when unknown.
        quiet: say nothing on stderr.
        tensorboard: also write TensorBoard files.
        write: False keeps the history in memory only, for all but the first of many processes.

    Raises:
        DeviceError: TensorBoard was asked for and is not installed.
    """

    def __init__(
        self,
        folder: Path,
        *,
        steps: int | None = None,
        quiet: bool = False,
        tensorboard: bool = False,
        write: bool = True,
    ) -> None:
        self.history: list[Record] = []
        self._write = write
        self._path = folder / "metrics.jsonl"
        self._steps, self._quiet = steps, quiet
        self._board_folder = folder / "tensorboard" if tensorboard and write else None
        self._board: Any = None
        self._bar: Any = None
        if tensorboard:
            require("tensorboard", extra="tensorboard")

    def __enter__(self) -> Progress:
        if not self._quiet and sys.stderr.isatty():
            self._bar = _live_bar()
            self._bar.start()
            self._bar_task = self._bar.add_task("training", total=self._steps, numbers="")
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()
        if self._board is not None:
            self._board.close()

    def open(self, step: int) -> None:
        """Go on after `step`: later lines of an interrupted run are dropped, so none is doubled."""
        self.history = [record for record in read_metrics(self._path) if record["step"] <= step]
        if not self._write:
            return
        draft = self._path.with_suffix(".draft")
        draft.write_text("".join(json.dumps(record) + "\n" for record in self.history))
        draft.replace(self._path)
        if self._board_folder is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(self._board_folder), purge_step=step + 1)

    def record(self, record: Record) -> None:
        """Append a record to the history, metrics.jsonl and TensorBoard, and show it."""
        record = {name: _plain(value) for name, value in record.items()}
        self.history.append(record)
        if self._write:
            with self._path.open("a") as file:
                file.write(json.dumps(record) + "\n")
        if self._board is not None:
            for name, value in record.items():
                if isinstance(value, int | float) and name != "step":
                    self._board.add_scalar(name, value, record["step"])
        self._show(record)

    def say(self, message: str) -> None:
        """One line for the user that belongs to no record."""
        if self._quiet:
            return
        if self._bar is not None:
            self._bar.console.print(message, highlight=False, markup=False)
        else:
            print(message, file=sys.stderr, flush=True)

    def _show(self, record: Record) -> None:
        if self._quiet:
            return
        numbers = [show(record[name]) for name, show in _COLUMNS.items() if record.get(name) is not None]
        if self._bar is not None and "validation_loss" not in record:
            self._bar.update(self._bar_task, completed=record["step"], numbers="  ".join(numbers))
        else:
            of = f"/{self._steps}" if self._steps else ""
            self.say("  ".join([f"step {record['step']}{of}", *numbers]))


def read_metrics(path: Path) -> list[Record]:
    """Records of a metrics.jsonl; a last line that a killed run left torn is dropped.

    >>> read_metrics(Path("no such file"))
    []
    """
    records: list[Record] = []
    if path.is_file():
        for line in path.read_text().splitlines():
            try:
                records.append(json.loads(line))
            except ValueError:
                break
    return records


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss or m:ss.

    >>> clock(3725), clock(65)
    ('1:02:05', '1:05')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _plain(value: Any) -> Any:
    """JSON has no NaN: what is not finite becomes null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _live_bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    return Bar(
        TextColumn("step"),
        MofNCompleteColumn(),
        BarColumn(bar_width=20),
        TimeElapsedColumn(),
        TextColumn("{task.fields[numbers]}"),
        console=Console(stderr=True),
    )
