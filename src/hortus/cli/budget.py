"""`hortus budget`: plan a run from a budget, fit scaling laws, run ablation grids."""

from __future__ import annotations

import cyclopts

__all__ = ["app"]

app = cyclopts.App(name="budget", help="Plan a run from a budget; fit scaling laws; run ablations.")
