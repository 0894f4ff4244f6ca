"""hortus retrieval: index a corpus, probe a model, choose when to look things up."""

from __future__ import annotations

import json as json_format
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import cyclopts
from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from hortus.errors import ConfigError
from hortus.retrieval.config import ProbeConfig

if TYPE_CHECKING:
    from hortus.retrieval.questions import Question

__all__ = ["app"]

app = cyclopts.App(name="retrieval", help="Probe what a model knows; retrieve where it pays.")
_Json = Annotated[bool, Parameter(name="--json", negative=())]


@app.command
def index(
    folder: Path,
    sources: Annotated[tuple[Path, ...], Parameter(negative=())],
    *,
    words: int = 100,
    language: str = "en",
    stem: Annotated[bool, Parameter(negative=())] = False,
    k1: float = 0.9,
    b: float = 0.4,
    processes: int = 2,
    encoder: str | None = None,
    question_prefix: str = "",
    passage_prefix: str = "",
    json: _Json = False,
) -> int:
    """Index a corpus for BM25, or by an encoder; a run that was broken off goes on where it was.

    Parameters
    ----------
    folder
        Where the index goes.
    sources
        .txt, .jsonl, .parquet files, or a wiki's dump (.xml, .xml.bz2).
    words
        Longer documents are cut after so many words; 0 keeps them whole.
    language
        Whose stop words are dropped (ISO 639-1); "none" drops none.
    stem
        Compare stems of words.
    k1
        BM25's saturation.
    b
        BM25's length normalisation.
    processes
        That split texts into words.
    encoder
        A model whose embeddings are compared instead of words: a folder or a hub id.
    question_prefix
        Put before questions for the encoder, such as "query: ".
    passage_prefix
        Put before passages for the encoder, such as "passage: ".
    json
        Print one JSON object.
    """
    from hortus.retrieval.bm25 import Bm25Config, Bm25Index, build_bm25
    from hortus.retrieval.dense import DenseConfig, DenseIndex, build_dense
    from hortus.retrieval.passages import read_passages

    built: Bm25Index | DenseIndex
    passages = read_passages(sources, words=words or None)
    config = Bm25Config(
        language=None if language == "none" else language, stem=stem, k1=k1, b=b, processes=processes
    )
    if encoder is None:
        built = build_bm25(passages, folder, config, progress=True)
    else:
        by = DenseConfig(encoder=encoder, question_prefix=question_prefix, passage_prefix=passage_prefix)
        built = build_dense(passages, folder, by, progress=True)
    _print({"passages": len(built.passages), "corpus": built.corpus, "folder": str(folder)}, json)
    return 0


@app.command
def search(
    folder: Path,
    question: str,
    *,
    k: Annotated[int, Parameter(name=["--k", "-k"])] = 5,
    json: _Json = False,
) -> int:
    """Print the best passages for a question.

    Parameters
    ----------
    folder
        An index.
    question
        What to look for.
    k
        How many passages.
    json
        Print one JSON object.
    """
    from hortus.retrieval.dense import open_index

    hits = open_index(folder).search([question], k)[0]
    if json:
        rows = [{"score": hit.score, **vars(hit.passage)} for hit in hits]
        print(json_format.dumps({"passages": rows}, ensure_ascii=False))
        return 0
    for hit in hits:
        print(f"{hit.score:8.3f}  {hit.passage.id}  {hit.passage.title}\n          {hit.passage.text}")
    return 0


@app.command
def recall(folder: Path, questions: str, *, id_column: str | None = None, json: _Json = False) -> int:
    """Print recall at 1, 5 and 20: how often the first passages hold an answer.

    Parameters
    ----------
    folder
        An index.
    questions
        A question set: a file, or a dataset's id on the hub.
    id_column
        The column of the questions' ids.
    json
        Print one JSON object.
    """
    from hortus.retrieval.dense import open_index
    from hortus.retrieval.questions import load_questions
    from hortus.retrieval.recall import recall_at

    asked = load_questions(questions, id_column=id_column)
    found = open_index(folder).search([one.question for one in asked], 20)
    values = {f"recall@{k}": value for k, value in recall_at(asked, found).items()}
    _print({"questions": len(asked), **values}, json)
    return 0


@app.command
def probe(
    model: str,
    questions: str,
    *,
    output: Path,
    index: Path | None = None,
    training: str | None = None,
    popularity: Path | None = None,
    mentions: Annotated[bool, Parameter(negative=())] = False,
    id_column: str | None = None,
    limit: int | None = None,
    cache: Path | None = None,
    genread: Annotated[bool, Parameter(negative=())] = False,
    config: Annotated[ProbeConfig | None, Parameter(name="*")] = None,
    json: _Json = False,
) -> int:
    """Ask a model every question, with and without a passage, and keep what it answered.

    Parameters
    ----------
    model
        A folder, a hub id, or the address of an OpenAI-compatible endpoint (http://.../v1).
    questions
        A question set: a file, or a dataset's id on the hub.
    output
        Where the results go (.parquet), for `hortus retrieval adapt`.
    index
        Passages come from here.
    training
        A question set that examples are drawn from instead of the scored one.
    popularity
        A file of lines "name, tab, number", such as page views, instead of the data's popularity.
    mentions
        Take the number of the index's passages that name the subject for its popularity.
    id_column
        The column of the questions' ids.
    limit
        The first questions only.
    cache
        A file in which answers are kept; a run that was broken off goes on with it.
    genread
        The model writes the passage itself.
    config
        How questions are put.
    json
        Print one JSON object.
    """
    from hortus.language import RemoteModel
    from hortus.retrieval import probing
    from hortus.retrieval.questions import load_questions
    from hortus.retrieval.results import results_of, write_results

    if genread == (index is not None):
        raise ConfigError("passages need one source", allowed="--index FOLDER or --genread")
    if mentions and index is None:
        raise ConfigError("--mentions without --index", do="give the index whose passages are counted")
    asked = load_questions(questions, id_column=id_column)[:limit]
    pool = None if training is None else load_questions(training, id_column=id_column)
    remote = model.startswith(("http://", "https://"))
    opened: Any = RemoteModel(model) if remote else _open(model)
    shown = [*asked, *(pool or [])]
    passages, corpus = _passages(opened, shown, index, cache)
    asked = _with_popularity(asked, popularity, index if mentions else None)
    settings = config or ProbeConfig()
    sides = [
        probing.probe(opened, asked, settings, pool=pool, passages=texts, cache=cache, progress=True)
        for texts in (None, passages)
    ]
    network = getattr(opened, "network", None)
    result = results_of(
        *sides,
        model=opened.name if remote else Path(model).name,
        index=corpus,
        parameters=0 if network is None else sum(p.numel() for p in network.parameters()),
    )
    write_results([result], output)
    summary: dict[str, Any] = {"model": result.model, "questions": len(result)}
    for name, side in zip(("without", "with"), sides, strict=True):
        summary |= {f"{metric} {name} passage": float(v.mean()) for metric, v in side.scores.items()}
    aside = sum(one.popularity is None for one in asked)
    _print(summary | {"recall@1": float(result.hits.mean()), "popularity unknown": aside}, json)
    return 0


