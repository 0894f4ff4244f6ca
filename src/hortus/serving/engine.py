"""Continuous batching: one thread that runs all texts together, each joining and leaving at any step.

A text is admitted when there are cache blocks for its whole possible length, so nothing that runs is ever put
back. Texts that begin alike share the blocks of their common beginning. What a step does: `stepping`.

What differs from vLLM's scheduler: no preemption (admission reserves), turns between clients rather than
first come, and outputs that equal `LanguageModel.generate` token for token.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from hortus.errors import ConfigError, DataError, HortusError
from hortus.language import LanguageModel
from hortus.language.generation import Row
from hortus.language.paging import open_paged, position_bytes, writes_together
from hortus.language.reading import Reader
from hortus.language.sampling import uniform_numbers
from hortus.serving.blocks import BlockPool, block_keys
from hortus.serving.config import ServingConfig
from hortus.serving.metrics import Metrics
from hortus.serving.sequence import Text, TextRequest, Update
from hortus.serving.served import own_weights
from hortus.serving.stepping import Stepper, tell_end
from hortus.serving.waiting import FairQueue

__all__ = ["BusyError", "Engine"]


class BusyError(HortusError):
    """The queue is full, or the server is stopping (`stopping`); try later."""

    def __init__(self, what: str, stopping: bool = False):
        super().__init__(what, do="try again later")
        self.stopping = stopping


class Engine:
    """Continues texts for many clients with one model; methods may be called from any thread.

    Args:
        model: a decoder; of other families only other work (`call`) is taken.
        config: limits and memory.
        metrics: what is counted for /metrics.

    Use it as a context manager, or call `start` and `stop`.
    """

    def __init__(self, model: LanguageModel, config: ServingConfig, metrics: Metrics | None = None):
        self.model, self.config = model, config
        own_weights(model.network)
        num_blocks = config.num_blocks(position_bytes(model)) if writes_together(model) else 0
        decoder = open_paged(model, num_blocks, config.block_size) if num_blocks else None
        self.pool = BlockPool(num_blocks)
        self.metrics = metrics or Metrics()
        self.metrics.watch(self)
        self.waiting: FairQueue[Text] = FairQueue()
        self.stepper = None
        if decoder is not None:
            self.stepper = Stepper(model, config, decoder, self.pool, self.metrics)
        self._jobs: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._wake = threading.Condition()
        self._thread = threading.Thread(target=self._serve, name="engine", daemon=True)
        self._stopped = False
        self._last_moment: float | None = None  # once stopping: when running texts end with what they have

    def __enter__(self) -> Engine:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the engine's thread."""
        self._thread.start()

    def drain(self, seconds: float) -> None:
        """Take nothing new; what is there may go on for so long and then ends with what it has."""
        with self._wake:
            self._last_moment = time.monotonic() + seconds
            self._wake.notify()

    def stop(self) -> None:
        """End every text with what it has, and the thread."""
        self.drain(0)
        with self._wake:
            self._stopped = True
            self._wake.notify()
        if self._thread.ident is not None:
            self._thread.join()

    @property
    def running(self) -> list[Text]:
        """The texts that have cache blocks."""
        return [] if self.stepper is None else self.stepper.running

    @property
    def stopping(self) -> bool:
        """Whether nothing new is taken."""
        return self._last_moment is not None

    def submit(self, requests: Sequence[TextRequest], tell: Callable[[Text, Update], None]) -> list[Text]:
        """Take requests in, all or none.

        Args:
            tell: called in the engine's thread with each text's news; must not block.

        Raises:
            BusyError: the queue is full, or the server is stopping.
            DataError: a prompt is too long.
            ConfigError: more new tokens than the server gives.
        """
        texts = self._prepare(requests, tell)
        with self._wake:
            self._check_room(len(texts))
            for text in texts:
                self.waiting.push(text.request.client, text)
            self._wake.notify()
        return texts

    def cancel(self, texts: Sequence[Text]) -> None:
        """Stop working on texts; they are told nothing more."""
        with self._wake:
            for text in texts:
                text.cancelled = True
            self._wake.notify()

    def call(self, job: Callable[[], Any]) -> Future[Any]:
        """Run other work of the model (embedding, say) in the engine's thread, between steps.

        Raises:
            BusyError: the queue is full, or the server is stopping.
        """
        future: Future[Any] = Future()
        with self._wake:
            self._check_room(1)
            self._jobs.append((job, future))
            self._wake.notify()
        return future

    def _check_room(self, count: int) -> None:
        if self.stopping:
            raise BusyError("the server is stopping", stopping=True)
        if len(self.waiting) + len(self._jobs) + count > self.config.max_queued:
            self.metrics.refused()
            raise BusyError(f"{len(self.waiting) + len(self._jobs)} texts are waiting")

    def _prepare(self, requests: Sequence[TextRequest], tell: Callable[[Text, Update], None]) -> list[Text]:
        model, size = self.model, self.config.block_size
        if self.stepper is None:
            raise ConfigError(f"a {model.kind} is not served as a writer", allowed="embeddings")
        counts = [request.config.max_new_tokens for request in requests]
        if max(counts, default=0) > self.config.max_new_tokens:
            raise ConfigError(f"max_tokens={max(counts)}", allowed=f"{self.config.max_new_tokens} or fewer")
        longest = min(model.max_length, self.stepper.decoder.capacity)
        texts = []
        seeds = {request.config.seed for request in requests}
        prompts = [request.prompt for request in requests]
        uniforms = uniform_numbers(prompts, max([1, *counts]), seeds.pop() if len(seeds) == 1 else None)
        for request, numbers in zip(requests, uniforms, strict=True):
            length, new = len(request.prompt), request.config.max_new_tokens
            if not 0 < length <= longest - (new > 0):
                raise DataError(f"a prompt has {length} tokens", allowed=f"1 to {longest - (new > 0)}")
            row = Row(request.prompt, numbers, min(new, longest - length))
            reader = Reader(model.tokenizer, row, request.config.stop)
            # The last token is always computed: its logits are what is wanted.
            keys = [] if request.echo else block_keys(request.prompt[:-1], size)
            deadline = time.monotonic() + self.config.request_seconds
            texts.append(Text(request, row, reader, keys, tell, deadline))
        return texts

    def _serve(self) -> None:
        while True:
            with self._wake:
                while not (self.running or len(self.waiting) or self._jobs or self._stopped):
                    self._wake.wait()
                if self._stopped and not (self.running or len(self.waiting) or self._jobs):
                    return
                self._sweep()
                self._admit()
                job = self._jobs.popleft() if self._jobs else None
            if job is not None:
                _carry_out(*job)
            if self.stepper is not None and self.stepper.running:
                self.stepper.advance()

    def _sweep(self) -> None:
        """Drop texts whose client has left; end those whose time is up."""
        now = time.monotonic()
        over = self._last_moment is not None and now >= self._last_moment
        for text in [*self.waiting, *self.running]:
            if not (text.cancelled or over or now >= text.deadline):
                continue
            if text in self.running:
                assert self.stepper is not None  # it runs them
                self.stepper.leave(text)
            else:
                self.waiting.remove(text.request.client, text)
            if text.cancelled:
                self.metrics.finished("cancelled", 0, 0)
            else:
                tell_end(text, "length", self.metrics)

    def _admit(self) -> None:
        while len(self.waiting) and len(self.running) < self.config.max_running:
            text = self.waiting.peek()
            needed = -(-(len(text.row.prompt) + text.row.room) // self.config.block_size)
            text.table = self.pool.match(text.keys)
            if self.pool.available < needed - len(text.table):
                self.pool.release(text.table)
                text.table = []
                return
            self.waiting.pop()
            text.reused = text.remembered = len(text.table)
            text.table += self.pool.allocate(needed - len(text.table))
            text.computed = text.reused * self.config.block_size
            self.metrics.admitted(len(text.row.prompt), text.computed)
            self.running.append(text)


def _carry_out(job: Callable[[], Any], future: Future[Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(job())
    except BaseException as error:  # belongs to whoever asked
        future.set_exception(error)
