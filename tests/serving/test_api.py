"""The HTTP API as the official client and a careless one meet it."""

import json
import socket
import threading
import time
import urllib.error
import urllib.request

import numpy as np
import pytest

from hortus.language import LanguageModel
from hortus.models import build_network
from hortus.serving import Prepared
from tests.language.families import wordpiece
from tests.serving.conftest import running_server

openai = pytest.importorskip("openai")
TEMPLATE = """{% for message in messages %}
    {% if message.role == 'system' %}
        {{ raise_exception('no system') }}
    {% endif %}
<{{ message['role'] }}>{{ message.content | trim }}{{ eos_token }}
{% endfor %}
{% if add_generation_prompt %}<assistant>{% endif %}
"""


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(base_url=f"{server[0]}/v1", api_key="none", max_retries=0) as client:
        yield client


def post(address: str, path: str, body: object, headers: dict[str, str] | None = None) -> tuple[int, dict]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(
        f"{address}{path}", data, {"Content-Type": "application/json"} | (headers or {})
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_completions_equal_generate(client, model: LanguageModel) -> None:
    answer = client.completions.create(model="tiny", prompt=["The quick", "é"], max_tokens=12)
    assert [c.text for c in answer.choices] == model.generate(["The quick", "é"], max_new_tokens=12)
    assert answer.usage.prompt_tokens == sum(map(len, model.tokenizer.encode_batch(["The quick", "é"])))
    sampled = client.completions.create(
        model="tiny", prompt="The", n=3, seed=5, temperature=1, top_p=0.9, max_tokens=9, stop=["fox"]
    )
    options = {"seed": 5, "temperature": 1.0, "top_p": 0.9, "max_new_tokens": 9, "stop": ["fox"]}
    assert [c.text for c in sampled.choices] == model.generate(["The"] * 3, **options)
    ids = model.tokenizer.encode("The quick")
    by_ids = client.completions.create(model="tiny", prompt=ids, max_tokens=12)
    assert by_ids.choices[0].text == answer.choices[0].text


def test_streams_join_to_the_whole_answer(client, model: LanguageModel) -> None:
    options = {"model": "tiny", "prompt": "The quick", "max_tokens": 20}
    chunks = list(
        client.completions.create(stream=True, stream_options={"include_usage": True}, echo=True, **options)
    )
    whole = client.completions.create(**options)
    texts = [chunk.choices[0].text for chunk in chunks if chunk.choices]
    assert "".join(texts) == "The quick" + whole.choices[0].text and len(texts) >= 3
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason


def test_echo_and_logprobs_rank_as_the_model_does(client, model: LanguageModel) -> None:
    text, choices = "The quick brown", ["fox", "dog jumps"]
    prompts = [text, *(f"{text} {choice}" for choice in choices)]
    answer = client.completions.create(model="tiny", prompt=prompts, max_tokens=0, echo=True, logprobs=2)
    rows = [choice.logprobs for choice in answer.choices]
    context = len(rows[0].tokens)
    sums = [sum(row.token_logprobs[context:]) for row in rows[1:]]
    np.testing.assert_allclose(sums, model.rank(text, choices), atol=1e-4)
    assert rows[0].token_logprobs[0] is None and answer.choices[0].text == text
    for row, prompt in zip(rows, prompts, strict=True):
        starts = [*row.text_offset, len(prompt)]
        assert [prompt[a:b] for a, b in zip(starts, starts[1:], strict=False)] == row.tokens


def test_chat_without_a_template_is_lines(client, model: LanguageModel) -> None:
    messages = [{"role": "user", "content": "The quick"}]
    answer = client.chat.completions.create(
        model="tiny", messages=messages, max_tokens=12, logprobs=True, top_logprobs=2
    )
    expected = model.generate("The quick\n", max_new_tokens=12, stop="\n")
    assert answer.choices[0].message.content == expected
    assert len(answer.choices[0].logprobs.content) == answer.usage.completion_tokens
    assert len(answer.choices[0].logprobs.content[0].top_logprobs) == 2
    stream = client.chat.completions.create(model="tiny", messages=messages, max_tokens=12, stream=True)
    pieces = [chunk.choices[0].delta.content or "" for chunk in stream]
    assert "".join(pieces) == expected and len(pieces) > 2


def test_embeddings(client, model: LanguageModel) -> None:
    texts = [f"text number {number}" for number in range(20)]
    answer = client.embeddings.create(model="tiny", input=texts)  # the client asks for base64
    np.testing.assert_allclose([e.embedding for e in answer.data], model.embed(texts), atol=1e-5)
    plain = client.embeddings.create(model="tiny", input="The", encoding_format="float")
    np.testing.assert_allclose(plain.data[0].embedding, model.embed("The"), atol=1e-5)


def test_models_health_and_metrics(client, server) -> None:
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").id == "tiny"
    with pytest.raises(openai.NotFoundError, match="no model 'huge'"):
        client.models.retrieve("huge")
    with urllib.request.urlopen(f"{server[0]}/metrics") as answer:
        text = answer.read().decode()
    assert 'hortus_texts_total{reason="length"}' in text and "hortus_first_token_seconds_bucket" in text
    assert 'hortus_answers_total{path="/v1/completions",status="200"}' in text
    assert json.load(urllib.request.urlopen(f"{server[0]}/health"))["status"] == "ok"


WRONG = [
    ("/v1/completions", b"{not json", 400, "not JSON"),
    ("/v1/completions", b"\xff\xfe", 400, ""),
    ("/v1/completions", b"[" * 100_000, 400, ""),
    ("/v1/completions", {"prompt": "a", "promt": "b"}, 400, "promt"),
    ("/v1/completions", {}, 400, "prompt"),
    ("/v1/completions", {"prompt": "a", "model": "gpt-4"}, 404, "gpt-4"),
    ("/v1/completions", {"prompt": "a", "n": 17}, 400, "1 to 16"),
    ("/v1/completions", {"prompt": ["a"] * 17}, 400, "1 to 16"),
    ("/v1/completions", {"prompt": []}, 400, "1 to 16"),
    ("/v1/completions", {"prompt": [319, 320]}, 400, "0 to 319"),
    ("/v1/completions", {"prompt": "a", "temperature": -1}, 400, "temperature"),
    ("/v1/completions", {"prompt": "a", "max_tokens": 5000}, 400, "2048 or fewer"),
    ("/v1/completions", {"prompt": "a", "max_tokens": 0}, 400, "asks for nothing"),
    ("/v1/completions", {"prompt": "x" * 900}, 400, "1 to 255"),
    ("/v1/completions", {"prompt": "a", "presence_penalty": 0.5}, 400, "presence_penalty"),
    ("/v1/completions", b'{"prompt": "\\ud800"}', 400, ""),
    ("/v1/completions", b'{"prompt": "a", "temperature": NaN}', 400, "temperature"),
    ("/v1/chat/completions", {"messages": []}, 400, "messages"),
    ("/v1/chat/completions", {"messages": [{"role": "king", "content": "a"}]}, 400, "role"),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}], "top_logprobs": 2}, 400, ""),
    ("/v1/embeddings", {"input": []}, 400, "1 to 256"),
    ("/v1/embeddings", {"input": ["x" * 900]}, 400, "or fewer"),
    ("/v1/nothing", {}, 404, ""),
    ("/health", {}, 405, ""),
]


