"""No template escapes, none runs on, and the worker lives through all of them or is replaced."""

from __future__ import annotations

import resource
import threading

import pytest

from hortus.prompts import Renderer, RenderLimits, Template, TemplateError
from tests.prompts.hostile_templates import ENDLESS, ESCAPES, HOSTILE, TOO_MUCH

START_SECONDS = 3.0  # of processor time: a new worker, and templates that stop by themselves
TELLTALES = ("<class", "root:", "uid=", "built-in", "<function", "<method", "object at", "module")


def attack(renderer: Renderer, sources: list[str]) -> list[tuple[str, str, int | None]]:
    """Apply each source from another thread; returns (source, what came of it, line)."""
    results = []

    def run() -> None:
        for source in sources:
            template = Template.new("hostile", source + " ||| b", "no ||| yes")
            line = None
            try:
                rendered = template.apply({"x": "text", "label": 0}, renderer=renderer)
                outcome = rendered.status + ":" + " ".join(rendered.parts)
            except TemplateError as error:
                assert template.id in str(error)
                outcome, line = error.kind, error.line
            results.append((source, outcome, line))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return results


def still_renders(renderer: Renderer) -> bool:
    template = Template.new("plain", "{{ x }} ||| {{ answer_choices[0] }}", "no ||| yes")
    return template.apply({"x": "fine"}, renderer=renderer).parts == ["fine", "no"]


def test_there_are_a_hundred_and_one_hostile_templates() -> None:
    assert len(set(HOSTILE)) == len(HOSTILE) >= 101


def children_seconds() -> float:
    """Processor time of ended child processes."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize("seconds", [0.4, pytest.param(2.0, marks=pytest.mark.slow)])
def test_hundred_hostile_templates_in_a_row_from_a_thread(seconds: float) -> None:
    before = children_seconds()
    with Renderer(RenderLimits(seconds=seconds)) as renderer:
        assert still_renders(renderer)
        results = attack(renderer, HOSTILE)
        assert still_renders(renderer)
        started, limits = renderer.num_started, renderer._idle[0].limits
    assert [source for source, _, _ in results] == HOSTILE
    assert not [outcome for _, outcome, _ in results if any(word in outcome for word in TELLTALES)]
    assert {outcome for source, outcome, _ in results if source in ENDLESS} == {"time"}
    # Stopped in time, however busy the machine is: a process cannot use more of it than its limit.
    assert limits.seconds == seconds and started > 1
    stopped = sum(outcome in ("time", "memory", "output", "size") for _, outcome, _ in results)
    assert children_seconds() - before <= stopped * seconds + started * START_SECONDS


def test_escapes_are_refused_with_their_line() -> None:
    with Renderer() as renderer:
        results = attack(renderer, ["\n" + source for source in ESCAPES])
        assert renderer.num_started == 1
    for source, outcome, line in results:
        harmless = outcome.startswith(("malformed", "ok"))
        assert harmless or (outcome == "refused" and line == 2), (source, outcome, line)
    refused = sum(outcome == "refused" for _, outcome, _ in results)
    assert refused >= 70


def test_endless_work_is_stopped_with_its_line() -> None:
    with Renderer(RenderLimits(seconds=0.8)) as renderer:
        results = attack(renderer, ENDLESS)
    assert {outcome for _, outcome, _ in results} == {"time"}
    assert [line for _, _, line in results] == [1, 1, 1, 1, 1, 3]


def test_a_stuck_operation_costs_one_process_and_the_next_starts() -> None:
    with Renderer(RenderLimits(seconds=0.4)) as renderer:
        attack(renderer, ENDLESS[-1:])
        assert still_renders(renderer)
        assert renderer.num_started >= 2


def test_too_much_is_stopped() -> None:
    with Renderer(RenderLimits(seconds=1.0)) as renderer:
        results = attack(renderer, TOO_MUCH)
        assert still_renders(renderer)
    assert {outcome for _, outcome, _ in results} <= {"memory", "output", "size", "refused", "time"}


@pytest.mark.parametrize(
    ("source", "printed"),
    [
        ("{% set l = [] %}{% set _ = l.append('a') %}{% set _ = l.extend(['b']) %}{{ l|join }}", "ab"),
        ("{% set d = {} %}{% set _ = d.update({'k': 'v'}) %}{{ d.pop('k') }}{{ d|length }}", "v0"),
        (
            "{% set n = namespace(v=1) %}{% for a in [1, 2] %}{% set n.v = n.v + a %}{% endfor %}{{ n.v }}",
            "4",
        ),
        ("{% for a, b in zip([1, 2], 'xy') %}{{ a }}{{ b }}{% endfor %}", "1x2y"),
        ("{{ ['b', 'a', 'b']|most_frequent|join }}", "b"),
        ("{{ ['only']|choice }}{{ ['one']|random }}", "onlyone"),
        ("{{ 'a'|highlight }}", "<span style='color: #F08080'>a</span>"),
        ("{{ x.split()[0].lower().replace('t', 'T') }}", "TexT"),
        ("{{ {'a': 1}.items()|list|length }}{{ {'a': 1}.keys()|list|first }}", "1a"),
        ("{{ '%s-%d'|format('a', 3) }}", "a-3"),
        ("{{ 2 ** 10 }}{{ 'ab' * 2 }}", "1024abab"),
        ("{{ answer_choices }}", "['no', 'yes']"),
    ],
)
def test_published_habits_are_allowed(source: str, printed: str) -> None:
    template = Template.new("habit", source + " ||| t", "no ||| yes")
    assert template.apply({"x": "Text here"}).input == printed
