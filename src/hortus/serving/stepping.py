"""A step of continuous batching: the next token of all texts together, and what their clients are told.

A step takes the next token of every text that is being written and, in what room is left, the next tokens of
prompts that are being read; so a long prompt delays the others by little.

Legend: T tokens, D width, V vocabulary.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import torch

from hortus.language import LanguageModel
from hortus.language.paging import MOST_ROWS, PagedDecoder, PagedRow
from hortus.serving.blocks import BlockPool, block_keys
from hortus.serving.choosing import choose, score_tokens
from hortus.serving.config import ServingConfig
from hortus.serving.metrics import Metrics
from hortus.serving.sequence import Text, TokenScore, Update

__all__ = ["Stepper", "tell_end"]

_PIECE = 256  # prompt tokens of one pass through the network's modules
_LONG = 96  # from here such a pass beats rows of the compiled kernels, where nobody waits for it
_MANY = 16  # rows from which a step's time grows with them
_FEW = 8  # prompt tokens that are read in any step
_MOST_LOGITS = 1 << 24  # numbers of one chunk of logits: 64 MB in fp32
_log = logging.getLogger("hortus")


class Stepper:
    """Runs the texts that have cache blocks; only the engine's thread calls it.

    Args:
        decoder: the model's, over the pool's blocks.
    """

    def __init__(
        self,
        model: LanguageModel,
        config: ServingConfig,
        decoder: PagedDecoder,
        pool: BlockPool,
        metrics: Metrics,
    ):
        self.model, self.config, self.decoder = model, config, decoder
        self.pool, self.metrics = pool, metrics
        self.running: list[Text] = []
        self._row_seconds = config.step_seconds / 32  # of one row in a run of many; measured as steps go

    def advance(self) -> None:
        """One step; if it fails, the texts in it are told so and the engine goes on."""
        try:
            with torch.inference_mode():
                self._read_long_prompt()
                self._step()
        except Exception as error:  # a full memory, say: the server must outlive it
            _log.exception("a step failed")
            for text in list(self.running):
                self.leave(text)
                text.tell(text, Update(finish="error", error=str(error)))

    def _read_long_prompt(self) -> None:
        """Pass a piece of one prompt through the modules, where the compiled kernels do not serve as well."""
        reading = [text for text in self.running if text.reading]
        for text in reading:
            left = len(text.row.prompt) - text.computed
            alone = len(reading) == len(self.running) and left > _LONG
            if not (text.request.echo or alone or not self.decoder.compiled):
                continue
            start, count = text.computed, min(left, _PIECE if len(reading) == len(self.running) else _FEW * 8)
            states = self.decoder.extend(text.tokens(start, start + count), start, text.table)
            self._computed(text, count)
            if text.request.echo:
                self._score_prompt(text, states, start)
            if not text.reading:
                self._write([text], self.model.network.head(states[-1:]))
            return

    def _step(self) -> None:
        """Run the next tokens of all texts that fit one run of the kernels."""
        rows: list[PagedRow] = []
        rest: list[PagedRow] = []
        advanced: list[tuple[Text, int]] = []
        most = self._most_rows()
        for text in sorted(self.running, key=lambda text: text.reading):  # writers first: they wait for it
            if text.reading and (text.request.echo or not self.decoder.compiled):
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
        logits = self.decoder.run(rows + rest, scored=len(rows))
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
            text.tell(text, Update(piece, text.take_scores()))

    def _end(self, text: Text, reason: str, piece: str = "") -> None:
        self.leave(text)
        tell_end(text, reason, self.metrics, piece)

    def leave(self, text: Text) -> None:
        """Give a text's blocks back; it is no longer run."""
        self.running.remove(text)
        self.pool.release(text.table)
        text.table = []


def tell_end(text: Text, reason: str, metrics: Metrics, piece: str = "") -> None:
    """Tell a text's client the rest of it and why it ended."""
    whole = piece + text.reader.finish() if text.request.pieces else text.reader.whole()
    metrics.finished(reason, len(text.row.tokens), time.monotonic() - text.began)
    text.tell(text, Update(whole, text.take_scores(), reason))