@pytest.mark.parametrize(("path", "body", "status", "words"), WRONG)
def test_refusals_have_the_shape_of_the_api(server, path, body, status, words) -> None:
    code, answer = post(server[0], path, body)
    assert code == status
    assert set(answer) == {"error"} and set(answer["error"]) == {"message", "type", "param", "code"}
    assert words in answer["error"]["message"]
    assert server[1].pool.held == 0


def test_token_and_body_limit(model: LanguageModel) -> None:
    with running_server(model, token="a long token", max_body_bytes=1000) as (address, _, _):
        body = {"prompt": "a", "max_tokens": 2}
        for header in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic a long token"}):
            code, answer = post(address, "/v1/completions", body, header)
            assert (code, answer["error"]["code"]) == (401, "invalid_api_key")
        good = {"Authorization": "Bearer a long token"}
        assert post(address, "/v1/completions", body, good)[0] == 200
        assert post(address, "/v1/completions", {"prompt": "a" * 1000}, good)[0] == 413
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as raw:  # no length declared
            head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nAuthorization: {good['Authorization']}\r\n"
            raw.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
            raw.sendall(b"400\r\n" + b"a" * 1024 + b"\r\n")
            assert b" 413 " in raw.recv(1000)
        assert json.load(urllib.request.urlopen(f"{address}/health"))["status"] == "ok"


def test_a_client_that_leaves_frees_its_blocks(server, model: LanguageModel) -> None:
    address, engine = server
    host, port = address.removeprefix("http://").split(":")
    for stream in (True, False):
        body = json.dumps({"prompt": "The", "max_tokens": 250, "stream": stream, "n": 16, "temperature": 1})
        with socket.create_connection((host, int(port)), timeout=10) as raw:
            head = "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            raw.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
            while not engine.running:
                time.sleep(0.001)
        end = time.monotonic() + 10
        while engine.pool.held and time.monotonic() < end:
            time.sleep(0.01)
        assert engine.pool.held == 0
    assert 'reason="cancelled"' in engine.metrics.text().decode()


def test_a_full_queue_answers_429(model: LanguageModel) -> None:
    with running_server(model, max_running=1, max_queued=2, grace_seconds=0) as (address, engine, _):
        long = {"prompt": "The", "max_tokens": 250, "temperature": 1}
        threads = [threading.Thread(target=post, args=(address, "/v1/completions", long)) for _ in range(3)]
        for thread in threads:
            thread.start()
            while not engine.running:
                time.sleep(0.001)
        end = time.monotonic() + 10
        code = 200
        while code == 200 and time.monotonic() < end:
            code, answer = post(address, "/v1/completions", {"prompt": ["a"] * 3, "max_tokens": 1})
        assert (code, answer["error"]["code"]) == (429, "queue_full")
        for thread in threads:
            thread.join()


