"""The recipe stage `topics`: the topics of a corpus sample, their number by sBIC, for the run's report.

It reads the documents of a corpus stage before it, or the texts that `data` names.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hortus.errors import ConfigError, DataError
from hortus.recipe import Stage, StageContext, StageResult
from hortus.report import Block, Table, Text
from hortus.topics.config import StageConfig
from hortus.topics.formats import Corpus, corpus_of_texts, read_corpus
from hortus.topics.pages import selection_blocks, topics_table, write_selection
from hortus.topics.selection import select_num_topics

__all__ = ["STAGE", "run_topics"]

DOCUMENTS = "documents.parquet"


def run_topics(config: StageConfig, context: StageContext) -> StageResult:
    """Choose the number of topics of the sample by sBIC; write its pages and the model into the stage's
    folder."""
    corpus = _read(config, context)
    selection = select_num_topics(
        corpus.matrix,
        config=config.select,
        vocabulary=corpus.vocabulary,
        tokens=corpus.tokens,
        folder=context.folder,
    )
    write_selection(selection, context.folder)
    number = selection.chosen["sbic"]
    model = selection.models[number]
    model.save(context.folder / "model")
    numbers = {
        "num_topics": number,
        "sbic_weight": round(selection.weights[number], 6),
        "criteria": selection.chosen,
        "documents": selection.corpus["documents"],
        "words": selection.corpus["words"],
        "tokens": selection.corpus["tokens"],
    }
    sentence = (
        f"sBIC chooses {number} topics for a sample of {numbers['documents']} documents "
        f"({numbers['words']} words, {numbers['tokens']} tokens). {selection.recommendation.text}"
    )
    removed = [[name.replace("_", " "), value] for name, value in corpus.report.items()]
    blocks: list[Block] = [
        Text("Topics of the corpus", sentence),
        topics_table(model),
        Table("The sample", ["what", "value"], removed),
    ]
    return StageResult(numbers=numbers, blocks=[*blocks, *dict(selection_blocks(selection))["Criteria"]])


def _read(config: StageConfig, context: StageContext) -> Corpus:
    if "sbic" not in (config.select.criteria or ("sbic",)):
        raise ConfigError("select.criteria lacks 'sbic'", do="add it: this stage chooses by sBIC")
    folder = context.inputs.get("corpus")
    if config.data:
        texts_of = read_corpus(config.data, column=config.column, texts=config.texts)
        if texts_of.matrix.shape[0] <= config.sample:
            return texts_of
        rows = _sample(texts_of.matrix.shape[0], config)
        tokens = None if texts_of.tokens is None else [texts_of.tokens[d] for d in rows]
        return Corpus(texts_of.matrix[rows], texts_of.vocabulary, tokens, texts_of.report)
    if folder is None:
        raise ConfigError(
            "the stage 'topics' has no texts", do="put a corpus stage before it, or set its data=PATH"
        )
    texts = _documents(folder / DOCUMENTS)
    return corpus_of_texts([texts[d] for d in _sample(len(texts), config)], config.texts)


def _sample(size: int, config: StageConfig) -> np.ndarray:
    generator = np.random.default_rng(config.select.seed)
    return np.sort(generator.permutation(size)[: config.sample])


def _documents(path: Path) -> list[str]:
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, columns=["text", "split"])
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path}: {error}", do="run the corpus stage again") from error
    rows = zip(table["text"].to_pylist(), table["split"].to_pylist(), strict=True)
    return [text for text, split in rows if split == "train"]


def _files(config: StageConfig) -> Sequence[Path]:
    return [Path(config.data)] if config.data else []


STAGE = Stage(config=StageConfig, run=run_topics, uses=("corpus",), files=_files)
