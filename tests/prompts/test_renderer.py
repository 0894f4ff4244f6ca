"""The pool of workers: order, replacement, threads, and what a worker cannot reach."""

from __future__ import annotations

import datetime
import decimal
import multiprocessing
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from hortus.errors import ConfigError, DataError
from hortus.prompts import Renderer, RenderLimits, Template, render_all
from hortus.prompts.renderer import Failure, RenderJob

STUCK = (
    "{% set a = [0] * 1000000 %}{% set b = [0] * 1000000 %}{% if [a] * 400000 == [b] * 400000 %}{% endif %}"
)


def job(jinja: str, **example: object) -> RenderJob:
    return RenderJob((jinja, None, None), example, "seed")


def test_a_culprit_in_the_middle_costs_only_itself() -> None:
    jobs = [job("{{ x }} ||| y", x=number) for number in range(700)]
    jobs[300] = job(STUCK)
    jobs[301] = job("{{ 'a' * 10**10 }}")
    with Renderer(RenderLimits(seconds=0.5)) as renderer:
        results = renderer.render(jobs)
        assert renderer.num_started == 2
    failures = {number: result.kind for number, result in enumerate(results) if isinstance(result, Failure)}
    assert failures == {300: "time", 301: "memory"}
    parts = [result[0][0] for result in results if not isinstance(result, Failure)]
    assert parts == [str(number) for number in range(700) if number not in (300, 301)]


def test_a_killed_worker_is_replaced() -> None:
    with Renderer() as renderer:
        assert renderer.render([job("a ||| b")])[0][0] == ["a", "b"]
        renderer._idle[0].process.kill()
        renderer._idle[0].process.wait()
        assert renderer.render([job("a ||| b")])[0][0] == ["a", "b"]
        assert renderer.num_started == 2


@pytest.mark.parametrize("workers", [1, 2])
def test_threads_share_the_pool(workers: int) -> None:
    wrong: list[int] = []
    with Renderer(workers=workers) as renderer:

        def run(thread: int) -> None:
            for turn in range(20):
                text = f"{thread}-{turn}"
                if renderer.render([job("{{ x }} ||| b", x=text)])[0][0] != [text, "b"]:
                    wrong.append(thread)

        threads = [threading.Thread(target=run, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert renderer.num_started <= workers
    assert not wrong


def _render_in_child(queue: multiprocessing.Queue) -> None:
    queue.put(Template.new("t", "{{ x }} ||| b").apply({"x": "child"}).parts)


def test_a_forked_process_gets_workers_of_its_own() -> None:
    template = Template.new("t", "{{ x }} ||| b")
    assert template.apply({"x": "before"}).input == "before"
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_render_in_child, args=(queue,))
    child.start()
    assert queue.get(timeout=60) == ["child", "b"]
    child.join()
    assert template.apply({"x": "after"}).input == "after"


def test_the_worker_has_no_secret_no_torch_and_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    with Renderer() as renderer:
        renderer.render([job("a ||| b")])
        process = renderer._idle[0].process.pid
        if not os.path.exists(f"/proc/{process}/environ"):
            pytest.skip("needs /proc")
        with open(f"/proc/{process}/environ", "rb") as file:
            assert b"secret" not in file.read()
        with open(f"/proc/{process}/maps") as file:
            maps = file.read()
        assert "torch" not in maps and "numpy" not in maps
        with open(f"/proc/{process}/limits") as file:
            limits = file.read()
        assert str(256 * 2**20) in limits
        assert any(
            line.startswith("Max open files") and line.split()[3] == "0" for line in limits.splitlines()
        )


def test_importing_the_room_loads_no_torch() -> None:
    code = (
        "import sys, hortus.prompts as p; [getattr(p, n) for n in p.__all__]; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_values_of_tables_become_plain() -> None:
    example = {
        "day": datetime.date(2020, 1, 2),
        "price": decimal.Decimal("1.50"),
        "number": np.int64(3),
        "array": np.array([1, 2]),
        "tuple": (1, "a"),
    }
    template = Template.new("t", "{{ day }} {{ price }} {{ number }} {{ array }} {{ tuple[1] }} ||| b")
    assert template.apply(example).input == "2020-01-02 1.50 3 [1, 2] a"


def test_what_has_no_plain_form_is_named() -> None:
    with pytest.raises(DataError, match="type bytes"):
        Template.new("t", "{{ x }} ||| b").apply({"x": b"raw"})


def test_an_example_too_large_is_refused_alone() -> None:
    with Renderer() as renderer:
        results = renderer.render([job("{{ x }} ||| b", x="a" * 9_000_000), job("{{ x }} ||| b", x="small")])
    assert isinstance(results[0], Failure) and "larger than" in results[0].message
    assert results[1][0] == ["small", "b"]


def test_results_do_not_leak_between_examples() -> None:
    template = Template.new("t", "{% set _ = items.append('x') %}{{ items|length }} ||| b")
    row = {"items": ["a"]}
    rendered = render_all([(template, index, row) for index in range(3)])
    assert [one.input for one in rendered] == ["2", "2", "2"]
    assert row == {"items": ["a"]}


@pytest.mark.parametrize(
    "settings",
    [{"seconds": 0.0}, {"memory_bytes": 2**20}, {"output_characters": 0}],
    ids=lambda s: next(iter(s)),
)
def test_limits_that_allow_nothing_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        RenderLimits(**settings)