@pytest.mark.parametrize(("grace", "reason"), [(30, "length"), (0, "length")])
def test_a_stop_finishes_or_returns_what_runs(model: LanguageModel, monkeypatch, grace, reason) -> None:
    answers = []
    body = {"prompt": "The", "max_tokens": 240, "temperature": 1, "seed": 1}
    with running_server(model, grace_seconds=grace) as (address, engine, server):
        advance = engine.stepper.advance
        # Slow enough that the stop, which is looked at ten times a second, comes before the text's own end.
        monkeypatch.setattr(engine.stepper, "advance", lambda: (time.sleep(0.003), advance()))
        thread = threading.Thread(target=lambda: answers.append(post(address, "/v1/completions", body)))
        thread.start()
        while not engine.running:
            time.sleep(0.001)
        server.should_exit = True
        thread.join(30)
    ((code, answer),) = answers
    whole = model.generate("The", max_new_tokens=240, temperature=1.0, seed=1)
    text = answer["choices"][0]["text"]
    assert code == 200 and answer["choices"][0]["finish_reason"] == reason
    assert text == whole if grace else (whole.startswith(text.rstrip("\ufffd")) and len(text) < len(whole))


def test_a_chat_template_is_rendered_in_the_sandbox(model: LanguageModel, tmp_path) -> None:
    transformers = pytest.importorskip("transformers")
    model.save(tmp_path / "model")
    opened = LanguageModel.load(tmp_path / "model")
    opened.tokenizer.settings["chat_template"] = TEMPLATE
    peer = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    talk = [{"role": "user", "content": "The ||| quick "}, {"role": "assistant", "content": "fox"}] * 2
    with running_server(opened, folder=tmp_path / "model") as (address, _, _):
        expected = peer.apply_chat_template(
            talk[:3], chat_template=TEMPLATE, tokenize=False, add_generation_prompt=True
        )
        body = {"messages": talk[:3], "max_tokens": 9}
        code, answer = post(address, "/v1/chat/completions", body)
        told = answer["choices"][0]["message"]["content"]
        assert code == 200 and told == opened.generate(expected, max_new_tokens=9, parse_special=True)
        code, answer = post(
            address, "/v1/chat/completions", {"messages": [{"role": "system", "content": ""}]}
        )
        assert code == 400 and "refuses" in answer["error"]["message"]
        # The folder is written over: the loaded model goes on, and says so.
        (tmp_path / "model" / "model.safetensors").write_bytes(b"other")
        time.sleep(1.1)
        assert json.load(urllib.request.urlopen(f"{address}/health"))["changed_on_disk"]
        assert post(address, "/v1/chat/completions", body)[1]["choices"][0]["message"]["content"] == told


def test_a_hostile_template_costs_its_request_only(model: LanguageModel, tmp_path) -> None:
    model.save(tmp_path / "model")
    opened = LanguageModel.load(tmp_path / "model")
    opened.tokenizer.settings["chat_template"] = (
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    )
    with running_server(opened) as (address, _, _):
        code, answer = post(address, "/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}]})
        assert code == 400 and "time" in answer["error"]["message"]
        assert post(address, "/v1/completions", {"prompt": "a", "max_tokens": 2})[0] == 200


def test_an_encoder_is_served_for_embeddings() -> None:
    shape = {"dim": 16, "hidden_dim": 32, "n_layers": 1, "n_heads": 2, "vocab_size": 320}
    encoder = LanguageModel(build_network({"model_type": "distilbert", **shape}), wordpiece())
    with running_server(encoder) as (address, _, _):
        code, answer = post(address, "/v1/embeddings", {"input": ["The quick", "fox"]})
        rows = [entry["embedding"] for entry in answer["data"]]
        np.testing.assert_allclose(rows, encoder.embed(["The quick", "fox"]), atol=1e-5)
        code, answer = post(address, "/v1/completions", {"prompt": "a"})
        assert code == 400 and "embeddings" in answer["error"]["message"]


def test_an_answerer_stands_before_the_model(model: LanguageModel) -> None:
    class Retrieval:
        def prepare(self, question: str) -> Prepared:
            return Prepared(f"The quick {question}", {"retrieved": True}, stop=("\n",))

    with running_server(model, answerer=Retrieval()) as (address, _, _):
        body = {"messages": [{"role": "user", "content": "brown"}], "max_tokens": 9}
        code, answer = post(address, "/v1/chat/completions", body)
    assert code == 200 and answer["hortus"] == {"retrieved": True}
    expected = model.generate("The quick brown", max_new_tokens=9, stop="\n")
    assert answer["choices"][0]["message"]["content"] == expected
