"""metrics.jsonl, the terminal and TensorBoard."""

from __future__ import annotations

import io
import json
import math
import sys
from pathlib import Path

import pytest

from hortus.training.progress import Progress, read_metrics

RECORD = {"step": 20, "loss": 2.5, "tokens_per_second": 12345.6, "matmul_share": 0.57, "eta_seconds": 65.0}


def test_plain_lines_go_to_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(tmp_path, steps=40) as progress:
        progress.open(0)
        progress.record(RECORD)
        progress.record({"step": 20, "validation_loss": 2.25})
        progress.say("a line")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "step 20/40  loss 2.5000  12,346 tokens/s  57% of matmul peak  1:05 left",
        "step 20/40  validation loss 2.2500",
        "a line",
    ]


def test_quiet_says_nothing_and_still_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(tmp_path, quiet=True) as progress:
        progress.open(0)
        progress.record(RECORD)
        progress.say("a line")
    assert capsys.readouterr() == ("", "")
    assert read_metrics(tmp_path / "metrics.jsonl") == [RECORD]


def test_live_bar_on_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    with Progress(tmp_path, steps=40) as progress:
        progress.open(0)
        progress.record(RECORD)
        progress.say("resumed from [somewhere]")
    assert isinstance(sys.stderr, Terminal)
    shown = sys.stderr.getvalue()
    assert "20/40" in shown and "12,346 tokens/s" in shown and "resumed from [somewhere]" in shown


def test_resume_drops_later_and_torn_lines(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"step": step}) + "\n" for step in (10, 20, 30)) + '{"step": 40, "lo')
    with Progress(tmp_path, quiet=True) as progress:
        progress.open(20)
        progress.record({"step": 30, "loss": 1.0})
    assert read_metrics(path) == progress.history == [{"step": 10}, {"step": 20}, {"step": 30, "loss": 1.0}]


def test_what_is_not_finite_is_null(tmp_path: Path) -> None:
    with Progress(tmp_path, quiet=True) as progress:
        progress.open(0)
        progress.record({"step": 1, "loss": math.nan, "gradient_norm": math.inf})
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1, "loss": null, "gradient_norm": null}\n'


def test_tensorboard_files(tmp_path: Path) -> None:
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with Progress(tmp_path, quiet=True, tensorboard=True) as progress:
        progress.open(0)
        progress.record({"step": 1, "loss": 3.0})
        progress.record({"step": 2, "loss": 2.0})
    events = accumulators.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(1, 3.0), (2, 2.0)]
