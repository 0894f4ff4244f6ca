"""Texts that join and leave at any step get what each gets alone from `LanguageModel.generate`."""

import random
import threading
import time

import numpy as np
import pytest
import torch

from hortus.errors import ConfigError, DataError
from hortus.language import GenerationConfig, LanguageModel
from hortus.serving import BusyError, TextRequest
from hortus.serving.engine import Engine
from tests.serving.conftest import Gathered, ask

PROMPTS = ["The quick", "", "def f(x):", "é 敏", "The quick brown fox jumps over the lazy", "The quick"]
WAYS = [
    {},
    {"temperature": 1.0, "seed": 3},
    {"temperature": 0.9, "top_p": 0.8, "top_k": 20, "seed": 4},
    {"repetition_penalty": 1.3},
    {"stop": ["fox", "é"], "temperature": 1.2, "seed": 5},
]


@pytest.fixture(params=["compiled", "stock"])
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "stock":
        monkeypatch.setattr("hortus.models.decoder.session.load_kernels", lambda: None)
    return request.param


@pytest.mark.parametrize("pieces", [False, True])
def test_texts_equal_those_of_generate(model, make_engine, kernels, pieces) -> None:
    engine = make_engine(max_running=5)
    requests, expected = [], []
    for number, way in enumerate(WAYS * 2):
        for prompt in PROMPTS[:5]:
            options = way | {"max_new_tokens": 5 + 4 * number}
            requests.append(ask(model, prompt, pieces=pieces, **options))
            expected.append(model.generate(prompt, **options))
    gathered = [Gathered(engine, [request]) for request in requests]
    assert [one.wait()[0] for one in gathered] == expected
    assert {one.reasons()[0] for one in gathered} == {"stop", "length"}


def test_long_prompts_are_read_beside_writers_and_shared(model, make_engine) -> None:
    engine = make_engine()
    writer = Gathered(engine, [ask(model, "The", max_new_tokens=200, eos_token_id=[])])
    story = "The quick brown fox jumps over the lazy dog. " * 12
    prompts = [story[:start] for start in (300, 500, 470, 310)] * 2
    readers = [Gathered(engine, [ask(model, p, max_new_tokens=9)]) for p in prompts]
    assert [r.wait()[0] for r in readers] == model.generate(prompts, max_new_tokens=9)
    assert writer.wait()[0] == model.generate("The", max_new_tokens=200, eos_token_id=[])
    reused = [reader.texts[0].reused for reader in readers]
    assert reused[0] == 0 and min(reused[4:]) > 10  # their beginnings were known by then


def test_what_was_written_is_reused_by_the_next_turn(model, make_engine) -> None:
    engine = make_engine()
    first = Gathered(engine, [ask(model, PROMPTS[4], max_new_tokens=30, eos_token_id=[])])
    first.wait()
    talk = list(first.texts[0].row.prompt) + first.texts[0].row.tokens
    request = TextRequest(prompt=talk, config=GenerationConfig(max_new_tokens=6))
    again = Gathered(engine, [request])
    assert again.wait() == Gathered(make_engine(), [request]).wait()
    assert again.texts[0].reused == (len(talk) - 1) // 4


def test_samples_of_one_prompt_equal_the_same_text_in_a_list(model, make_engine) -> None:
    options = {"temperature": 1.0, "seed": 7, "max_new_tokens": 12}
    request = ask(model, "The", **options)
    assert Gathered(make_engine(), [request] * 3).wait() == model.generate(["The"] * 3, **options)


def test_few_blocks_make_texts_wait_and_none_is_lost(model, make_engine) -> None:
    engine = make_engine(cache_megabytes=1, block_size=16)
    engine.pool.allocate(engine.pool.available - 4)
    options = {"max_new_tokens": 20, "eos_token_id": []}
    gathered = Gathered(engine, [ask(model, prompt, **options) for prompt in PROMPTS])
    assert gathered.wait() == [model.generate(prompt, **options) for prompt in PROMPTS]
    engine.pool.release(range(engine.pool.num_blocks - 4))  # the last ones were the first ones given


def test_scores_equal_those_of_the_model(model, make_engine) -> None:
    text, engine = "The quick brown fox jumps", make_engine()
    echoed = Gathered(engine, [ask(model, text, max_new_tokens=0, echo=True, logprobs=3)])
    assert echoed.reasons() == ["length"]
    scores = echoed.news[0][-1].scores
    ids = model.tokenizer.encode(text)
    assert [score.token for score in scores] == ids and scores[0].log_probability is None
    with torch.inference_mode():
        table = model.network(torch.tensor([ids]))[0].double().log_softmax(-1).numpy()
    expected = [table[at, token] for at, token in enumerate(ids[1:])]
    np.testing.assert_allclose([s.log_probability for s in scores[1:]], expected, atol=1e-4)
    for row, score in zip(table, scores[1:], strict=False):
        np.testing.assert_allclose([v for _, v in score.likeliest], np.sort(row)[::-1][:3], atol=1e-4)
    written = Gathered(engine, [ask(model, text, max_new_tokens=8, logprobs=2, pieces=True)])
    written.wait()
    tokens = [score for update in written.news[0] for score in update.scores]
    assert [score.token for score in tokens] == written.texts[0].row.tokens
    assert all(score.likeliest[0][0] == score.token for score in tokens)  # greedy


