"""RemoteModel against hortus's own server, and against endpoints that lack things or fail."""

import http.server
import json
import threading

import numpy as np
import pytest

from hortus.errors import ConfigError, DataError, DeviceError
from hortus.language import LanguageModel, RemoteModel

pytest.importorskip("uvicorn")
from tests.serving.conftest import running_server

PROMPTS = ["The quick", "", "def f(x):", "é 敏", "The quick brown fox"] * 3


@pytest.fixture(scope="module")
def remote(model: LanguageModel):
    with running_server(model, token="a long token") as (address, _, _):
        yield RemoteModel(f"{address}/v1", token="a long token")


def test_texts_equal_the_local_ones(remote: RemoteModel, model: LanguageModel) -> None:
    for options in (
        {},
        {"temperature": 1.0, "top_p": 0.9, "seed": 2, "stop": "fox"},
        {"repetition_penalty": 1.3},
    ):
        # Equal prompts get different samples in one list and so, over HTTP, in one request only.
        prompts = PROMPTS[:5] if "seed" in options else PROMPTS
        local = model.generate(prompts, max_new_tokens=12, **options)
        assert remote.generate(prompts, max_new_tokens=12, **options) == local
    assert remote.generate("The quick", max_new_tokens=12) == model.generate("The quick", max_new_tokens=12)
    pieces = list(remote.stream("The quick", max_new_tokens=12))
    assert "".join(pieces) == model.generate("The quick", max_new_tokens=12) and len(pieces) > 2


def test_ranks_and_embeddings_equal_the_local_ones(remote: RemoteModel, model: LanguageModel) -> None:
    texts = ["The quick brown", "def  "]
    choices = [["fox", "lazy dog", "é"], ["f(x)"] * 2]
    for mine, local in zip(remote.rank(texts, choices), model.rank(texts, choices), strict=True):
        np.testing.assert_allclose(mine, local, atol=1e-4)
    np.testing.assert_allclose(remote.embed(["The", "fox"]), model.embed(["The", "fox"]), atol=1e-5)
    assert remote.embed("The").shape == (48,)


def test_refusals_are_told_in_the_servers_words(remote: RemoteModel) -> None:
    with pytest.raises(ConfigError, match="1 to"):
        remote.generate("x" * 9000)
    with pytest.raises(ConfigError, match="401"):
        RemoteModel(remote.url, "tiny", token="wrong", retries=0).generate("a")
    with pytest.raises(ConfigError, match="404.*'other'"):
        RemoteModel(remote.url, "other", token="a long token").generate("a")
    with pytest.raises(ConfigError, match="max_new_token"):
        remote.generate("a", max_new_token=3)
    with pytest.raises(DataError, match="2 texts and 1"):
        remote.rank(["a", "b"], [["c"]])
    with pytest.raises(DataError, match="empty text"):
        remote.rank(" ", ["c"])
    with pytest.raises(ConfigError, match="logprobs, generation"):
        remote.rank("a", ["b"], method="guess")
    with pytest.raises(ConfigError, match="http://"):
        RemoteModel("ftp://x")


class _Endpoint(http.server.BaseHTTPRequestHandler):
    """Chat only, without log-probabilities; busy at first."""

    busy = 0

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if type(self).busy:
            type(self).busy -= 1
            self.answer(503, {"error": {"message": "busy"}})
        elif self.path.endswith("chat/completions"):
            text = f" Yes, certainly: {body['messages'][0]['content']}"
            self.answer(200, {"choices": [{"index": 0, "message": {"content": text}}]})
        else:
            choices = [{"index": i, "text": "", "logprobs": None} for i in range(len(body["prompt"]))]
            self.answer(200, {"choices": choices})

    def answer(self, status: int, value: object) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(value).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def endpoint():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Endpoint)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


def test_an_endpoint_without_echo(endpoint: str) -> None:
    remote = RemoteModel(endpoint, "m", chat=True)
    with pytest.raises(ConfigError, match='cannot rank.*method="generation"'):
        remote.rank("Is it?", ["yes", "no"])
    scores = remote.rank("Is it?", ["no", "yes", "yes, certainly"], method="generation")
    assert scores.tolist() == [-np.inf, -np.inf, 0.0]
    assert remote.rank("Is it?", ["a", "b"], method="generation").tolist() == [-np.log(2)] * 2


def test_a_busy_endpoint_is_asked_again(endpoint: str, monkeypatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    _Endpoint.busy = 2
    assert RemoteModel(endpoint, "m", chat=True).generate("x").strip() == "Yes, certainly: x"
    _Endpoint.busy = 100
    with pytest.raises(DeviceError, match="503: busy"):
        RemoteModel(endpoint, "m", chat=True).generate("x")
    _Endpoint.busy = 0
    with pytest.raises(DeviceError, match="does not answer"):
        RemoteModel("http://127.0.0.1:9/v1", "m", retries=1).generate("x")
