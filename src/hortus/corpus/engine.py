"""Run one function over all partitions, through daft: in processes of this machine or on a Ray cluster.

daft plans and schedules; the plan is the same on both engines: a column of tasks, one a partition, and the
function over it. A task reads and writes files, so that a partition that is done stays done: when a worker
dies, what is missing runs again; after a crash of the whole build, the next one does only the rest. On a
cluster the folders must lie where all machines see them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from typing import Any

from hortus.errors import ConfigError, DataError, DeviceError, HortusError
from hortus.registry import require

__all__ = ["Task", "run_tasks"]

Task = dict[str, Any]  # JSON values
ATTEMPTS = 3
_ERRORS: dict[str, type[HortusError]] = {
    kind.__name__: kind for kind in (ConfigError, DataError, DeviceError)
}
# daft reports its use and draws bars unless told not to; Ray writes a token to the home folder unless told.
_QUIET = {"DO_NOT_TRACK": "true", "SCARF_NO_ANALYTICS": "true", "DAFT_PROGRESS_BAR": "0"}
_QUIET_RAY = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}


def run_tasks(
    function: Callable[[Task], None],
    tasks: Callable[[], Sequence[Task]],
    *,
    engine: str = "local",
    workers: int | None = None,
) -> None:
    """Call `function` with every task until none is left.

    Args:
        function: importable by name, so that other processes find it.
        tasks: those that still have to run; asked again when a worker has died.
        engine: "local", "ray" or "ray://HOST:PORT".
        workers: processes of the local engine; None takes one a core, 1 stays in this process.

    Raises:
        HortusError: what a task raised, of the same kind.
        DeviceError: workers died three times over, or a package is missing.
    """
    failure: Exception | None = None
    for _ in range(ATTEMPTS):
        left = tasks()
        if not left:
            return
        processes = min(workers or len(os.sched_getaffinity(0)), len(left))
        if engine == "local" and processes == 1:
            for task in left:
                function(task)
            return
        try:
            outcomes = _run_by_daft(function, left, engine, processes)
        except HortusError:
            raise
        except Exception as error:  # daft has no error of its own for a worker that died
            failure = error
        else:
            _raise_first(outcomes)
    left = tasks()
    if left:
        raise DeviceError(
            f"{len(left)} partitions failed {ATTEMPTS} times: {' '.join(str(failure).split())[:300]}",
            do="free memory or use fewer workers; the next build goes on where this one ended",
        )


def _run_by_daft(
    function: Callable[[Task], None], tasks: Sequence[Task], engine: str, processes: int
) -> list[str]:
    os.environ.update({name: value for name, value in _QUIET.items() if name not in os.environ})
    daft = require("daft", extra="corpus")
    settings: dict[str, Any] = {}
    if engine == "local":
        settings = {"use_process": True, "concurrency": processes}
    else:
        os.environ.update({name: value for name, value in _QUIET_RAY.items() if name not in os.environ})
        require("ray", extra="ray")
        if daft.get_or_infer_runner_type() != "ray":
            daft.set_runner_ray(None if engine == "ray" else engine)
    frame = daft.from_pydict({"task": [json.dumps(task) for task in tasks]})
    if engine != "local":
        frame = frame.into_partitions(len(tasks))

    @daft.udf(return_dtype=daft.DataType.string(), batch_size=1, **settings)
    def run(batch: Any) -> list[str]:
        return _outcomes(function, batch)

    return list(frame.select(run(daft.col("task")).alias("outcome")).to_pydict()["outcome"])


def _outcomes(function: Callable[[Task], None], tasks: Any) -> list[str]:
    """Call the function with a daft series of tasks; errors of ours go home as text."""
    outcomes = []
    for task in tasks.to_pylist():
        try:
            function(json.loads(task))
            outcomes.append("")
        except HortusError as error:
            kind = next((name for name in _ERRORS if isinstance(error, _ERRORS[name])), "DataError")
            outcomes.append(json.dumps([kind, error.what, error.allowed, error.do]))
    return outcomes


def _raise_first(outcomes: Sequence[str]) -> None:
    for outcome in filter(None, outcomes):
        kind, what, allowed, do = json.loads(outcome)
        raise _ERRORS[kind](what, allowed=allowed, do=do)
