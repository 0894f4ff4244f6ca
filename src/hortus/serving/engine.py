"""Continuous batching: one thread that runs all texts together, each joining and leaving at any step.

A step takes the next token of every text that is being written and, in what room is left, the next tokens of
prompts that are being read; so a long prompt delays the others by little. A text is admitted when there are
cache blocks for its whole possible length, so nothing that runs is ever put back. Texts that begin alike
share the blocks of their common beginning.

What differs from vLLM's scheduler: no preemption (admission reserves), turns between clients rather than
first come, and outputs that equal `LanguageModel.generate` token for token.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import torch

from hortus.errors import ConfigError, DataError, HortusError
from hortus.language import LanguageModel
from hortus.language.generation import Row
from hortus.language.paging import (
    MOST_ROWS,
    PagedDecoder,
    PagedRow,
    open_paged,
    position_bytes,
    writes_together,
)
from hortus.language.reading import Reader
from hortus.language.sampling import uniform_numbers
from hortus.serving.blocks import BlockPool, block_keys
from hortus.serving.choosing import choose, score_tokens
from hortus.serving.config import ServingConfig
from hortus.serving.metrics import Metrics
from hortus.serving.sequence import Text, TextRequest, TokenScore, Update
from hortus.serving.served import own_weights
from hortus.serving.waiting import FairQueue

__all__ = ["BusyError", "Engine"]

_PIECE = 256  # prompt tokens of one pass through the network's modules
_LONG = 96  # from here such a pass beats rows of the compiled kernels, where nobody waits for it
_MANY = 16  # rows from which a step's time grows with them
_FEW = 8  # prompt tokens that are read in any step
_MOST_LOGITS = 1 << 24  # numbers of one chunk of logits: 64 MB in fp32
_log = logging.getLogger("hortus")


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
        self.decoder: PagedDecoder | None = None
        num_blocks = config.num_blocks(position_bytes(model)) if writes_together(model) else 0
        if num_blocks:
            self.decoder = open_paged(model, num_blocks, config.block_size)
        self.pool = BlockPool(num_blocks)
        self.metrics = metrics or Metrics()
        self.metrics.watch(self)
        self.waiting: FairQueue[Text] = FairQueue()
        self.running: list[Text] = []
        self._jobs: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._wake = threading.Condition()
        self._thread = threading.Thread(target=self._serve, name="engine", daemon=True)
        self._row_seconds = config.step_seconds / 32  # of one row in a run of many; measured as steps go
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
        if self.decoder is None:
            raise ConfigError(f"a {model.kind} is not served as a writer", allowed="embeddings")
        counts = [request.config.max_new_tokens for request in requests]
        if max(counts, default=0) > self.config.max_new_tokens:
            raise ConfigError(f"max_tokens={max(counts)}", allowed=f"{self.config.max_new_tokens} or fewer")
        longest = min(model.max_length, self.decoder.capacity)
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
            if self.running:
                self._advance()

    def _sweep(self) -> None:
        """Drop texts whose client has left; end those whose time is up."""
        now = time.monotonic()
        over = self._last_moment is not None and now >= self._last_moment
        for text in [*self.waiting, *self.running]:
            if not (text.cancelled or over or now >= text.deadline):
                continue
            if text in self.running:
                self._leave(text)
            else:
                self.waiting.remove(text.request.client, text)
            if text.cancelled:
                self.metrics.finished("cancelled", 0, 0)
            else:
                self._tell_end(text, "length")

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

    def _advance(self) -> None:
        """One step; if it fails, the texts in it are told so and the engine goes on."""
        try:
            with torch.inference_mode():
                assert self.decoder is not None  # nothing runs without one
                self._read_long_prompt(self.decoder)
                self._step(self.decoder)
        except Exception as error:  # a full memory, say: the server must outlive it
            _log.exception("a step failed")
            for text in list(self.running):
                self._leave(text)
                text.tell(text, Update(finish="error", error=str(error)))

    def _read_long_prompt(self, decoder: PagedDecoder) -> None:
        """Pass a piece of one prompt through the modules, where the compiled kernels do not serve as well."""
        reading = [text for text in self.running if text.reading]
        for text in reading:
            left = len(text.row.prompt) - text.computed
            alone = len(reading) == len(self.running) and left > _LONG
            if not (text.request.echo or alone or not decoder.compiled):
                continue
            start, count = text.computed, min(left, _PIECE if len(reading) == len(self.running) else _FEW * 8)
            states = decoder.extend(text.tokens(start, start + count), start, text.table)
            self._computed(text, count)
            if text.request.echo:
                self._score_prompt(text, states, start)
            if not text.reading:
                self._write([text], self.model.network.head(states[-1:]))
            return

    def _step(self, decoder: PagedDecoder) -> None:
        """Run the next tokens of all texts that fit one run of the kernels."""
        rows: list[PagedRow] = []
        rest: list[PagedRow] = []
        advanced: list[tuple[Text, int]] = []
        most = self._most_rows()
        for text in sorted(self.running, key=lambda text: text.reading):  # writers first: they wait for it
            if text.reading and (text.request.echo or not decoder.compiled):
                continue
            count = min(max(1, len(text.row.prompt) - text.computed), most - len(rows) - len(rest))
            if count <= 0:
                break
            new = text.rows(count)
            if text.computed + count == text.num_tokens:
                rows.append(new.pop())
            rest += new
            advanced.append((text, count))
        if not advanced:
            return
        began = time.perf_counter()
        logits = decoder.run(rows + rest, scored=len(rows))
        if (num_rows := len(rows) + len(rest)) >= _MANY:
            self._row_seconds += 0.2 * ((time.perf_counter() - began) / num_rows - self._row_seconds)
        for text, count in advanced:
            self._computed(text, count)
        self._write([text for text, _ in advanced if text.computed == text.num_tokens], logits)

    def _most_rows(self) -> int:
        """Rows of a step: all where nobody waits for tokens, else what fits the time of a step."""
        writers = sum(not text.reading for text in self.running)
        if not writers:
            return MOST_ROWS
        return min(MOST_ROWS, max(writers + _FEW, int(self.config.step_seconds / self._row_seconds)))

    def _computed(self, text: Text, count: int) -> None:
        """Count new positions and let others reuse the blocks that are now full."""
        text.computed += count
        size = self.config.block_size
        full = text.computed // size
        if full <= text.remembered:
            return
        if full > len(text.keys):
            last = text.keys[-1] if text.keys else b""
            text.keys += block_keys(text.tokens(0, full * size), size, len(text.keys), last)
        for number in range(text.remembered, full):
            self.pool.remember(text.table[number], text.keys[number])
        text.remembered = full

    def _score_prompt(self, text: Text, states: torch.Tensor, start: int) -> None:
        """Log-probabilities of the prompt tokens that follow the (T, D) states from `start` on."""
        prompt, head = text.row.prompt, self.model.network.head
        if start == 0:
            text.scores.append(TokenScore(prompt[0], None))
        chunk = max(1, _MOST_LOGITS // self.model.network.config.vocab_size)
        for at in range(0, states.size(0), chunk):
            targets = list(prompt[start + at + 1 : start + min(at + chunk, states.size(0)) + 1])
            if targets:
                logits = head(states[at : at + len(targets)])
                text.scores += score_tokens(logits, targets, text.request.logprobs or 0)

    def _write(self, texts: Sequence[Text], logits: torch.Tensor) -> None:
        """Give every text its next token."""
        for text in texts:
            if text.row.room == 0:
                self._end(text, "length")
        going = [(index, text) for index, text in enumerate(texts) if text.row.room]
        if not going:
            return
        if len(going) < len(texts):
            logits = logits[torch.tensor([index for index, _ in going], device=logits.device)]
        writers = [text for _, text in going]
        chosen = choose(logits, writers, self.model.tokenizer.vocab_size)
        now = time.monotonic()
        for index, (text, token) in enumerate(zip(writers, chosen, strict=True)):
            self.metrics.token(now - (text.last or text.began), first=not text.last)
            text.last = now
            if token in self._ends(text):
                self._end(text, "stop")
                continue
            if text.request.logprobs is not None:
                text.scores += score_tokens(logits[index : index + 1], [token], text.request.logprobs)
            text.row.tokens.append(token)
            self._tell_token(text, token)

    def _ends(self, text: Text) -> Sequence[int]:
        ends = text.request.config.eos_token_id
        if ends is not None:
            return ends
        return () if self.model.tokenizer.eos_id is None else (self.model.tokenizer.eos_id,)

    def _tell_token(self, text: Text, token: int) -> None:
        wanted = text.request.pieces or text.request.config.stop
        piece = text.reader.push(token) if wanted else ""
        if text.row.finished or len(text.row.tokens) >= text.row.room:
            self._end(text, "stop" if text.row.finished else "length", piece)
        elif text.request.pieces and piece:
            text.tell(text, Update(piece, self._take_scores(text)))

    def _end(self, text: Text, reason: str, piece: str = "") -> None:
        self._leave(text)
        self._tell_end(text, reason, piece)

    def _tell_end(self, text: Text, reason: str, piece: str = "") -> None:
        whole = piece + text.reader.finish() if text.request.pieces else text.reader.whole()
        self.metrics.finished(reason, len(text.row.tokens), time.monotonic() - text.began)
        text.tell(text, Update(whole, self._take_scores(text), reason))

    def _take_scores(self, text: Text) -> tuple[TokenScore, ...]:
        scores, text.scores = tuple(text.scores), []
        return scores

    def _leave(self, text: Text) -> None:
        self.running.remove(text)
        self.pool.release(text.table)
        text.table = []


def _carry_out(job: Callable[[], Any], future: Future[Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(job())
    except BaseException as error:  # belongs to whoever asked
        future.set_exception(error)
