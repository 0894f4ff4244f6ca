"""The invented world, the recipe's stages and the command, on a small scale."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from hortus.cli import main
from hortus.config import load_yaml
from hortus.errors import ConfigError, DataError
from hortus.language import LanguageModel
from hortus.models import build_network
from hortus.recipe import StageContext
from hortus.retrieval import WorldConfig, load_questions, make_world, read_results
from hortus.retrieval.config import AdaptConfig, ModelProbeConfig
from hortus.retrieval.findings import find, head_and_tail
from hortus.retrieval.popqa import TEMPLATES, relation_of
from hortus.retrieval.stage import run_adapt, run_probe, run_world
from hortus.tokenizer import TokenizerConfig, train_tokenizer

SMALL = WorldConfig(entities=60, mentions=60, lessons=40)


def test_same_settings_same_world() -> None:
    first, second = make_world(SMALL), make_world(SMALL)
    assert first == second
    assert first != make_world(WorldConfig(entities=60, mentions=60, lessons=40, seed=1))


def test_every_fact_is_asked_told_and_findable() -> None:
    world = make_world(SMALL)
    assert {q.relation for q in world.questions} == set(TEMPLATES)
    assert len({q.id for q in world.questions}) == len(world.questions) == len(world.passages)
    assert all(relation_of(q.question) == (q.relation, q.subject) for q in world.questions)
    text = "\n".join(world.pretraining)
    passages = Counter(p["text"] for p in world.passages)
    for question in world.questions:
        mine = [t for t in passages if question.subject in t and question.label in t]
        assert mine and all(one in text for one in mine)


def test_popularity_follows_zipf() -> None:
    world = make_world(WorldConfig(entities=60, mentions=600, namesakes=0.0, lessons=10))
    by_rank = {int(q.id.split("-")[0]): q.popularity for q in world.questions}
    ranks = np.array(sorted(by_rank))
    counts = np.array([by_rank[rank] or 0.0 for rank in ranks])
    facts = Counter(int(q.id.split("-")[0]) for q in world.questions)
    assert (counts == np.rint(600 / ranks) + [facts[rank] for rank in ranks]).all()
    lines = [line for page in world.pretraining for line in page.split("\n")]
    most = next(q.subject for q in world.questions if q.id.startswith("1-"))
    assert sum(most in line for line in lines) >= counts[0]


def test_lessons_are_about_nobody_else() -> None:
    world = make_world(SMALL)
    subjects = {q.subject for q in world.questions}
    lessons = [page for page in world.pretraining if "\n\n" in page]
    assert len(lessons) == 40
    for lesson in lessons:
        passage, question = lesson.split("\n\n")
        asked = relation_of(question.removeprefix("Q: ").split(" A: ")[0])
        assert asked is not None and asked[1] not in subjects
        assert question.split(" A: ")[1] in passage


def test_namesakes_share_a_name() -> None:
    def shared(namesakes: float) -> int:
        world = make_world(WorldConfig(entities=120, mentions=10, lessons=1, namesakes=namesakes))
        names = {q.id.split("-")[0]: q.subject for q in world.questions}
        return len(names) - len(set(names.values()))

    assert shared(0.0) == 0 and 20 < shared(0.3) < 50


@pytest.mark.parametrize(
    "wrong", [{"entities": 0}, {"entities": 601}, {"exponent": 0.0}, {"namesakes": 1.0}, {"lessons": 0}]
)
def test_impossible_worlds(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        WorldConfig(**wrong)  # type: ignore[arg-type]


def test_head_and_tail_keep_ties_together() -> None:
    head, tail = head_and_tail(np.array([1, 1, 1, 2, 9, 9]), 0.1, 0.2)
    assert tail.sum() == 3 and head.sum() == 2


def model_folder(folder: Path, width: int, texts: list[str]) -> Path:
    torch.manual_seed(width)
    tokenizer = train_tokenizer(texts, TokenizerConfig(vocab_size=300))
    shape = {"hidden_size": width, "n_layer": 1, "n_head": 2, "vocab_size": tokenizer.vocab_size}
    LanguageModel(build_network({"model_type": "bloom", **shape}), tokenizer).save(folder / "model")
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world, two models of it probed one after the other."""
    root = tmp_path_factory.mktemp("run")
    (root / "world").mkdir()
    run_world(SMALL, StageContext(folder=root / "world", inputs={}, resume=False, recipe={}))
    texts = make_world(SMALL).pretraining
    before: dict[str, Path] = {}
    for size, width in (("small", 8), ("large", 16)):
        folder = root / f"probe_{size}"
        folder.mkdir()
        inputs = {"world": root / "world", "pretrain": model_folder(root / size, width, texts), **before}
        context = StageContext(folder=folder, inputs=inputs, resume=False, recipe={})
        result = run_probe(ModelProbeConfig(size=size, confidence=True, max_new_tokens=4), context)
        assert 0 < result.numbers["recall@1"] <= 1
        before = {"probe": folder}
    return root


