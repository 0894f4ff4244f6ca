"""The recipe stages `corpus` (sources to documents) and `shards` (documents to token shards)."""

from __future__ import annotations

from typing import Any

from hortus.corpus.build import CorpusStatistics, build_corpus
from hortus.corpus.config import CODE, CorpusConfig, ShardsConfig
from hortus.corpus.shards import ShardFolder, write_shards
from hortus.corpus.sources import source_files
from hortus.recipe import Stage, StageContext, StageResult
from hortus.report import Table
from hortus.tokenizer import Tokenizer, language_shares

__all__ = ["SHARDS", "STAGE", "corpus_tables"]


def run_corpus(config: CorpusConfig, context: StageContext) -> StageResult:
    """Build the corpus in the stage's folder."""
    statistics = build_corpus(config, context.folder)
    numbers = {
        "documents": statistics.documents,
        "bytes": statistics.num_bytes,
        "languages": len(statistics.languages),
        "validation_documents": sum(of["validation"]["documents"] for of in statistics.languages.values()),
        "dropped": _dropped(statistics),
    }
    return StageResult(numbers=numbers, blocks=corpus_tables(statistics))


def corpus_tables(statistics: CorpusStatistics) -> list[Table]:
    """Tables by language and by step, for a report or the terminal."""
    ordered = sorted(statistics.languages.items(), key=lambda item: -item[1]["train"]["bytes"])
    languages = [
        [language, *(of[split][what] for split in ("train", "validation") for what in ("documents", "bytes"))]
        for language, of in ordered
    ]
    columns = ["language", "documents", "bytes", "held-out documents", "held-out bytes"]
    steps: list[list[Any]] = []
    for name, counts in statistics.steps.items():
        steps.append([name, "kept", counts.get("kept", 0)])
        steps += [[name, reason, number] for reason, number in counts.items() if reason != "kept"]
    notes = [
        ["repeated dialogues left out within chatterbot", statistics.repeated_conversations],
        ["clusters of near duplicates kept on one side of the split", statistics.clusters],
        ["documents in them", statistics.clustered_documents],
        ["files with repaired bytes", len(statistics.repaired)],
        ["files of unknown kind skipped", sum(statistics.skipped.values())],
    ]
    return [
        Table(title="Corpus by language", columns=columns, rows=languages),
        Table(
            title="Documents kept and dropped by step", columns=["step", "outcome", "documents"], rows=steps
        ),
        Table(title="Duplicates and repairs", columns=["what", "count"], rows=notes),
    ]


def _dropped(statistics: CorpusStatistics) -> dict[str, int]:
    return {
        reason: number
        for counts in statistics.steps.values()
        for reason, number in counts.items()
        if reason != "kept"
    }


def run_shards(config: ShardsConfig, context: StageContext) -> StageResult:
    """Encode the corpus stage's documents with the tokenizer stage's tokenizer."""
    tokenizer = Tokenizer.load(context.inputs["tokenizer"])
    shards = write_shards(context.inputs["corpus"], tokenizer, context.folder, config)
    train, held_out = shards.tokens("train"), shards.tokens("validation")
    numbers = {
        "tokens": sum(train.values()),
        "validation_tokens": sum(held_out.values()),
        "dtype": shards.dtype.name,
        "shares": language_shares(train, config.alpha, {CODE: config.code_share}) if train else {},
    }
    return StageResult(numbers=numbers, blocks=[_mixture_table(shards, numbers["shares"])])


def _mixture_table(shards: ShardFolder, shares: dict[str, float]) -> Table:
    train, held_out = shards.tokens("train"), shards.tokens("validation")
    total = sum(train.values())
    rows = [
        [language, count, held_out.get(language, 0), f"{count / total:.2%}", f"{shares[language]:.2%}"]
        for language, count in sorted(train.items(), key=lambda item: -item[1])
    ]
    columns = ["language", "tokens", "held-out tokens", "share of corpus", "share of what is seen"]
    return Table(title="Tokens and mixture by language", columns=columns, rows=rows)


STAGE = Stage(CorpusConfig, run_corpus, files=source_files)
SHARDS = Stage(ShardsConfig, run_shards, needs=("corpus", "tokenizer"))
