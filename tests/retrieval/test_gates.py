"""Gates under the splits' protocol, the gate's file and the answerer that obeys it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from hortus.artifact import read_json, write_json
from hortus.errors import ArtifactError, ConfigError, DataError
from hortus.evaluation.statistics import wilson_interval
from hortus.retrieval import (
    Bm25Config,
    Evidence,
    Gate,
    Passage,
    Results,
    RetrievalAnswerer,
    build_bm25,
    choose_thresholds,
    compare_gates,
    read_results,
    write_results,
)
from hortus.retrieval.adaptation import corrected_error, frontier, random_splits, split_decisions
from hortus.retrieval.gates import choose, fit_logistic
from hortus.retrieval.page import blocks_of, popularity_bins


def evidence(size: int = 600, seed: int = 0, confidence: bool = True) -> Evidence:
    draw = np.random.default_rng(seed)
    relation = draw.choice(["color", "capital", "sport"], size)
    popularity = draw.lognormal(5, 2, size).round()
    known = (draw.random(size) < popularity / (popularity + 150)).astype(float)
    found = (draw.random(size) < 0.6).astype(float)
    own = -3 + 2.5 * known + draw.normal(0, 0.5, size)
    return Evidence(relation, popularity, known, found, np.minimum(own, -0.01) if confidence else None)


def test_all_splits_at_once_are_each_split_alone() -> None:
    rows = evidence(120)
    training = random_splits(len(rows), 8, 0.75, 0)
    for price in (0.0, 0.1):
        decided = split_decisions(rows, training, price)
        for mask, ours in zip(training, decided, strict=True):
            assert np.array_equal(ours, choose("popularity", rows, mask, price))


def test_a_relation_without_training_rows_takes_the_common_threshold() -> None:
    rows = evidence(60)
    training = np.stack([rows.relation != "sport", rows.relation != "color"])
    for mask, ours in zip(training, split_decisions(rows, training), strict=True):
        assert np.array_equal(ours, choose("popularity", rows, mask))


def test_gates_compare_on_equal_terms() -> None:
    scores = {score.gate: score for score in compare_gates(evidence(2000), splits=20)}
    assert list(scores) == ["never", "always", "popularity", "bins", "confidence", "logistic", "oracle"]
    assert scores["never"].share_retrieved == 0 and scores["always"].share_retrieved == 1
    better = max(scores["never"].accuracy, scores["always"].accuracy)
    for name in ("popularity", "confidence", "logistic"):
        assert better < scores[name].accuracy < scores["oracle"].accuracy
        assert scores[name].gain > 2 * scores[name].gain_error
    # The confidence of these answers says most.
    assert scores["logistic"].accuracy > scores["popularity"].accuracy


def test_a_dear_passage_is_bought_less() -> None:
    rows = evidence(1000, confidence=False)
    shares = [
        {s.gate: s for s in compare_gates(rows, ["popularity", "logistic", "bins"], splits=5, price=price)}
        for price in (-1.5, 0.0, 0.2, 1.5)
    ]
    for gate in ("popularity", "logistic", "bins"):
        bought = [by[gate].share_retrieved for by in shares]
        assert bought == sorted(bought, reverse=True) and bought[-1] == 0
        # The first of equal cuts: a last bin without a training row is not retrieved for.
        assert bought[0] > 0.99 if gate == "bins" else bought[0] == 1
    curve = frontier(rows, splits=4, points=5)
    assert curve[0][0] == 0 and curve[-1][0] > 0.99


def test_logistic_gate_finds_the_maximum() -> None:
    rows = evidence(400)
    fitted = fit_logistic(rows)
    again = fit_logistic(rows.take(np.arange(400)[::-1]))
    assert np.allclose(fitted.parametric, again.parametric, atol=1e-5) or fitted.relations != again.relations
    assert fitted(rows).dtype == bool


def test_corrected_error_is_larger_than_the_naive_one() -> None:
    values = np.random.default_rng(0).normal(size=100)
    naive = values.std(ddof=1) / 10
    assert corrected_error(values, 1 / 3) == pytest.approx(naive * math.sqrt(1 + 100 / 3))


def test_wrong_settings() -> None:
    rows = evidence(20, confidence=False)
    with pytest.raises(ConfigError, match="did you mean 'popularity'"):
        compare_gates(rows, ["popularit"])
    with pytest.raises(ConfigError, match="without confidences"):
        compare_gates(rows, ["confidence"])
    with pytest.raises(ConfigError, match="splits=1"):
        compare_gates(rows, splits=1)
    with pytest.raises(DataError, match="cannot be split"):
        compare_gates(rows.take(np.array([0])))


def results(rows: Evidence, index: str = "") -> Results:
    size = len(rows)
    confidence = np.full(size, np.nan) if rows.confidence is None else rows.confidence
    names = np.array([f"X{n}" for n in range(size)])
    return Results(
        "m", 10, 0, 1.0, (9.0, 30.0), (0.1, 0.2), index, names, names, rows.relation, rows.popularity,
        rows.parametric, rows.retrieved, rows.retrieved > 0, confidence,
    )  # fmt: skip


def test_results_file(tmp_path: Path) -> None:
    one = results(evidence(30))
    write_results([one], tmp_path / "r.parquet")
    (again,) = read_results(tmp_path / "r.parquet")
    assert again.ids.tolist() == one.ids.tolist() and again.tokens == one.tokens
    assert np.array_equal(again.evidence.popularity, one.evidence.popularity)
    with pytest.raises(DataError, match="cannot read"):
        read_results(tmp_path / "missing.parquet")


def test_rows_of_unknown_popularity_stand_aside() -> None:
    one = results(evidence(30))
    one.popularity[:4] = np.nan
    assert len(one.evidence) == 26
    gate = Gate.choose(one)
    assert "X0" not in gate.popularity and "X4" in gate.popularity
    assert blocks_of([one], [compare_gates(one.evidence, splits=3)])


def test_gate_file(tmp_path: Path) -> None:
    one = results(evidence(200), "corpus")
    gate = Gate.choose(one, price=0.05)
    rows = one.evidence
    expected = choose_thresholds(rows.relation, rows.popularity, rows.parametric, rows.retrieved, price=0.05)
    assert {name: gate.thresholds[name] for name in expected} == expected
    gate.save(tmp_path / "gate.json")
    assert Gate.load(tmp_path / "gate.json") == gate
    Gate("popularity", {"color": math.inf, "sport": -math.inf}).save(tmp_path / "g.json")
    assert Gate.load(tmp_path / "g.json").thresholds == {"color": math.inf, "sport": -math.inf}
    write_json(tmp_path / "bad.json", {"format": 1, "by": "luck"})
    with pytest.raises(ArtifactError, match="is no gate"):
        Gate.load(tmp_path / "bad.json")


class Model:
    """Answers every question alike, with a log-probability of its own."""

    network = None

    def __init__(self, log_probability: float):
        self.log_probability = log_probability

    def generate(self, texts: list[str], **_: object) -> list[str]:
        return [" white"] * len(texts)

    def rank(self, texts: list[str], choices: list[list[str]], **_: object) -> list[np.ndarray]:
        return [np.array([self.log_probability]) for _ in texts]


def test_answerer_says_why(tmp_path: Path) -> None:
    passages = [Passage("1", "snow", "The color of snow is white."), Passage("2", "coal", "Coal is black.")]
    index = build_bm25(passages, tmp_path, Bm25Config(processes=1))
    gate = Gate("popularity", {"color": 10.0, "": math.inf}, {"snow": 5.0, "coal": 50.0}, index.corpus)
    answerer = RetrievalAnswerer(None, index, gate)
    rare = answerer.answer("What color is snow?")
    assert rare.prompt == "The color of snow is white.\n\nQ: What color is snow? A:"
    assert rare.details["retrieved"] and rare.details["passages"][0]["id"] == "1"
    assert rare.details["reason"]["popularity"] == 5.0 and rare.details["reason"]["threshold"] == 10.0
    known = answerer.answer("What color is coal?")
    assert known.prompt == "Q: What color is coal? A:" and not known.details["retrieved"]
    unknown = answerer.answer("What color is grass?")
    assert "unknown" in unknown.details["reason"]["note"] and unknown.details["reason"]["popularity"] is None
    free = answerer.answer("Tell me of coal")
    assert free.details["reason"]["relation"] is None and free.details["passages"][0]["id"] == "2"
    nothing = answerer.answer("zebra")
    assert not nothing.details["retrieved"] and nothing.prompt == "Q: zebra A:"
    with pytest.raises(ArtifactError, match="another version of the corpus"):
        RetrievalAnswerer(None, index, Gate("popularity", {}, {}, "other"))


@pytest.mark.parametrize(("log_probability", "retrieved"), [(-0.1, False), (-3.0, True)])
def test_answerer_by_confidence(tmp_path: Path, log_probability: float, retrieved: bool) -> None:
    index = build_bm25([Passage("1", "snow", "Snow is white.")], tmp_path, Bm25Config(processes=1))
    answerer = RetrievalAnswerer(Model(log_probability), index, Gate("confidence", {"": 0.5}))
    answer = answerer.answer("What color is snow?")
    assert answer.details["retrieved"] is retrieved
    assert answer.details["reason"]["confidence"] == pytest.approx(math.exp(log_probability))


@pytest.mark.parametrize("confidence", [False, True])
def test_answerer_by_logistic(tmp_path: Path, confidence: bool) -> None:
    rows = evidence(300, confidence=confidence)
    one = results(rows)
    gate = Gate.choose(one, "logistic", price=0.05)
    gate.save(tmp_path / "gate.json")
    again = Gate.load(tmp_path / "gate.json")
    expected = fit_logistic(rows, 0.05)
    assert again.logistic is not None and np.array_equal(again.logistic(rows), expected(rows))
    names = {"color": "What color is {}?", "sport": "What sport does {} play?"}
    names["capital"] = "What is the capital of {}?"
    index = build_bm25([Passage("1", "X", "gold silver")], tmp_path / "index", Bm25Config(processes=1))
    for row in range(12):
        own = 0.0 if rows.confidence is None else float(rows.confidence[row])
        answerer = RetrievalAnswerer(Model(own), index, again)
        answer = answerer.answer(names[rows.relation[row]].format(f"X{row}"))
        reason = answer.details["reason"]
        assert reason["popularity"] == rows.popularity[row] and ("confidence" in reason) is confidence
        decided = reason["chance_with_passage"] - reason["chance_without"] > 0.05
        assert decided == expected(rows.take(np.array([row])))[0]
    assert "unknown" in answerer.answer("Who?").details["reason"]["note"]
    write_json(tmp_path / "bad.json", read_json(tmp_path / "gate.json") | {"logistic": {"relations": []}})
    with pytest.raises(ArtifactError, match="is no gate"):
        Gate.load(tmp_path / "bad.json")


def test_wilson_and_bins() -> None:
    low, high = wilson_interval(0, 10)
    assert low == pytest.approx(0, abs=1e-12) and high == pytest.approx(0.2775, abs=1e-4)
    bins = list(popularity_bins(np.array([0, 0.5, 1, 2, 3, *[100] * 5, 1e6, np.nan])))
    assert [(middle, int(rows.sum())) for middle, rows in bins] == [(0.25, 5), (2.25, 5)]
