"""The recipe stage `counterfactual`: compare methods on a table, fit VCNet on all of it, show changes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pandas as pd

from hortus.artifact import ModelCard
from hortus.counterfactual.cards import changes_in_words, report_blocks
from hortus.counterfactual.comparison import evaluate
from hortus.counterfactual.config import StageConfig
from hortus.counterfactual.vcnet import VCNet
from hortus.errors import DataError
from hortus.recipe import Stage, StageContext, StageResult
from hortus.report import Block, Samples, Table, Text

__all__ = ["STAGE", "read_table"]


def read_table(data: str | Path) -> pd.DataFrame:
    """A CSV file, or the table "breast-cancer" that scikit-learn brings (569 rows, diagnosis M or B).

    Raises:
        DataError: the file is not there, or is no CSV with a header.
    """
    if str(data) == "breast-cancer":
        from sklearn.datasets import load_breast_cancer

        bunch = load_breast_cancer(as_frame=True)
        names = {name: name.replace(" ", "_") for name in bunch.data.columns}
        return bunch.data.rename(columns=names).assign(diagnosis=bunch.target.map({0: "M", 1: "B"}))
    try:
        return pd.read_csv(data)
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        line = str(error).strip().splitlines()[0]
        raise DataError(f"cannot read {data}: {line}", allowed="a CSV file with a header line") from error


def _run(config: StageConfig, context: StageContext) -> StageResult:
    frame = read_table(config.data)
    options: dict[str, Any] = {"preset": config.preset, "epochs": config.epochs}
    evaluation = evaluate(
        frame,
        config.target,
        config.methods,
        immutable=config.immutable,
        splits=config.splits,
        rows=config.rows,
        seed=config.seed,
        options=options,
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )
    table, y = frame.drop(columns=config.target), frame[config.target]
    model = VCNet(immutable=config.immutable, random_state=config.seed, **options).fit(table, y)
    results = {name: float(value) for name, value in evaluation.table.iloc[0].items() if value == value}
    model.card = ModelCard(
        name=f"VCNet for {config.target}",
        kind=model.kind,
        data=f"{config.data}: {len(frame)} rows, {table.shape[1]} columns.",
        results=results,
        **model.training_.footprint,
    )
    model.save(context.folder / "model", recipe=context.recipe)
    answer = model.explain(table.iloc[: config.cards])
    items = [
        (f"row {place}: {y.iloc[place]}", changes_in_words(table.iloc[place], answer.iloc[place]))
        for place in range(len(answer))
    ]
    blocks: list[Block] = []
    for heading, section in report_blocks(evaluation, config.target, cards=config.cards):
        blocks += [Text(heading, ""), *section]
    columns = model.columns_
    blocks.append(
        Table("Columns, as they were taken", list(columns.columns), columns.astype(str).values.tolist())
    )
    blocks.append(Samples("The saved model's answers", items))
    numbers = {"model": str(context.folder / "model"), **results}
    return StageResult(numbers=numbers, blocks=blocks)


STAGE = Stage(config=StageConfig, run=_run, files=lambda config: config.files())
