"""`hortus topics`: fit topic models, choose their number, run Monte Carlo studies, show results."""

from __future__ import annotations

import json as json_format
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import cyclopts
from cyclopts import Parameter

from hortus.config import from_mapping, load_yaml, override
from hortus.errors import ArtifactError
from hortus.report import Block, Table, Text, write_report
from hortus.topics.config import (
    ModelConfig,
    SelectConfig,
    SimulateConfig,
    TextConfig,
    parse_candidates,
)

if TYPE_CHECKING:
    from hortus.topics.formats import Corpus

__all__ = ["app", "fit", "report", "select", "simulate"]

app = cyclopts.App(name="topics", help="Fit topic models and choose their number.")

MODEL, SELECT = ModelConfig(), SelectConfig()
Switch = Parameter(negative=())
Json = Annotated[bool, Parameter(name="--json", negative=())]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Reading(TextConfig):
    """How the corpus is read.

    Args:
        column: Field of .jsonl, .csv or .tsv that holds the text; a number from 0 where there is no header.
        vocabulary: File with one word a line, for LDA-C and .npz counts.
        orientation: Rows of .npz counts: documents, words, or auto (refuses what looks turned).
        fractional: Counts that are not whole: refuse or round.
    """

    column: str = "text"
    vocabulary: Path | None = None
    orientation: str = "auto"
    fractional: str = "refuse"

    def read(self, path: Path) -> Corpus:
        """Read the corpus and echo its sizes and what was removed."""
        from hortus.topics.formats import read_corpus

        options = {
            name: getattr(self, name) for name in ("column", "vocabulary", "orientation", "fractional")
        }
        corpus = read_corpus(path, texts=self, **options)
        for name, value in corpus.report.items():
            shown = f"{value:.1f}" if isinstance(value, float) else value
            print(f"{name.replace('_', ' ')}: {shown}", file=sys.stderr)
        return corpus


PLAIN = Reading()


@app.command
def fit(
    data: Path,
    *,
    topics: int,
    out: Path,
    method: str = MODEL.method,
    sweeps: int = MODEL.num_sweeps,
    restarts: int = 1,
    threads: int = 0,
    optimize_priors: str = MODEL.optimize_priors,
    average: Annotated[bool, Switch] = False,
    seed: int = 1,
    reading: Reading = PLAIN,
    json: Json = False,
) -> None:
    """Fit one model and write it, with an interactive map, into a folder.

    Args:
        data: A folder of .txt files, or a .jsonl, .csv, .tsv, .ldac or .npz file (.gz too, but for .npz).
        topics: Number of topics.
        out: Folder for the model.
        method: gibbs or variational.
        sweeps: Sweeps of the sampler, or most iterations of the variational method.
        restarts: Fits; the best is kept.
        threads: Threads that share the documents; 0 for one a core.
        optimize_priors: none, symmetric or asymmetric.
        average: Average over kept sweeps instead of taking the last.
        seed: The same seed and threads give the same model.
        json: Print one JSON object.
    """
    from hortus.topics.lda import LatentDirichletAllocation
    from hortus.topics.pages import topics_table, write_map

    corpus = reading.read(data)
    model = LatentDirichletAllocation(
        topics,
        method=method,
        num_sweeps=sweeps,
        restarts=restarts,
        num_threads=threads or _cores(),
        optimize_priors=optimize_priors,
        average=average,
        random_state=seed,
    )
    model.fit(corpus.matrix, vocabulary=corpus.vocabulary, progress=_sweep_line)
    print(file=sys.stderr)
    model.save(out)
    write_map(model, out / "map.html")
    numbers = {
        "model": str(out),
        "num_topics": topics,
        "log_likelihood": model.log_likelihood_,
        "log_likelihood_per_token": model.log_likelihood_ / model.corpus_["tokens"],
        "corpus": corpus.report,
        "top_words": model.top_words(),
    }
    _show(numbers, [topics_table(model)], json)


@app.command
def select(
    data: Path,
    *,
    candidates: str = "2:30:2",
    out: Path,
    restarts: int = SELECT.restarts,
    keep: str = SELECT.keep,
    criteria: Annotated[tuple[str, ...], Parameter(consume_multiple=True, negative=())] = (),
    held_out: float = SELECT.held_out,
    sweeps: int = MODEL.num_sweeps,
    method: str = MODEL.method,
    jobs: int = SELECT.jobs,
    warm_start: Annotated[bool, Switch] = False,
    convention: str = SELECT.convention,
    seed: int = SELECT.seed,
    reading: Reading = PLAIN,
    json: Json = False,
) -> None:
    """How many topics? Fit a grid, judge it by every criterion, write a report and a map.

    The same call after an interruption goes on from the fits in the folder.

    Args:
        data: A folder of .txt files, or a .jsonl, .csv, .tsv, .ldac or .npz file (.gz too, but for .npz).
        candidates: Numbers of topics: first:last:step, or a list as 5,10,20.
        out: Folder for fits, report.html, map.html, table.csv, selection.json and the model.
        restarts: Fits of each number.
        keep: The fit to judge: best or median.
        criteria: Names; all when left out.
        held_out: Share of the documents kept for held-out perplexity.
        sweeps: Sweeps of each fit.
        method: gibbs or variational.
        jobs: Fits at a time; 0 for one a core.
        warm_start: Start each number from the fit of the one before.
        convention: Rank in the learning coefficients: exact or authors.
        seed: The same seed gives the same table, whatever the jobs.
        json: Print one JSON object.
    """
    from hortus.topics.pages import selection_numbers, write_selection
    from hortus.topics.selection import select_num_topics

    config = SelectConfig(
        candidates=parse_candidates(candidates),
        restarts=restarts,
        keep=keep,
        criteria=criteria,
        held_out=held_out,
        jobs=jobs,
        warm_start=warm_start,
        convention=convention,
        seed=seed,
        model=ModelConfig(num_sweeps=sweeps, method=method),
    )
    corpus = reading.read(data)
    selection = select_num_topics(
        corpus.matrix,
        config=config,
        vocabulary=corpus.vocabulary,
        tokens=corpus.tokens,
        folder=out,
        progress=_share_line,
    )
    print(file=sys.stderr)
    places = write_selection(selection, out)
    rows = [[name, *map(float, selection.table[name])] for name in selection.table.columns]
    values = Table("Values", ["criterion", *map(str, selection.table.index)], rows)
    choices = Table("Choices", ["criterion", "topics"], [[n, k] for n, k in selection.chosen.items()])
    numbers = {
        **selection_numbers(selection),
        "table": {row[0]: dict(zip(values.columns[1:], row[1:], strict=True)) for row in rows},
        "files": {name: str(path) for name, path in places.items()},
    }
    answer = Text("", f"{selection.recommendation.text}\nReport: {places['report']}")
    _show(numbers, [values, choices, answer], json)


