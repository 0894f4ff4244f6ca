"""The budget room: what to train, how large, on how much, at what cost; scaling laws; ablation grids.

Only settings are imported at once; the rest when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hortus.registry import lazy_attributes

if TYPE_CHECKING:
    from hortus.budget.counts import Counts, count
    from hortus.budget.estimate import Layout, estimate_memory, estimate_step
    from hortus.budget.fitting import Fit, fit_runs
    from hortus.budget.hardware import Device, find_device, measure_machine
    from hortus.budget.laws import CHINCHILLA, KAPLAN, Law, find_law
    from hortus.budget.planning import Plan, plan
    from hortus.budget.process import process_memory
    from hortus.budget.runs import read_runs

__all__ = [
    "CHINCHILLA",
    "KAPLAN",
    "Counts",
    "Device",
    "Fit",
    "Law",
    "Layout",
    "Plan",
    "count",
    "estimate_memory",
    "estimate_step",
    "find_device",
    "find_law",
    "fit_runs",
    "measure_machine",
    "plan",
    "process_memory",
    "read_runs",
]

_HOMES = {
    "CHINCHILLA": "laws",
    "KAPLAN": "laws",
    "Counts": "counts",
    "Device": "hardware",
    "Fit": "fitting",
    "Law": "laws",
    "Layout": "estimate",
    "Plan": "planning",
    "count": "counts",
    "estimate_memory": "estimate",
    "estimate_step": "estimate",
    "find_device": "hardware",
    "find_law": "laws",
    "fit_runs": "fitting",
    "measure_machine": "hardware",
    "plan": "planning",
    "process_memory": "process",
    "read_runs": "runs",
}

__getattr__ = lazy_attributes(__name__, _HOMES)