def test_stages_hand_on_what_was_probed(run: Path) -> None:
    results = read_results(run / "probe_large" / "results.parquet")
    assert [one.model for one in results] == ["small", "large"]
    assert results[0].ids.tolist() == results[1].ids.tolist()
    (run / "adapt").mkdir()
    context = StageContext(
        folder=run / "adapt", inputs={"probe": run / "probe_large"}, resume=False, recipe={}
    )
    result = run_adapt(AdaptConfig(splits=4), context)
    findings = json.loads((run / "adapt" / "findings.json").read_text())
    assert len(findings) == len(result.numbers["findings"]) == 2 + 3 + 4 + 2
    assert {"Findings", "Gates on unseen questions"} <= {block.title for block in result.blocks}
    with pytest.raises(DataError, match="no world of exponent 2"):
        run_adapt(AdaptConfig(exponent=2.0), context)
    with pytest.raises(DataError, match="1 sizes"):
        find(results[:1], AdaptConfig())


def test_command_from_corpus_to_gate(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def hortus(*words: object) -> str:
        with pytest.raises(SystemExit) as ended:
            main(["retrieval", *map(str, words)])
        out = capsys.readouterr()
        assert ended.value.code == 0, out.err
        return out.out

    index, world = tmp_path / "index", run / "world"
    built = json.loads(hortus("index", index, world / "passages.jsonl", "--processes", 1, "--json"))
    assert built["passages"] == len(load_questions(world / "questions.jsonl"))
    asked = load_questions(world / "questions.jsonl")[0]
    found = json.loads(hortus("search", index, asked.question, "-k", 2, "--json"))["passages"]
    assert len(found) == 2 and asked.subject in found[0]["text"]
    recall = json.loads(hortus("recall", index, world / "questions.jsonl", "--json"))
    assert recall["recall@20"] >= recall["recall@1"] > 0.3
    common = ("probe", run / "small" / "model", world / "questions.jsonl", "--output", tmp_path / "r.parquet")
    more = ("--index", index, "--limit", 60, "--max-new-tokens", 4, "--mentions", "--confidence", "--json")
    assert json.loads(hortus(*common, *more))["questions"] == 60
    gate, page = tmp_path / "gate.json", tmp_path / "report.html"
    written = hortus(
        "adapt",
        tmp_path / "r.parquet",
        "--gate",
        gate,
        "--report",
        page,
        "--cost",
        0.01,
        "--splits",
        4,
        "--json",
    )
    assert [one["gate"] for one in json.loads(written)["gates"]][:2] == ["never", "always"]
    assert json.loads(gate.read_text())["price"] == 0.01
    assert "recall@1" in page.read_text()


def test_command_refuses_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["retrieval", "probe", "m", "q.jsonl", "--output", str(tmp_path / "r.parquet")])
    assert ended.value.code == 2
    assert "passages need one source" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_recipe_shows_its_findings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half an hour of two cores, or the folder of a run that is finished: HORTUS_POPQA_RUN."""
    recipe = Path(__file__).parents[2] / "recipes" / "popqa.yaml"
    finished = os.environ.get("HORTUS_POPQA_RUN")
    if finished is None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SystemExit) as ended:
            main(["run", str(recipe)])
        assert ended.value.code == 0
    folder = Path(finished or tmp_path / load_yaml(recipe)["folder"])
    findings = {one["claim"]: one for one in json.loads((folder / "adapt" / "findings.json").read_text())}
    shown = [
        *(
            f"accuracy rises with popularity: head against tail, {size}"
            for size in ("small", "middle", "large")
        ),
        "size helps the head: large against small",
        "size helps the head more than the tail",
        *(f"retrieval helps the tail: {size}" for size in ("small", "middle", "large")),
        "retrieval hurts the head: large",
        "adapting beats always and never: large",
    ]
    for claim in shown:
        assert findings[claim]["holds"], claim
        assert all(value > 0 for value in findings[claim]["by_seed"]), claim
