"""A plan as blocks of a report: the choice, its cost, all candidates with their verdicts, the curves."""

from __future__ import annotations

import math
from typing import Any

from hortus.budget.laws import CHINCHILLA, KAPLAN, Law, over_training
from hortus.budget.planning import Candidate, Plan
from hortus.report import Block, Curves, Table, Text

__all__ = ["CANDIDATE_COLUMNS", "candidate_row", "cost_rows", "plan_sections", "warnings"]

CANDIDATE_COLUMNS = (
    "layers × width × heads",
    "parameters",
    "GB a device",
    "seconds a step",
    "TFLOP/s a device",
    "tokens, billions",
    "loss",
    "verdict",
)


def candidate_row(one: Candidate) -> list[Any]:
    """A row of the table of candidates."""
    memory, tokens = one.memory.total / 1e9, one.tokens / 1e9
    numbers = [round(memory, 1), round(one.step_seconds, 2), round(one.teraflops, 1), round(tokens, 1)]
    return [one.name, one.parameters, *numbers, round(one.loss, 4), one.verdict]


def cost_rows(plan: Plan) -> list[list[Any]]:
    """What the chosen run is and takes."""
    one, layout = plan.chosen, plan.chosen.layout
    recomputed = "recomputed" if layout.checkpointing else "kept"
    serving = [["hours set aside for serving", round(one.serving_hours)]] if one.serving_hours else []
    return [
        ["devices", f"{plan.gpus} × {plan.device.name}"],
        [
            "data × tensor × pipeline parallel",
            f"{layout.data_parallel} × {layout.tensor_parallel} × {layout.pipeline_parallel}",
        ],
        ["ZeRO stage, micro-batch", f"{layout.zero_stage}, {layout.micro_batch}, activations {recomputed}"],
        ["batch, sequences", one.batch_size],
        ["steps", one.steps],
        ["tokens", f"{one.tokens:,.0f}"],
        ["training FLOP (6·N·D)", f"{plan.training_flops:.3g}"],
        ["share of the peak, model FLOP", f"{one.utilization:.1%}"],
        ["tokens a second", round(one.batch_size * plan.config.sequence_length / one.step_seconds)],
        ["time not lost to failures", f"{plan.goodput:.1%}"],
        ["days", round(one.days, 1)],
        ["device hours", round(one.hours)],
        *serving,
        ["energy, kWh", round(plan.energy_kwh, 1)],
        ["carbon, kg CO2e", round(plan.carbon_kg, 1)],
        ["grid", str(plan.grid)],
        ["cost, US dollars", round(plan.cost)],
    ]


def warnings(plan: Plan) -> list[str]:
    """What a reader of the plan must know, in sentences."""
    notes = []
    stretched = plan.law.stretched(plan.training_flops)
    if stretched is not None and stretched > 10:
        notes.append(
            f"The law was fitted to budgets {stretched:,.0f} times smaller than this one: its loss and its "
            "optimum are far outside what was seen."
        )
    if plan.chosen.layout.pipeline_parallel > 1:
        notes.append(
            "The plan needs pipeline parallelism, which hortus does not do: train it with Megatron, whose "
            "arguments are given."
        )
    over = [use for use in plan.supply.uses(plan.chosen.tokens) if use.epochs > 4]
    if over:
        named = ", ".join(f"{use.language} {use.epochs:.0f} times" for use in over[:6])
        notes.append(f"Text read more than four times teaches less and less: {named}.")
    return notes


def plan_sections(plan: Plan, most: int) -> list[tuple[str, list[Block]]]:
    """The page's sections, with at most that many candidates."""
    one, config = plan.chosen, plan.config
    rule = (
        f"the largest shape that sees {config.tokens:,.0f} tokens in the hours; within 5 % of it the fastest"
        if config.tokens
        else f"the lowest loss by the law {plan.law.name!r}; within 0.1 % of it the smallest"
    )
    choice = (
        f"{one.name}: {one.parameters:,} parameters on {one.tokens:,.0f} tokens. The rule: {rule}, among "
        "shapes that pass depth, head, division, memory and text limits."
    )
    rows = [candidate_row(candidate) for candidate in plan.candidates[:most]]
    sections: list[tuple[str, list[Block]]] = [
        ("The choice", [Text("", "\n\n".join([choice, *warnings(plan)])), _table("", cost_rows(plan))]),
        ("Candidates", [Table("", CANDIDATE_COLUMNS, rows)]),
        ("Laws", [_optima(plan), _loss_curves(plan), _over_training(plan)]),
    ]
    if plan.supply.unique:
        sections.append(("Text", [_languages(plan)]))
    return sections


def _table(title: str, rows: list[list[Any]]) -> Table:
    return Table(title, ["what", "value"], rows)


def _laws(plan: Plan) -> list[Law]:
    return [plan.law, *(law for law in (CHINCHILLA, KAPLAN) if law.name != plan.law.name)]


def _optima(plan: Plan) -> Table:
    rows = []
    for law in _laws(plan):
        size, tokens = law.optimum(plan.training_flops)
        rows.append([law.name, size / 1e9, tokens / 1e9, law.loss(size, tokens), law.origin])
    title = f"Best size and tokens of {plan.training_flops:.3g} FLOP"
    return Table(title, ["law", "parameters, billions", "tokens, billions", "loss", "origin"], rows)


def _loss_curves(plan: Plan) -> Curves:
    """Loss by size when all of the chosen run's FLOP go into one model; text read again counts less."""
    centre = math.log10(plan.chosen.parameters)
    xs = [centre - 1.5 + step / 10 for step in range(31)]
    series: dict[str, tuple[list[float], list[float]]] = {}
    for law in _laws(plan):
        tokens = [plan.training_flops / 6 / 10**x for x in xs]
        series[law.name] = (xs, [law.loss(10**x, d) for x, d in zip(xs, tokens, strict=True)])
        if plan.supply.unique:
            ys = [law.loss(10**x, plan.supply.worth(d)) for x, d in zip(xs, tokens, strict=True)]
            series[f"{law.name}, on this text"] = (xs, ys)
    return Curves("Loss by size at equal FLOP", "log10 of parameters", "loss, nats a token", series)


def _over_training(plan: Plan) -> Table:
    """Smaller models trained to the loss of the compute-optimal one."""
    rows: list[list[Any]] = []
    for share in (0.75, 0.5, 0.35, 0.25):
        smaller = over_training(plan.law, plan.training_flops, share)
        if smaller is None:
            rows.append([f"{share:.0%}", None, None, "never reaches that loss", None])
            continue
        extra, pays = f"{smaller.extra_training:+.0%}", smaller.pays_after / 1e9
        rows.append([f"{share:.0%}", smaller.parameters / 1e9, smaller.tokens / 1e9, extra, pays])
    columns = ["of the best size", "parameters, billions", "tokens, billions", "training FLOP"]
    return Table("Over-training to the same loss", [*columns, "pays after tokens served, billions"], rows)


def _languages(plan: Plan) -> Table:
    rows = [
        [use.language, use.unique / 1e9, use.seen / 1e9, round(use.epochs, 2), use.worth / use.seen]
        for use in sorted(plan.supply.uses(plan.chosen.tokens), key=lambda use: -use.unique)
    ]
    columns = [
        "language",
        "tokens there are, billions",
        "seen, billions",
        "times read",
        "worth of what is seen",
    ]
    return Table("Text by language", columns, rows)
