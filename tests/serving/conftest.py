import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from hortus.language import GenerationConfig, LanguageModel
from hortus.models.bloom import Bloom, BloomConfig
from hortus.serving import Engine, Server, Service, ServingConfig, TextRequest
from hortus.serving.sequence import Text, Update
from hortus.tokenizer import TokenizerConfig, train_tokenizer

TEXT = "The quick brown fox jumps over the lazy dog… é 敏捷的棕色狐狸. def f(x): return x\n"


@pytest.fixture(scope="session")
def model() -> LanguageModel:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    tokenizer = train_tokenizer([TEXT] * 9, TokenizerConfig(vocab_size=320))
    shape = {"vocab_size": 384, "hidden_size": 48, "num_layers": 2, "num_heads": 3}
    # A large deviation, so that random weights prefer some tokens clearly.
    return LanguageModel(Bloom(BloomConfig(initializer_range=0.4, **shape)), tokenizer, max_length=256)


@pytest.fixture
def make_engine(model: LanguageModel) -> Iterator[Callable[..., Engine]]:
    engines: list[Engine] = []

    def make(**settings: int | float) -> Engine:
        engine = Engine(model, ServingConfig(**{"cache_megabytes": 8, "block_size": 4} | settings))
        engines.append(engine)
        engine.start()
        return engine

    yield make
    for engine in engines:
        engine.stop()
        assert engine.pool.held == 0 and not engine.running


@contextmanager
def running_server(
    model: LanguageModel, folder: Path | None = None, answerer: Any = None, **settings: Any
) -> Iterator[tuple[str, Engine, Server]]:
    """A server in a thread: its address, engine and itself."""
    config = ServingConfig(**{"port": 0, "cache_megabytes": 8, "block_size": 4} | settings)
    with Engine(model, config) as engine:
        server = Server(Service(engine, "tiny", folder, answerer))
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            time.sleep(0.01)
            assert thread.is_alive()
        try:
            yield server.address, engine, server
        finally:
            server.should_exit = True
            thread.join(60)
            assert not thread.is_alive()


@pytest.fixture(scope="module")
def server(model: LanguageModel) -> Iterator[tuple[str, Engine]]:
    with running_server(model, grace_seconds=1) as (address, engine, _):
        yield address, engine


class Gathered:
    """What texts were told, and a way to wait for their ends."""

    def __init__(self, engine: Engine, requests: Sequence[TextRequest]):
        self.news: list[list[Update]] = [[] for _ in requests]
        self._left, self._ended = len(requests), threading.Event()
        self._numbers: dict[int, int] = {}
        self._early: list[tuple[Text, Update]] = []
        self._lock = threading.Lock()
        texts = engine.submit(requests, self._tell)
        with self._lock:
            self.texts = texts
            self._numbers = {id(text): number for number, text in enumerate(texts)}
            for text, update in self._early:
                self._note(text, update)

    def _tell(self, text: Text, update: Update) -> None:
        with self._lock:
            if self._numbers:
                self._note(text, update)
            else:
                self._early.append((text, update))

    def _note(self, text: Text, update: Update) -> None:
        self.news[self._numbers[id(text)]].append(update)
        if update.finish is not None:
            self._left -= 1
            if not self._left:
                self._ended.set()

    def wait(self) -> list[str]:
        """The whole texts."""
        assert self._ended.wait(60)
        return ["".join(update.text for update in news) for news in self.news]

    def reasons(self) -> list[str | None]:
        self.wait()
        return [news[-1].finish for news in self.news]


def ask(model: LanguageModel, text: str, **options) -> TextRequest:
    own = {name: options.pop(name) for name in ("client", "logprobs", "echo", "pieces") if name in options}
    ids = model.tokenizer.encode(text) or [model.separator_id]
    return TextRequest(prompt=ids, config=GenerationConfig().replaced(**options), **own)
