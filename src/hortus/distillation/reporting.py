"""`hortus distill --report`: the proof beside a distillation, as numbers and as a page."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hortus.artifact import resolve_folder
from hortus.config import from_mapping, load_yaml
from hortus.device import describe_machine
from hortus.distillation.proof import prove
from hortus.distillation.proof_config import ProofConfig
from hortus.objectives.labelled import LabelledConfig, write_tasks
from hortus.report import write_report

__all__ = ["ReportConfig", "report_on"]


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """The file that `--report` takes."""

    labelled: LabelledConfig
    """The tasks, as in the recipe stage of that name."""
    proof: ProofConfig = field(default_factory=lambda: ProofConfig(metric="accuracy", metric_goal="highest"))
    """How both models are finetuned, as in the recipe stage of that name."""


def report_on(teacher: str | Path, student: Path, settings: Path, output: Path) -> dict[str, Any]:
    """Finetune teacher and student on the tasks of a settings file; write output/report.html.

    Returns:
        {"figures": essentials by name, "test accuracy": rows, "page": path}.

    Raises:
        ConfigError: the file holds other keys.
        DataError: rows that do not fit.
    """
    config = from_mapping(ReportConfig, load_yaml(settings))
    write_tasks(config.labelled, output / "tasks")
    proof = prove(resolve_folder(teacher), student, output / "tasks", output / "proof", config.proof, _say)
    page = output / "report.html"
    write_report(page, f"{student}: what it keeps", [("Proof", proof.blocks())], describe_machine())
    return {"figures": proof.numbers(), "test accuracy": proof.rows(), "page": str(page)}


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
