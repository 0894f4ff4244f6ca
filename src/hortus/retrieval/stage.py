"""The recipe stages `world` (an invented world), `probe` (one model on it) and `adapt` (gates over all
probed).

A recipe trains several models one after the other. Each `probe` reads the model trained last and the world
made last and hands on, with its own answers, those of the probes before it; `adapt` reads the last one's.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path

from hortus.artifact import read_json, replacing_file, write_json
from hortus.errors import DataError
from hortus.recipe import Stage, StageContext, StageResult
from hortus.report import Table
from hortus.retrieval.adaptation import compare_gates
from hortus.retrieval.bm25 import Bm25Config, Bm25Index, build_bm25
from hortus.retrieval.config import AdaptConfig, ModelProbeConfig, WorldConfig
from hortus.retrieval.findings import find
from hortus.retrieval.page import blocks_of, findings_table
from hortus.retrieval.passages import read_passages
from hortus.retrieval.probing import probe
from hortus.retrieval.questions import load_questions, write_questions
from hortus.retrieval.results import read_results, results_of, write_results
from hortus.retrieval.world import make_world

__all__ = ["ADAPT", "PROBE", "WORLD"]

QUESTIONS, PASSAGES, PRETRAINING = "questions.jsonl", "passages.jsonl", "pretraining.jsonl"
RESULTS = "results.parquet"


def run_world(config: WorldConfig, context: StageContext) -> StageResult:
    """Write questions, passages and their index, and the text to pretrain on."""
    world = make_world(config)
    write_questions(world.questions, context.folder / QUESTIONS)
    _write_lines(world.passages, context.folder / PASSAGES)
    _write_lines([{"text": text} for text in world.pretraining], context.folder / PRETRAINING)
    write_json(context.folder / "world.json", asdict(config))
    passages = read_passages([context.folder / PASSAGES], words=None)
    build_bm25(passages, context.folder / "index", Bm25Config(processes=1))
    numbers = {
        "questions": len(world.questions),
        "passages": len(world.passages),
        "documents": len(world.pretraining),
    }
    return StageResult(
        numbers, [Table("An invented world", ["what", "count"], list(map(list, numbers.items())))]
    )


def _write_lines(rows: list[dict[str, str]], path: Path) -> None:
    with replacing_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def run_probe(config: ModelProbeConfig, context: StageContext) -> StageResult:
    """Ask the model with and without the best passage, which is searched by the question alone."""
    from hortus.language import LanguageModel

    folder = context.inputs["world"]
    world = read_json(folder / "world.json")
    questions = load_questions(folder / QUESTIONS)
    model = LanguageModel.load(context.inputs["pretrain"] / "model")
    index = Bm25Index(folder / "index")
    began = time.process_time()
    found = index.search([one.question for one in questions])
    passages = {one.id: hits[0].passage.text for one, hits in zip(questions, found, strict=True) if hits}
    cache = context.folder / "answers.sqlite"
    closed = probe(model, questions, config, cache=cache)
    opened = probe(model, questions, config, passages=passages, cache=cache)
    mine = results_of(
        closed,
        opened,
        model=config.size,
        index=index.corpus,
        parameters=sum(parameter.numel() for parameter in model.network.parameters()),
        seed=int(world["seed"]),
        exponent=float(world["exponent"]),
    )
    before = context.inputs.get("probe")
    earlier = [] if before is None else read_results(before / RESULTS)
    write_results([*earlier, mine], context.folder / RESULTS)
    numbers = {
        "questions": len(mine),
        "parameters": mine.parameters,
        "without passage": float(mine.parametric.mean()),
        "with passage": float(mine.retrieved.mean()),
        "recall@1": float(mine.hits.mean()),
        "cpu_seconds": time.process_time() - began,
    }
    return StageResult(numbers)


def run_adapt(config: AdaptConfig, context: StageContext) -> StageResult:
    """Compare the gates for every model, and test the findings over the worlds of the config's exponent."""
    results = read_results(context.inputs["probe"] / RESULTS)
    if not any(one.exponent == config.exponent for one in results):
        raise DataError(f"no world of exponent {config.exponent} was probed", do="set adapt.exponent")
    gates = [
        compare_gates(
            one.evidence,
            splits=config.splits,
            train_share=config.train_share,
            price=config.price,
            seed=config.seed,
        )
        for one in results
    ]
    findings = find(results, config)
    write_json(context.folder / "findings.json", [one.to_mapping() for one in findings])
    numbers = {
        "findings": {one.claim: f"{one.difference:+.4f} ± {one.error:.4f}" for one in findings},
        "gates": [
            {"model": one.model, "seed": one.seed, "exponent": one.exponent, **asdict(score)}
            for one, scores in zip(results, gates, strict=True)
            for score in scores
        ],
    }
    return StageResult(numbers, [findings_table(findings), *blocks_of(results, gates)])


WORLD = Stage(WorldConfig, run_world)
PROBE = Stage(ModelProbeConfig, run_probe, needs=("world", "pretrain"), uses=("probe",))
ADAPT = Stage(AdaptConfig, run_adapt, needs=("probe",))
