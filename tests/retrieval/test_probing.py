"""Prompts as published, and probing: joins, shared examples, kept answers, endpoints that go away."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hortus.errors import ConfigError, DataError, DeviceError
from hortus.language import LanguageModel
from hortus.models import build_network
from hortus.retrieval import ProbeConfig, Question, probe, results_of, write_passages
from hortus.retrieval.popqa import TEMPLATES, question_for
from hortus.retrieval.prompts import build_prompt, draw_shots
from hortus.tokenizer import TokenizerConfig, train_tokenizer


def questions(each: int = 3) -> list[Question]:
    return [
        Question(f"{relation}-{n}", question_for(relation, f"X{n}"), f"X{n}", relation, (f"o{n}",), float(n))
        for relation in TEMPLATES
        for n in range(each)
    ]


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    torch.manual_seed(0)
    texts = [build_prompt(one) for one in questions()]
    tokenizer = train_tokenizer(texts * 3, TokenizerConfig(vocab_size=300))
    shape = {"hidden_size": 16, "n_layer": 1, "n_head": 2, "vocab_size": tokenizer.vocab_size}
    return LanguageModel(build_network({"model_type": "bloom", **shape}), tokenizer)


def test_fifteen_shots_are_one_of_each_other_relation() -> None:
    pool = questions()
    for one in pool[::7]:
        shots = draw_shots(one, pool, ProbeConfig(shots=15))
        assert Counter(shot.relation for shot in shots) == Counter(r for r in TEMPLATES if r != one.relation)
        assert shots == draw_shots(one, pool, ProbeConfig(shots=15))
        assert shots != draw_shots(one, pool, ProbeConfig(shots=15, seed=1))
    orders = {tuple(s.relation for s in draw_shots(one, pool, ProbeConfig(shots=15))) for one in pool[:3]}
    assert len(orders) == 3


def test_fixed_shots_are_those_of_the_relation() -> None:
    pool = questions()
    config = ProbeConfig(shots=15, drawing="fixed")
    same, other = [draw_shots(one, pool, config) for one in pool[:3]], draw_shots(pool[3], pool, config)
    assert same[0] == same[1] == same[2] != other


def test_sampled_shots_never_hold_the_question() -> None:
    pool = questions(1)
    for one in pool:
        shots = draw_shots(one, pool, ProbeConfig(shots=15, source="sample"))
        assert len(shots) == 15 and one not in shots


def test_shots_that_cannot_be_drawn() -> None:
    pool = questions(1)
    with pytest.raises(ConfigError, match="15 other relations"):
        draw_shots(pool[0], pool, ProbeConfig(shots=14))
    with pytest.raises(DataError, match="1 rows for 2 examples"):
        draw_shots(pool[0], pool, ProbeConfig(shots=30))


def test_prompt_with_passages_of_examples() -> None:
    first, second = questions()[:2]
    text = build_prompt(first, [second], {first.id: "P1", second.id: "P2"})
    assert text == "P2\n\nQ: What is X1's occupation? A: o1\n\nP1\n\nQ: What is X0's occupation? A:"


@pytest.mark.parametrize("drawing", ["fresh", "fixed"])
def test_probe_equals_generation_one_by_one(model: LanguageModel, drawing: Any) -> None:
    asked = questions()[:12]
    config = ProbeConfig(shots=15, drawing=drawing, confidence=True)
    result = probe(model, asked, config, pool=questions())
    for one, answer in zip(asked, result.answers, strict=True):
        prompt = build_prompt(one, draw_shots(one, questions(), config))
        (alone,) = model.generate([prompt], max_new_tokens=15, temperature=0.0, truncate=True)
        assert answer == alone.removeprefix("\n\n").split("\n")[0]
    assert result.confidence is not None and (result.confidence <= 0).all()


def test_fixed_examples_are_read_once(model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = questions(12)[:12]  # of one relation, so with the same examples
    read: list[int] = []
    hidden = model.network.hidden
    monkeypatch.setattr(
        model.network, "hidden", lambda ids, **more: (read.append(ids.numel()), hidden(ids, **more))[1]
    )
    config = ProbeConfig(shots=15, drawing="fixed", max_new_tokens=1)
    probe(model, asked, config, pool=questions())
    prompts = [build_prompt(one, draw_shots(one, questions(), config)) for one in asked]
    lengths = [len(model.tokenizer.encode(prompt)) for prompt in prompts]
    groups = len(set(lengths))
    assert sum(read) < groups * max(lengths) + 40 * len(asked) < 0.5 * sum(lengths)


def test_answers_are_kept(model: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = questions()[:6]
    first = probe(model, asked, cache=tmp_path / "a.sqlite")
    monkeypatch.setattr(LanguageModel, "generate", lambda *_, **__: pytest.fail("asked again"))
    second = probe(model, asked, cache=tmp_path / "a.sqlite")
    assert first.answers == second.answers and second.seconds == 0.0


class Endpoint:
    """A remote model that goes away after so many questions."""

    fingerprint = "http://127.0.0.1:9/v1 far"

    def __init__(self, lasts: int):
        self.lasts, self.asked = lasts, 0

    def generate(self, texts: list[str], **_: Any) -> list[str]:
        self.asked += len(texts)
        if self.asked > self.lasts:
            raise DeviceError("the endpoint does not answer")
        return [f" {text[-5:]}" for text in texts]


def test_an_endpoint_that_times_out_half_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hortus.evaluation.asking._WRITTEN_AT_ONCE", 4)
    asked = questions(1)
    with pytest.raises(DeviceError):
        probe(Endpoint(9), asked, cache=tmp_path / "a.sqlite")
    again = Endpoint(100)
    result = probe(again, asked, cache=tmp_path / "a.sqlite")
    assert again.asked == len(asked) - 8
    assert len(result.answers) == len(asked)


def test_results_join_by_id_and_not_by_place(model: LanguageModel) -> None:
    asked = questions()[:6]
    closed = probe(model, asked)
    opened = probe(model, asked[::-1], passages={asked[0].id: "X0 is o0."})
    result = results_of(closed, opened, model="m")
    assert result.hits.tolist() == [True, *[False] * 5]
    assert np.array_equal(result.retrieved, opened.scores["substring"][::-1])
    with pytest.raises(DataError, match="different questions"):
        results_of(closed, probe(model, asked[:5]), model="m")


def test_genread_writes_a_passage_each(model: LanguageModel, tmp_path: Path) -> None:
    asked = questions(1)[:2]
    written = write_passages(model, asked, cache=tmp_path / "a.sqlite")
    assert set(written) == {one.id for one in asked}
