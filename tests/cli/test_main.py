"""The command line as a user meets it: help, mistakes, exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hortus.cli import main


def run_main(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    captured = capsys.readouterr()
    return int(end.value.code or 0), captured.out, captured.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rum"], "unknown command 'rum'; did you mean 'run'?"),
        (["run"], "requires an argument"),
        (["run", "missing.yaml"], "cannot read missing.yaml"),
        (["run", "x.yaml", "--reume"], "Did you mean --resume?"),
    ],
)
def test_mistakes_give_one_line_and_exit_2(arguments, message, capsys) -> None:
    code, out, err = run_main(arguments, capsys)
    assert code == 2 and out == ""
    assert err.count("\n") == 1 and err.startswith("hortus: ") and message in err


def test_debug_gives_the_traceback() -> None:
    command = [sys.executable, "-m", "hortus", "run", "missing.yaml", "--debug"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode != 0 and "Traceback" in result.stderr and "DataError" in result.stderr


def test_report_prints_a_finished_run_as_json(tmp_path: Path, capsys) -> None:
    record = {
        "key": "k",
        "done": True,
        "numbers": {"loss": 1.0},
        "seconds": 2.0,
        "blocks": [],
        "stopped": None,
    }
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "training.json").write_text(json.dumps(record))
    code, out, _ = run_main(["report", str(tmp_path), "--json"], capsys)
    assert code == 0 and json.loads(out)["numbers"] == {"training": {"loss": 1.0}}
    code, _, err = run_main(["report", str(tmp_path / "none")], capsys)
    assert code == 2 and "no finished stage" in err