@app.command
def simulate(
    recipe: Path,
    *,
    out: Path,
    set: Annotated[tuple[str, ...], Parameter(name="--set", negative=())] = (),
    minutes: float | None = None,
    json: Json = False,
) -> None:
    """Run a Monte Carlo study of the criteria, or go on with one.

    Args:
        recipe: A YAML file, as recipes/topics-montecarlo.yaml.
        out: Folder for replications, summary.csv, strengths.json and report.html.
        set: Settings to change, as --set replications=2.
        minutes: Begin no replication after so long; the same call later goes on.
        json: Print one JSON object.
    """
    from hortus.artifact import write_json
    from hortus.device import describe_machine
    from hortus.topics.simulation import read_results
    from hortus.topics.simulation import simulate as run
    from hortus.topics.study import strengths, study_blocks

    config = from_mapping(SimulateConfig, override(load_yaml(recipe), set))
    summary = run(config, out, _share_line, None if minutes is None else 60 * minutes)
    print(file=sys.stderr)
    if summary is None:
        numbers = {"finished": False, "replications": len(read_results(config, out)), "folder": str(out)}
        _show(numbers, [Text("", "Time ran out; the same call goes on with the study.")], json)
        return
    summary.to_csv(out / "summary.csv", index=False)
    write_json(out / "strengths.json", strengths(config, summary))
    blocks = study_blocks(config, summary, read_results(config, out))
    write_report(out / "report.html", "Monte Carlo study of the number of topics", blocks, describe_machine())
    numbers = {"finished": True, "folder": str(out), "summary": summary.to_dict(orient="records")}
    _show(numbers, blocks[0][1], json)


@app.command
def report(folder: Path, *, json: Json = False) -> None:
    """Show what a selection's or a model's folder holds.

    Args:
        folder: What `select` or `fit` wrote.
        json: Print one JSON object.
    """
    from hortus.artifact import read_json
    from hortus.topics.lda import LatentDirichletAllocation
    from hortus.topics.pages import topics_table

    place = folder / "selection.json"
    if place.exists():
        found = read_json(place)
        model = LatentDirichletAllocation.load(folder / "model")
        choices = Table("Choices", ["criterion", "topics"], [[n, k] for n, k in found["chosen"].items()])
        _show(found, [choices, topics_table(model), Text("", found["recommendation"])], json)
        return
    if not (folder / "config.json").exists():
        raise ArtifactError(f"{folder} holds neither a selection nor a model", do="run hortus topics select")
    model = LatentDirichletAllocation.load(folder)
    _show({"corpus": model.corpus_, "top_words": model.top_words()}, [topics_table(model)], json)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _sweep_line(sweep: int, total: int) -> None:
    print(f"\rsweep {sweep} of {total} ", end="", file=sys.stderr, flush=True)


def _share_line(what: str, share: float, seconds_left: float) -> None:
    minutes, seconds = divmod(round(seconds_left), 60)
    print(f"\r{share:4.0%} {what}, {minutes}:{seconds:02d} left   ", end="", file=sys.stderr, flush=True)


def _show(numbers: dict[str, Any], blocks: Sequence[Block], as_json: bool) -> None:
    """Print one JSON object, or the tables and texts of the blocks."""
    if as_json:
        print(json_format.dumps(_finite(numbers), ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table as RichTable

    # Piped output keeps its rows whole; on a terminal rich folds to the window.
    console = Console(width=None if sys.stdout.isatty() else 240, highlight=False, markup=False)
    for block in blocks:
        if isinstance(block, Text):
            console.print(block.body, soft_wrap=True)
        elif isinstance(block, Table):
            table = RichTable(title=block.title, title_justify="left", box=None, pad_edge=False)
            for column in block.columns:
                table.add_column(str(column), overflow="fold")
            for row in block.rows:
                table.add_row(*(f"{v:.6g}" if isinstance(v, float) else str(v) for v in row))
            console.print(table)


def _finite(value: Any) -> Any:
    """JSON has no NaN: null stands for it."""
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