def _open(model: str) -> Any:
    from hortus.cli.generate import open_model

    return open_model(model, "auto", "auto")


def _passages(
    model: Any, questions: list[Question], index: Path | None, cache: Path | None
) -> tuple[dict[str, str], str]:
    """Question's id -> passage, and the hash of the corpus."""
    if index is None:
        from hortus.retrieval.probing import write_passages

        return write_passages(model, questions, cache=cache, progress=True), ""
    from hortus.retrieval.dense import open_index

    opened = open_index(index)
    found = opened.search([one.question for one in questions])
    pairs = zip(questions, found, strict=True)
    return {one.id: hits[0].passage.text for one, hits in pairs if hits}, opened.corpus


def _with_popularity(questions: list[Question], views: Path | None, index: Path | None) -> list[Question]:
    from hortus.retrieval.popularity import count_mentions, read_page_views, with_popularity

    if views is not None:
        return with_popularity(questions, read_page_views(views))
    if index is None:
        return questions
    from hortus.retrieval.dense import open_index

    store = open_index(index).passages
    texts = (text for start in range(0, len(store), 10_000) for text in store.texts(start, start + 10_000))
    counts = count_mentions(texts, [one.subject for one in questions])
    return with_popularity(questions, {name: float(count) for name, count in counts.items()})


@app.command
def adapt(
    results: Path,
    *,
    gate: Path | None = None,
    by: Literal["popularity", "confidence", "logistic"] = "popularity",
    report: Path | None = None,
    cost: float = 0.0,
    min_rows: int = 1,
    shrink: float = 0.0,
    splits: int = 100,
    seed: int = 633,
    json: _Json = False,
) -> int:
    """Choose when to retrieve, on what `hortus retrieval probe` wrote, and compare rules on unseen questions.

    Parameters
    ----------
    results
        The output of `hortus retrieval probe`.
    gate
        Write the rule here, for `hortus serve --retrieval INDEX --gate GATE`.
    by
        What the rule that is written compares.
    report
        Write the whole report here, as one HTML page.
    cost
        What a retrieval costs, in right answers: 0.05 is worth it where it mends one answer in twenty.
    min_rows
        Relations with fewer questions take the threshold of all together.
    shrink
        So many further rows, spread over all questions, vote in each relation.
    splits
        Random splits, three quarters to choose on and the rest to score on.
    seed
        Of the splits.
    json
        Print one JSON object.
    """
    from hortus.retrieval.adaptation import compare_gates
    from hortus.retrieval.answering import Gate
    from hortus.retrieval.results import read_results

    read = read_results(results)
    scores = [compare_gates(one.evidence, splits=splits, price=cost, seed=seed) for one in read]
    if gate is not None:
        if len(read) > 1:
            raise ConfigError(f"{results} holds {len(read)} models", do="probe one model for a gate")
        Gate.choose(read[0], by, price=cost, min_rows=min_rows, shrink=shrink).save(gate)
    if report is not None:
        _write_report(report, read, scores)
    whole = (
        {"gates": [asdict(score) for score in scores[0]]}
        if len(read) == 1
        else {
            "models": {one.model: [asdict(s) for s in mine] for one, mine in zip(read, scores, strict=True)}
        }
    )
    if json:
        print(json_format.dumps(whole))
        return 0
    for one, mine in zip(read, scores, strict=True):
        table = Table("gate", "accuracy", "error", "retrieved", "gain", "error", title=one.model)
        for s in mine:
            numbers = (s.accuracy, s.accuracy_error, s.share_retrieved, s.gain, s.gain_error)
            table.add_row(s.gate, *(f"{value:.4f}" for value in numbers))
        Console().print(table)
    return 0


def _write_report(path: Path, results: list[Any], scores: list[Any]) -> None:
    from hortus.device import describe_machine
    from hortus.report import write_report
    from hortus.retrieval.page import blocks_of, summary

    blocks = [*(summary(one) for one in results), *blocks_of(results, scores)]
    write_report(
        path, "What the model knows, and when to look it up", [("Retrieval", blocks)], describe_machine()
    )


def _print(values: dict[str, Any], json: bool) -> None:
    if json:
        print(json_format.dumps(values, ensure_ascii=False))
        return
    for name, value in values.items():
        print(f"{name}: {value:.4f}" if isinstance(value, float) else f"{name}: {value}")
