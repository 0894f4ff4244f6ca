"""Independent tasks on this machine's cores, or on a Ray cluster when its address is given.

Tasks run in threads here: the compiled samplers and criteria release the interpreter's lock. Ray is imported
only when it is used.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import Any

from hortus.registry import require
from hortus.topics.fits import Progress

__all__ = ["run_tasks"]

Task = tuple[Any, ...]


def run_tasks(
    tasks: Sequence[Task],
    function: Callable[..., Any],
    keep: Callable[[Task, Any], None],
    *,
    jobs: int = 0,
    ray_address: str = "",
    progress: Progress | None = None,
    seconds: float | None = None,
) -> bool:
    """Call function(*task) for every task and keep(task, result) as each one ends.

    Args:
        jobs: tasks at a time on this machine; 0 means one a core. Ray takes its cluster's cores.
        ray_address: "auto" or "ray://host:port"; empty for this machine.
        progress: called as progress(what, share done, seconds left).
        seconds: begin no further task after so long.

    Returns:
        Whether all tasks were done.
    """
    began = time.perf_counter()
    width = jobs or os.cpu_count() or 1
    results = _on_ray(tasks, function, ray_address, seconds) if ray_address else None
    done = 0
    for task, result in results or _in_threads(tasks, function, width, seconds):
        keep(task, result)
        done += 1
        if progress is not None:
            elapsed = time.perf_counter() - began
            left = elapsed / done * (len(tasks) - done)
            progress(f"{done} of {len(tasks)}", done / len(tasks), left)
    return done == len(tasks)


def _in_threads(
    tasks: Sequence[Task], function: Callable[..., Any], width: int, seconds: float | None
) -> Iterator[tuple[Task, Any]]:
    with ThreadPoolExecutor(width) as pool:
        running: dict[Any, Task] = {}
        try:
            yield from _as_they_end(
                iter(tasks),
                lambda task: pool.submit(function, *task),
                lambda futures: wait(futures, return_when=FIRST_COMPLETED).done,
                lambda future: future.result(),
                running,
                width,
                seconds,
            )
        finally:
            for future in running:
                future.cancel()


def _on_ray(
    tasks: Sequence[Task], function: Callable[..., Any], address: str, seconds: float | None
) -> Iterator[tuple[Task, Any]]:
    ray = require("ray", extra="corpus")
    if not ray.is_initialized():
        ray.init(address=address, log_to_driver=False)
    remote = ray.remote(function)
    width = max(1, int(ray.cluster_resources().get("CPU", 1)))
    return _as_they_end(
        iter(tasks),
        lambda task: remote.remote(*task),
        lambda references: ray.wait(references, num_returns=1)[0],
        ray.get,
        {},
        width,
        seconds,
    )


def _as_they_end(
    waiting: Iterator[Task],
    submit: Callable[[Task], Any],
    ended: Callable[[list[Any]], Iterable[Any]],
    result: Callable[[Any], Any],
    running: dict[Any, Task],
    width: int,
    seconds: float | None,
) -> Iterator[tuple[Task, Any]]:
    """Keep `width` tasks running until none waits or time is up; yield each with its result."""
    deadline = float("inf") if seconds is None else time.perf_counter() + seconds
    while True:
        while len(running) < width and time.perf_counter() < deadline:
            task = next(waiting, None)
            if task is None:
                break
            running[submit(task)] = task
        if not running:
            return
        for handle in ended(list(running)):
            yield running.pop(handle), result(handle)