def test_clients_take_turns(model, make_engine) -> None:
    engine = make_engine(max_running=1)
    order: list[str] = []
    ended = threading.Event()

    def tell(text, update) -> None:
        if update.finish:
            order.append(text.request.client)
            if len(order) == 9:
                ended.set()

    options = {"max_new_tokens": 12, "eos_token_id": []}
    engine.submit([ask(model, "The", client="first", **options | {"max_new_tokens": 200})], tell)
    engine.submit([ask(model, "The", client="many", **options) for _ in range(6)], tell)
    engine.submit([ask(model, "The", client="few", **options) for _ in range(2)], tell)
    assert ended.wait(60)
    assert order == ["first", "many", "few", "many", "few", "many", "many", "many", "many"]


def test_cancelled_texts_give_their_blocks_back(model, make_engine) -> None:
    engine = make_engine(max_running=2)
    options = {"max_new_tokens": 200, "eos_token_id": []}
    gathered = Gathered(engine, [ask(model, "The", pieces=True, **options) for _ in range(4)])
    while len(engine.running) < 2:
        time.sleep(0.0005)
    engine.cancel(gathered.texts[:3])  # two that run and one that waits
    assert model.generate("The", **options) == "".join([update.text for update in wait_for_end(gathered, 3)])
    assert [any(update.finish for update in news) for news in gathered.news] == [False] * 3 + [True]


def wait_for_end(gathered: Gathered, number: int):
    while not (gathered.news[number] and gathered.news[number][-1].finish):
        time.sleep(0.001)
    return gathered.news[number]


def test_refusals(model, make_engine) -> None:
    engine = make_engine(max_running=1, max_queued=3, max_new_tokens=200)
    ignore = lambda text, update: None  # noqa: E731
    long = ask(model, "The", max_new_tokens=200, eos_token_id=[])
    with pytest.raises(DataError, match="1 to 255"):
        engine.submit([ask(model, "x" * 600)], ignore)
    with pytest.raises(ConfigError, match="200 or fewer"):
        engine.submit([ask(model, "x", max_new_tokens=201)], ignore)
    with pytest.raises(BusyError, match="waiting"):
        engine.submit([long] * 5, ignore)
    assert not len(engine.waiting)  # all or none
    gathered = Gathered(engine, [long])
    engine.drain(0)
    with pytest.raises(BusyError, match="stopping"):
        engine.submit([long], ignore)
    assert gathered.reasons() == ["length"]  # what it had by then
    assert model.generate("The", max_new_tokens=200, eos_token_id=[]).startswith(gathered.wait()[0])


def test_time_limits_end_a_text_with_what_it_has(model, make_engine) -> None:
    engine = make_engine(request_seconds=0.02)
    gathered = Gathered(engine, [ask(model, "The", max_new_tokens=250, eos_token_id=[])] * 8)
    assert set(gathered.reasons()) == {"length"}
    assert sum(len(text.row.tokens) for text in gathered.texts) < 8 * 250


def test_a_failing_step_ends_its_texts_and_not_the_engine(model, make_engine, monkeypatch) -> None:
    engine: Engine = make_engine()
    run = engine.stepper.decoder.run
    monkeypatch.setattr(
        engine.stepper.decoder, "run", lambda *a, **k: (_ for _ in ()).throw(MemoryError("full"))
    )
    broken = Gathered(engine, [ask(model, "The", max_new_tokens=5)])
    assert broken.reasons() == ["error"] and broken.news[0][-1].error == "full"
    monkeypatch.setattr(engine.stepper.decoder, "run", run)
    assert Gathered(engine, [ask(model, "The", max_new_tokens=5)]).wait() == [
        model.generate("The", max_new_tokens=5)
    ]


def test_other_work_runs_between_steps(model: LanguageModel, make_engine) -> None:
    engine = make_engine()
    writer = Gathered(engine, [ask(model, "The", max_new_tokens=100, eos_token_id=[])])
    assert engine.call(lambda: model.embed(["one"]).shape).result(30) == (1, 48)
    with pytest.raises(ZeroDivisionError):
        engine.call(lambda: 1 // 0).result(30)
    assert writer.wait()[0] == model.generate("The", max_new_tokens=100, eos_token_id=[])


@pytest.mark.parametrize(
    "seconds", [1.0, pytest.param(60.0, marks=[pytest.mark.slow, pytest.mark.timeout(120)])]
)
def test_random_arrivals_and_cancellations_leave_nothing_behind(model, make_engine, seconds) -> None:
    engine = make_engine(max_running=16, max_queued=64)
    expected = {p: model.generate(p, max_new_tokens=40, eos_token_id=[]) for p in PROMPTS}
    end, wrong = time.monotonic() + seconds, []

    def client(number: int) -> None:
        draw = random.Random(number)
        while time.monotonic() < end:
            prompt = draw.choice(PROMPTS)
            try:
                one = Gathered(
                    engine,
                    [ask(model, prompt, max_new_tokens=40, eos_token_id=[], pieces=draw.random() < 0.5)],
                )
            except BusyError:
                continue
            if draw.random() < 0.4:
                time.sleep(draw.random() * 0.01)
                engine.cancel(one.texts)
            elif one.wait()[0] != expected[prompt]:
                wrong.append(prompt)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    engine.call(lambda: None).result(30)
    while engine.running or len(engine.waiting):
        time.sleep(0.01)
    assert engine.pool.held == 0 and engine.pool.available == engine.pool.num_blocks
