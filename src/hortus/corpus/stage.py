"""The recipe stages `corpus` (sources to documents) and `shards` (documents to token shards)."""

from __future__ import annotations

from dataclasses import replace

from hortus.artifact import read_json
from hortus.corpus.build import TIMING, CorpusStatistics, build_corpus
from hortus.corpus.config import CODE, CorpusConfig, ShardsConfig
from hortus.corpus.mixture import MixtureConfig, mix
from hortus.corpus.reporting import corpus_blocks, write_card
from hortus.corpus.shards import ShardFolder, write_shards
from hortus.corpus.sources import source_files
from hortus.recipe import Stage, StageContext, StageResult
from hortus.report import Table
from hortus.tokenizer import Tokenizer, language_shares

__all__ = ["MIXTURE", "SHARDS", "STAGE"]


def run_corpus(config: CorpusConfig, context: StageContext) -> StageResult:
    """Build the corpus in the stage's folder."""
    statistics = build_corpus(config, context.folder)
    write_card(context.folder, statistics)
    numbers = {
        "documents": statistics.documents,
        "bytes": statistics.num_bytes,
        "languages": len(statistics.languages),
        "validation_documents": sum(of["validation"]["documents"] for of in statistics.languages.values()),
        "dropped": _dropped(statistics),
    }
    timing = read_json(context.folder / TIMING)
    return StageResult(numbers=numbers, blocks=corpus_blocks(statistics, timing))


def _dropped(statistics: CorpusStatistics) -> dict[str, int]:
    return {
        reason: number
        for counts in statistics.steps.values()
        for reason, number in counts.items()
        if reason != "kept"
    }


def run_mixture(config: MixtureConfig, context: StageContext) -> StageResult:
    """Repeat and leave out the corpus's documents until the languages have their shares."""
    tokenizer = Tokenizer.load(context.inputs["tokenizer"])
    mixture = mix(context.inputs["corpus"], config, context.folder, tokenizer)
    return StageResult(numbers={"shares": dict(mixture.shares)}, blocks=[mixture.table()])


def run_shards(config: ShardsConfig, context: StageContext) -> StageResult:
    """Encode the documents of the mixture, or of the corpus where there is none."""
    tokenizer = Tokenizer.load(context.inputs["tokenizer"])
    documents = context.inputs.get("mixture", context.inputs["corpus"])
    if "mixture" in context.inputs:
        # The mixture has the shares already.
        config = replace(config, alpha=1.0, code_share=1.0)
    shards = write_shards(documents, tokenizer, context.folder, config)
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
MIXTURE = Stage(MixtureConfig, run_mixture, needs=("corpus", "tokenizer"))
SHARDS = Stage(ShardsConfig, run_shards, needs=("corpus", "tokenizer"), uses=("mixture",))
