"""The HTTP API: OpenAI's completions, chat completions, embeddings and models over one engine."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool

import hortus
from hortus.errors import ConfigError, DataError
from hortus.language import LanguageModel
from hortus.serving.answerer import Answerer, Prepared
from hortus.serving.answers import ChatAnswer, CompletionAnswer, event, usage
from hortus.serving.config import ServingConfig
from hortus.serving.engine import Engine
from hortus.serving.faults import Guard, fault, install, stream_fault
from hortus.serving.listening import ClientGoneError, Listener
from hortus.serving.protocol import ChatRequest, CompletionRequest, EmbeddingRequest, Sampling
from hortus.serving.sequence import TextRequest, Update
from hortus.serving.served import FolderWatch
from hortus.serving.talk import Talk

__all__ = ["Service", "create_app"]

_REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"description": meaning}
    for status, meaning in {
        400: "A field is wrong",
        401: "No or a wrong token",
        404: "Another model",
        413: "The body is too large",
        429: "The queue is full",
        503: "The server is stopping",
    }.items()
}
_EMBEDDED_TOGETHER = 16


class Service:
    """What the routes do; one for each server."""

    def __init__(
        self, engine: Engine, name: str, folder: Path | None = None, answerer: Answerer | None = None
    ):
        self.engine, self.name, self.answerer = engine, name, answerer
        self.model: LanguageModel = engine.model
        self.config: ServingConfig = engine.config
        self.watch = FolderWatch(folder)
        self.talk = Talk(self.model.tokenizer)
        self._began = int(time.time())

    def models(self) -> dict[str, Any]:
        """The one model served."""
        one = {"id": self.name, "object": "model", "created": self._began, "owned_by": "hortus"}
        more = {"max_model_len": self.model.max_length, "changed_on_disk": self.watch.changed}
        return {"object": "list", "data": [one | more]}

    def health(self) -> dict[str, Any]:
        """Whether requests are taken."""
        status = "stopping" if self.engine.stopping else "ok"
        return {"status": status, "changed_on_disk": self.watch.changed}

    async def complete(self, body: CompletionRequest, request: Request) -> Response:
        """Continue prompts."""
        prompts = body.prompts()
        self._check_choices(len(prompts) * body.n)
        config = body.generation(self.model.generation_config)
        if config.max_new_tokens == 0 and not body.echo:
            raise ConfigError("max_tokens=0 asks for nothing", allowed="1 or more, or echo=true")
        answer = CompletionAnswer(self.name, self.model.tokenizer)
        heads: list[str] = []

        def prepare() -> list[TextRequest]:
            requests = []
            for prompt in prompts:
                ids = self._ids(prompt)
                head = (self._text(prompt) if body.echo else "",)
                one = TextRequest(
                    prompt=ids,
                    config=config,
                    client=self._client(request),
                    logprobs=body.logprobs,
                    echo=body.echo and body.logprobs is not None,
                    pieces=body.stream,
                )
                requests += [one] * body.n
                heads.extend(head * body.n)
            return requests

        listener = Listener(self.engine)
        await listener.submit(prepare)
        scored = body.logprobs is not None
        if body.stream:
            opening = [answer.choice(i, head, None, None) for i, head in enumerate(heads) if head]
            pieces = self._stream(answer, answer.choice, listener, body, scored, opening, len(prompts), {})
            return StreamingResponse(pieces, media_type="text/event-stream")
        updates = await self._gather(listener, request)
        choices = [
            answer.choice(i, heads[i] + news.text, news.scores if scored else None, news.finish)
            for i, news in enumerate(updates)
        ]
        return JSONResponse(answer.whole(choices, usage(listener.texts, len(prompts))))

    async def chat(self, body: ChatRequest, request: Request) -> Response:
        """Answer a talk."""
        self._check_choices(body.n)
        if body.top_logprobs is not None and not body.logprobs:
            raise ConfigError("top_logprobs without logprobs", do="set logprobs to true")
        turns = [message.turn() for message in body.messages]
        prepared, templated = await self._prepared(turns)
        config = body.generation(self.model.generation_config)
        config = config.replaced(stop=(*config.stop, *prepared.stop))
        if config.max_new_tokens == 0:
            raise ConfigError("max_tokens=0 asks for nothing", allowed="1 or more")
        answer = ChatAnswer(self.name, self.model.tokenizer)
        listener = Listener(self.engine)

        def prepare() -> list[TextRequest]:
            one = TextRequest(
                prompt=self._ids(prepared.prompt, parse_special=templated),
                config=config,
                client=self._client(request),
                logprobs=(body.top_logprobs or 0) if body.logprobs else None,
                pieces=body.stream,
            )
            return [one] * body.n

        await listener.submit(prepare)
        extra = {"hortus": prepared.details} if prepared.details else {}
        if body.stream:
            opening = [answer.opening(i) for i in range(body.n)]
            pieces = self._stream(answer, answer.piece, listener, body, body.logprobs, opening, 1, extra)
            return StreamingResponse(pieces, media_type="text/event-stream")
        updates = await self._gather(listener, request)
        choices = [
            answer.choice(i, news.text, news.scores if body.logprobs else None, news.finish)
            for i, news in enumerate(updates)
        ]
        return JSONResponse(answer.whole(choices, usage(listener.texts, 1)) | extra)

    async def embed(self, body: EmbeddingRequest) -> Response:
        """The mean state of each text."""
        texts = [body.input] if isinstance(body.input, str) else body.input
        if not 0 < len(texts) <= self.config.max_texts:
            raise ConfigError(f"{len(texts)} texts", allowed=f"1 to {self.config.max_texts}")
        rows: list[np.ndarray] = []
        # In small parts, so that running texts wait for one of them at most.
        for start in range(0, len(texts), _EMBEDDED_TOGETHER):
            part = texts[start : start + _EMBEDDED_TOGETHER]
            rows.extend(await self._in_engine(lambda part=part: self.model.embed(part)))
        tokens = sum(map(len, await run_in_threadpool(self.model.tokenizer.encode_batch, texts)))
        data = [
            {"object": "embedding", "index": number, "embedding": _written(row, body.encoding_format)}
            for number, row in enumerate(rows)
        ]
        numbers = {"prompt_tokens": tokens, "total_tokens": tokens}
        return JSONResponse({"object": "list", "model": self.name, "data": data, "usage": numbers})

    async def _prepared(self, turns: list[dict[str, str]]) -> tuple[Prepared, bool]:
        """The prompt of a talk and whether it spells special tokens."""
        if self.answerer is not None:
            if turns[-1]["role"] != "user":
                raise DataError("the last message is not the user's", do="end the messages with a question")
            return await self._in_engine(lambda: self.answerer.prepare(turns[-1]["content"])), False
        prompt, templated = await run_in_threadpool(self.talk.prompt, turns)
        # Without a template the talk is plain lines, and the answer ends with its line.
        return Prepared(prompt, stop=() if templated else ("\n",)), templated

    async def _in_engine(self, job: Any) -> Any:
        return await asyncio.wrap_future(self.engine.call(job))

    async def _gather(self, listener: Listener, request: Request) -> list[Update]:
        """The last news of each text, which hold all of it."""
        ended: dict[int, Update] = {}
        async with aclosing(listener.updates(request)) as updates:
            async for number, news in updates:
                if news.finish == "error":
                    raise RuntimeError(news.error)
                ended[number] = news
        return [ended[number] for number in range(len(listener.texts))]

    async def _stream(
        self,
        answer: CompletionAnswer | ChatAnswer,
        shape: Any,
        listener: Listener,
        body: Sampling,
        scored: bool,
        opening: Sequence[dict[str, Any]],
        num_prompts: int,
        extra: dict[str, Any],
    ) -> AsyncIterator[str]:
        for number, choice in enumerate(opening):
            yield event(answer.chunk([choice]) | (extra if number == 0 else {}))
        async with aclosing(listener.updates()) as updates:
            async for number, news in updates:
                if news.finish == "error":
                    yield stream_fault(news.error)
                    return
                choice = shape(number, news.text, news.scores if scored else None, news.finish)
                yield event(answer.chunk([choice]))
        if body.wants_usage:
            yield event(answer.chunk([]) | {"usage": usage(listener.texts, num_prompts)})
        yield "data: [DONE]\n\n"

    def _check_choices(self, count: int) -> None:
        if not 0 < count <= self.config.max_choices:
            raise ConfigError(f"{count} choices (prompts times n)", allowed=f"1 to {self.config.max_choices}")

    def check_model(self, asked: str | None) -> Response | None:
        """A refusal if another model was asked for."""
        if asked is None or asked == self.name:
            return None
        return fault(404, f"no model {asked!r} here; this is {self.name!r}", "model", "model_not_found")

    def _ids(self, prompt: str | list[int], parse_special: bool = False) -> list[int]:
        if isinstance(prompt, str):
            ids = self.model.tokenizer.encode(prompt, parse_special=parse_special)
        else:
            ids = prompt
            most = self.model.tokenizer.vocab_size
            if any(token >= most for token in ids):
                raise DataError(f"token {max(ids)}", allowed=f"0 to {most - 1}")
        return ids or [self.model.separator_id]

    def _text(self, prompt: str | list[int]) -> str:
        return prompt if isinstance(prompt, str) else self.model.tokenizer.decode(prompt)

    @staticmethod
    def _client(request: Request) -> str:
        """Whose turn the request takes: the address, or the user that a trusted front names."""
        return request.client.host if request.client else ""


def _written(row: np.ndarray, form: str) -> Any:
    if form == "float":
        return [float(value) for value in row]
    return base64.b64encode(row.astype("<f4").tobytes()).decode()


def create_app(service: Service) -> FastAPI:
    """The ASGI application; further rooms may add routes of their own to it."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        service.talk.close()

    app = FastAPI(title="hortus", version=hortus.__version__, lifespan=lifespan, responses=_REFUSALS)
    install(app)

    @app.exception_handler(ClientGoneError)
    async def _gone(request: Request, error: ClientGoneError) -> Response:
        return Response(status_code=499)

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return service.models()

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> Any:
        return service.check_model(name) or service.models()["data"][0]

    @app.post("/v1/completions")
    async def completions(body: CompletionRequest, request: Request) -> Any:
        return service.check_model(body.model) or await service.complete(body, request)

    @app.post("/v1/chat/completions")
    async def chat(body: ChatRequest, request: Request) -> Any:
        return service.check_model(body.model) or await service.chat(body, request)

    @app.post("/v1/embeddings")
    async def embeddings(body: EmbeddingRequest) -> Any:
        return service.check_model(body.model) or await service.embed(body)

    @app.get("/health")
    async def health() -> dict[str, Any]:
        return service.health()

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(service.engine.metrics.text(), media_type="text/plain; version=0.0.4")

    config = service.config
    app.add_middleware(
        Guard, token=config.token, max_body_bytes=config.max_body_bytes, metrics=service.engine.metrics
    )
    return app
