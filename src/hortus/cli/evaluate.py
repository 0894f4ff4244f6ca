"""hortus evaluate: score a model on tasks, with prompts, spread and errors."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from hortus.artifact import replacing_file, write_json

if TYPE_CHECKING:
    from hortus.evaluation import Evaluation


def evaluate(
    model: str,
    tasks: Annotated[tuple[Path, ...], Parameter(negative=())],
    *,
    against: str | None = None,
    limit: int | None = None,
    num_fewshot: int = 0,
    fewshot_split: str | None = None,
    mutual_info: Annotated[bool, Parameter(negative=())] = False,
    cache: Path | None = None,
    output: Path | None = None,
    samples: Path | None = None,
    seed: int = 1234,
    json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> int:
    """Score a model on tasks; with --against, compare it with another one on the same documents.

    Parameters
    ----------
    model
        Artifact folder or hub id.
    tasks
        Task files: a yaml with a list `tasks` of prompted datasets, BIG-bench's task.json, or rows
        (jsonl, csv, parquet) of multiple choice, minimal pairs, CrowS-Pairs or texts.
    against
        A second model, for a paired bootstrap of the difference.
    limit
        The first rows of each dataset only.
    num_fewshot
        Answered examples before each prompt of prompted datasets.
    fewshot_split
        The split that the examples come from.
    mutual_info
        Also compare choices by how much the prompt raises them (acc_mutual_info); doubles the work.
    cache
        A file in which answers are kept between runs.
    output
        Write the results here, in lm-evaluation-harness's shape.
    samples
        Write every document with its answer here, one JSON object a line.
    seed
        Seed of few-shot draws and resampling.
    json
        Print one JSON object instead of the table.
    """
    import hortus
    from hortus.evaluation import evaluate as score

    found = []
    for name in [model] if against is None else [model, against]:
        found.append(
            score(
                hortus.load(name),
                list(tasks),
                limit=limit,
                num_fewshot=num_fewshot,
                fewshot_split=fewshot_split,
                mutual_info=mutual_info,
                cache=cache,
                seed=seed,
                progress=True,
            )
        )
    result = found[0]
    comparison = result.compare(found[1]) if against is not None else {}
    whole = result.to_json()
    if against is not None:
        whole["comparison"] = {
            "against": against,
            "tasks": {name: vars(one) for name, one in comparison.items()},
        }
    if output is not None:
        write_json(output, whole)
    if samples is not None:
        with replacing_file(samples) as temporary, temporary.open("w", encoding="utf-8") as file:
            for sample in result.samples():
                file.write(json_format.dumps(sample, ensure_ascii=False) + "\n")
    if json:
        print(json_format.dumps(whole, ensure_ascii=False))
    else:
        _print_tables(result, found[1:])
    return 0


def _print_tables(result: Evaluation, others: list[Evaluation]) -> None:
    console = Console()
    rows = result.rows()
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*(f"{v:.4f}" if isinstance(v, float) else str(v) for v in row.values()))
    console.print(table)
    for other in others:
        table = Table("task", "difference", "stderr", "95 %", title="against the other model")
        for name, one in result.compare(other).items():
            interval = f"{one.low:+.4f} to {one.high:+.4f}"
            table.add_row(name, f"{one.difference:+.4f}", f"{one.standard_error:.4f}", interval)
        console.print(table)
    print(f"{result.num_asked} questions asked, {result.num_cached} answered from the cache")
