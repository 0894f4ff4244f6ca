"""`hortus corpus`: build a corpus, look at it, tune its filters, report, deduplicate, redact, mix."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import cyclopts
from cyclopts import Parameter

from hortus.config import from_mapping, load_yaml, override, to_mapping
from hortus.corpus.config import CorpusConfig
from hortus.errors import ConfigError
from hortus.report import Table

__all__ = ["app", "build", "dedup", "inspect", "mix", "print_table", "redact", "report", "tune"]

app = cyclopts.App(name="corpus", help="Build a clean corpus from files and folders.")
DEFAULTS = CorpusConfig()

Names = Annotated[tuple[str, ...], Parameter(consume_multiple=True, negative=())]
Flag = Annotated[bool, Parameter(negative=())]
Json = Annotated[bool, Parameter(name="--json", negative=())]


@app.command
def build(
    *,
    sources: Names,
    output: Path,
    steps: Names = DEFAULTS.steps,
    text_column: str = DEFAULTS.text_column,
    language_column: str = DEFAULTS.language_column,
    language: str | None = None,
    repair: Flag = False,
    min_characters: int = DEFAULTS.min_characters,
    validation_fraction: float = DEFAULTS.validation_fraction,
    seed: int = DEFAULTS.seed,
    engine: str = DEFAULTS.engine,
    workers: int | None = None,
    set: Annotated[tuple[str, ...], Parameter(name="--set", consume_multiple=True, negative=())] = (),
    json: Json = False,
) -> None:
    """Read sources, run the steps, hold documents out, write documents.parquet.

    Parameters
    ----------
    sources
        Folders, files, globs, catalogues (.yaml), hub:OWNER/NAME, or the built-in chatterbot and stdlib.
    output
        Folder for documents.parquet, dropped.parquet and statistics.json. Called again after a crash, the
        build goes on where it ended.
    steps
        Names of steps in their order, or of sets of them: light, roots.
    text_column
        Column of rows that holds the text.
    language_column
        Column that holds the language, where there is one.
    language
        Language of documents that name none; without it, it is identified.
    repair
        Read bytes that are not UTF-8 as Windows-1252 and what broken files still give, instead of stopping.
    min_characters
        Drop shorter documents.
    validation_fraction
        Share of documents held out.
    seed
        Another seed holds out other documents.
    engine
        local, ray (on this machine) or ray://HOST:PORT.
    workers
        Processes of the local engine; one a core by default.
    set
        Any other setting of the corpus, e.g. near.threshold=0.7
    json
        Print one JSON object.
    """
    config = replace(
        DEFAULTS,
        sources=sources,
        steps=steps,
        text_column=text_column,
        language_column=language_column,
        language=language,
        repair=repair,
        min_characters=min_characters,
        validation_fraction=validation_fraction,
        seed=seed,
        engine=engine,
        workers=workers,
    )
    _build(from_mapping(CorpusConfig, override(to_mapping(config), list(set))), output, json)


def _build(config: CorpusConfig, output: Path, as_json: bool) -> None:
    from hortus.corpus.build import build_corpus

    statistics = build_corpus(config, output, progress=_progress)
    size = f"{statistics.documents:,} documents, {statistics.num_bytes / 1e6:,.1f} MB"
    print(f"\n{size}", file=sys.stderr)
    _show(output, as_json)


@app.command
def dedup(
    *,
    sources: Names,
    output: Path,
    threshold: float = DEFAULTS.near.threshold,
    min_bytes: int | None = None,
    workers: int | None = None,
    json: Json = False,
) -> None:
    """Drop exact and near duplicates of a text collection; cut repeated substrings where asked.

    Parameters
    ----------
    sources
        As for build.
    output
        Folder for documents.parquet and what was dropped.
    threshold
        Jaccard similarity of word 5-grams from which documents are near duplicates.
    min_bytes
        Also cut repeats of this many bytes and more.
    workers
        Processes; one a core by default.
    json
        Print one JSON object.
    """
    steps = ("length", "language", "exact", "near", *(("repeats",) if min_bytes else ()))
    near = replace(DEFAULTS.near, threshold=threshold)
    repeats = replace(DEFAULTS.repeats, min_bytes=min_bytes) if min_bytes else DEFAULTS.repeats
    config = replace(DEFAULTS, sources=sources, steps=steps, near=near, repeats=repeats)
    _build(replace(config, workers=workers, validation_fraction=0.0), output, json)


@app.command
def redact(
    *,
    sources: Names = (),
    output: Path | None = None,
    categories: Names = (),
    numbered: Flag = False,
    measure: Flag = False,
    workers: int | None = None,
    json: Json = False,
) -> None:
    """Replace personal data by tokens, or measure how well that is done.

    Parameters
    ----------
    sources
        As for build.
    output
        Folder for documents.parquet.
    categories
        EMAIL, KEY, IP_ADDRESS, IBAN, CARD, PHONE, USER; all by default.
    numbered
        PI:EMAIL:1 and so on: one value keeps its number through a document.
    measure
        Print precision and recall on a generated set of 5,000 labelled documents instead.
    workers
        Processes; one a core by default.
    json
        Print one JSON object.
    """
    if measure:
        return _measure(json)
    if not sources or output is None:
        raise ConfigError("redact has no --sources or no --output", do="give both, or --measure")
    steps = ("length", "language", "privacy")
    config = replace(DEFAULTS, sources=sources, steps=steps, privacy=categories, numbered_tokens=numbered)
    return _build(replace(config, workers=workers, validation_fraction=0.0), output, json)


def _measure(as_json: bool) -> None:
    from hortus.corpus.privacy_set import labelled_documents, measure

    rates = measure(labelled_documents(5000, seed=1))
    if as_json:
        print(json.dumps(rates))
        return
    rows = [[name, *(round(value, 4) for value in of.values())] for name, of in rates.items()]
    print_table(Table("Redaction on the generated set", ["category", "labels", "precision", "recall"], rows))


@app.command(alias="stats")
def inspect(folder: Path, *, samples: int = 0, json: Json = False) -> None:
    """Show what a corpus holds, by language, step, source and licence.

    Parameters
    ----------
    folder
        What `hortus corpus build` wrote.
    samples
        Also show this many documents and dropped documents, with the reasons.
    json
        Print one JSON object.
    """
    _show(folder, json)
    if samples and not json:
        import pyarrow.parquet as pq

        for name, extra in (("documents", "split"), ("dropped", "reason")):
            with pq.ParquetFile(folder / f"{name}.parquet") as file:
                batch = next(file.iter_batches(batch_size=samples), None)
            for row in batch.to_pylist() if batch is not None else []:
                print(f"\n--- {row['source']} ({row['language']}, {row[extra]})\n{row['text'][:500]}")


@app.command
def report(folder: Path, *, topics: int = 0) -> None:
    """Write report.html and the data card README.md into a corpus folder.

    Parameters
    ----------
    folder
        What `hortus corpus build` wrote.
    topics
        Also fit this many topics to a sample and show their words.
    """
    from hortus.corpus.reporting import write_corpus_report

    extra = [("Topics", [_topics(folder, topics)])] if topics else None
    print(write_corpus_report(folder, extra))  # type: ignore[arg-type]


def _topics(folder: Path, number: int) -> Table:
    import pyarrow.parquet as pq
    from sklearn.feature_extraction.text import CountVectorizer

    from hortus.topics import LatentDirichletAllocation

    table = pq.read_table(folder / "documents.parquet", columns=["text", "language"])
    texts = [row["text"] for row in table.slice(0, 5000).to_pylist() if row["language"] != "code"]
    counter = CountVectorizer(max_features=4000, min_df=2, max_df=0.3)
    counts = counter.fit_transform(texts)
    model = LatentDirichletAllocation(number, random_state=0).fit(counts)
    words = counter.get_feature_names_out()
    rows = [
        [place, ", ".join(words[topic.argsort()[::-1][:12]])] for place, topic in enumerate(model.components_)
    ]
    return Table(f"Topics of {len(texts)} documents", ["topic", "words"], rows)


@app.command
def tune(
    *,
    sources: Names = (),
    recipe: Path | None = None,
    output: Path | None = None,
    bounds: Path | None = None,
    per_language: int = 300,
    port: int = 0,
) -> None:
    """Show each filter's histogram with its bound and the documents next to it, and save other bounds.

    Parameters
    ----------
    sources
        As for build; or give the recipe.
    recipe
        A recipe with a corpus stage: its sources are sampled, and saving adds `bounds: PATH` to it.
    output
        Write the page to this file instead of serving it.
    bounds
        Where bounds are saved; by default RECIPE.bounds.yaml or bounds.yaml.
    per_language
        Documents sampled by language.
    port
        Of the local server; 0 takes a free one.
    """
    from hortus.corpus.bounds import Bounds
    from hortus.corpus.tuning import measure_sample, name_bounds_in_recipe, serve_tuning, tuning_page

    config = _recipe_config(recipe) if recipe else DEFAULTS
    config = replace(config, sources=sources or config.sources)
    path = bounds or config.bounds or (recipe.with_suffix(".bounds.yaml") if recipe else Path("bounds.yaml"))
    config = replace(config, bounds=path if path.is_file() else None)
    sample = measure_sample(config, per_language)
    if output is not None:
        output.write_text(tuning_page(sample, Bounds(config.bounds)), "utf-8")
        print(output)
        return
    if recipe is not None and "bounds" not in _corpus_stage(recipe):
        name_bounds_in_recipe(recipe, path)
        if not path.is_file():
            path.write_text("{}\n", "utf-8")
    serve_tuning(sample, Bounds(config.bounds), path, port)


def _corpus_stage(recipe: Path) -> dict[str, Any]:
    settings = load_yaml(recipe).get("stages", {}).get("corpus")
    if not isinstance(settings, dict):
        raise ConfigError(f"{recipe} has no stage corpus", do="name a recipe that builds a corpus")
    return settings


def _recipe_config(recipe: Path) -> CorpusConfig:
    return from_mapping(CorpusConfig, _corpus_stage(recipe), "corpus")


@app.command
def mix(
    folder: Path,
    *,
    settings: Path | None = None,
    ratios: str | None = None,
    tokenizer: Path | None = None,
    output: Path | None = None,
    json: Json = False,
) -> None:
    """Preview a mixture of a corpus by language, and write it where an output is named.

    Parameters
    ----------
    folder
        What `hortus corpus build` wrote.
    settings
        A YAML file with ratios, alpha, source_epochs, max_epochs, tokens.
    ratios
        roots takes the published ratios.
    tokenizer
        Folder of a tokenizer that counts tokens; without it bytes are counted.
    output
        Folder for the mixture's documents.parquet.
    json
        Print one JSON object.
    """
    from hortus.corpus.mixture import MixtureConfig
    from hortus.corpus.mixture import mix as make
    from hortus.tokenizer import Tokenizer

    config = from_mapping(MixtureConfig, load_yaml(settings) if settings else {}, "mixture")
    config = replace(config, ratios=ratios) if ratios else config
    mixture = make(folder, config, output, Tokenizer.load(tokenizer) if tokenizer else None)
    if json:
        _print_json({"shares": dict(mixture.shares), "epochs": dict(mixture.epochs)})
    else:
        print_table(mixture.table())


def _print_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False))


def _progress(line: str) -> None:
    print(f"\r{line}", end="", file=sys.stderr, flush=True)


def _show(folder: Path, as_json: bool) -> None:
    from hortus.corpus.build import read_statistics

    statistics = read_statistics(folder)
    if as_json:
        _print_json({"folder": str(folder), **statistics.to_mapping()})
        return
    from hortus.corpus.reporting import corpus_tables

    for table in corpus_tables(statistics):
        print_table(table)


def print_table(table: Table) -> None:
    """Print a report's table on the terminal."""
    from rich.console import Console
    from rich.table import Table as RichTable

    printed = RichTable(title=table.title, title_justify="left")
    for column in table.columns:
        printed.add_column(column, overflow="fold")
    for row in table.rows:
        printed.add_row(*(f"{value:,}" if isinstance(value, int) else str(value) for value in row))
    Console().print(printed)
