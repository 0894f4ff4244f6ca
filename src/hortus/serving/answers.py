"""The answers of the API: texts and log-probabilities in OpenAI's two shapes."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hortus.serving.sequence import Text, TokenScore

if TYPE_CHECKING:
    from hortus.tokenizer import Tokenizer

__all__ = ["ChatAnswer", "CompletionAnswer", "event", "usage"]

_LEAST = -9999.0  # stands for minus infinity, which JSON does not have


def usage(texts: Sequence[Text], num_prompts: int) -> dict[str, Any]:
    """Numbers of tokens; the samples of one prompt count it once, as the API does."""
    samples = max(1, len(texts) // max(1, num_prompts))
    prompt = sum(len(text.row.prompt) for text in texts[::samples])
    written = sum(len(text.row.tokens) for text in texts)
    reused = sum(text.reused for text in texts[::samples])
    return {
        "prompt_tokens": prompt,
        "completion_tokens": written,
        "total_tokens": prompt + written,
        "prompt_tokens_details": {"cached_tokens": reused},
    }


def event(value: dict[str, Any]) -> str:
    """One server-sent event."""
    return f"data: {json.dumps(value, ensure_ascii=False, separators=(',', ':'))}\n\n"


class _Answer:
    """The frame that all answers of one request share."""

    kind = whole_kind = prefix = ""

    def __init__(self, model: str, tokenizer: Tokenizer):
        self._tokenizer = tokenizer
        self._id, self._model, self._created = f"{self.prefix}-{uuid.uuid4().hex}", model, int(time.time())

    def whole(self, choices: Sequence[dict[str, Any]], numbers: dict[str, Any]) -> dict[str, Any]:
        """The answer in one piece."""
        return self._frame(self.whole_kind, list(choices)) | {"usage": numbers}

    def chunk(self, choices: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """A piece of a stream."""
        return self._frame(self.kind, list(choices))

    def _frame(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        frame = {"id": self._id, "object": kind, "created": self._created, "model": self._model}
        return frame | {"choices": choices}

    def _spell(self, token: int) -> str:
        return self._tokenizer.decode([token], skip_special=False)


class CompletionAnswer(_Answer):
    """Choices of /v1/completions."""

    kind = whole_kind = "text_completion"
    prefix = "cmpl"

    def __init__(self, model: str, tokenizer: Tokenizer):
        super().__init__(model, tokenizer)
        self._told: dict[int, int] = {}  # characters told so far, by text

    def choice(
        self, number: int, text: str, scores: Sequence[TokenScore] | None, finish: str | None
    ) -> dict[str, Any]:
        """One choice, or what is new of it."""
        logprobs = None if scores is None else self._scores(number, scores)
        return {"index": number, "text": text, "logprobs": logprobs, "finish_reason": finish}

    def _scores(self, number: int, scores: Sequence[TokenScore]) -> dict[str, Any]:
        stream = self._tokenizer.decode_stream(skip_special=False)
        at, offsets = self._told.get(number, 0), []
        for score in scores:
            offsets.append(at)
            at += len(stream.push(score.token))
        self._told[number] = at + len(stream.finish())
        alternatives = [
            {self._spell(token): max(value, _LEAST) for token, value in score.likeliest} for score in scores
        ]
        return {
            "tokens": [self._spell(score.token) for score in scores],
            "token_logprobs": [_finite(score.log_probability) for score in scores],
            "top_logprobs": alternatives if any(alternatives) else None,
            "text_offset": offsets,
        }


class ChatAnswer(_Answer):
    """Choices of /v1/chat/completions."""

    kind, whole_kind, prefix = "chat.completion.chunk", "chat.completion", "chatcmpl"

    def choice(
        self, number: int, text: str, scores: Sequence[TokenScore] | None, finish: str | None
    ) -> dict[str, Any]:
        """One choice in one piece."""
        message = {"role": "assistant", "content": text}
        return {
            "index": number,
            "message": message,
            "logprobs": self._scores(scores),
            "finish_reason": finish,
        }

    def piece(
        self, number: int, text: str, scores: Sequence[TokenScore] | None, finish: str | None
    ) -> dict[str, Any]:
        """What is new of one choice."""
        delta = {"content": text} if text else {}
        return {"index": number, "delta": delta, "logprobs": self._scores(scores), "finish_reason": finish}

    def opening(self, number: int) -> dict[str, Any]:
        """The first piece of a stream's choice."""
        delta = {"role": "assistant", "content": ""}
        return {"index": number, "delta": delta, "logprobs": None, "finish_reason": None}

    def _scores(self, scores: Sequence[TokenScore] | None) -> dict[str, Any] | None:
        if scores is None:
            return None
        entries = []
        for score in scores:
            top = [self._entry(token, value) for token, value in score.likeliest]
            entries.append(self._entry(score.token, score.log_probability) | {"top_logprobs": top})
        return {"content": entries, "refusal": None}

    def _entry(self, token: int, value: float | None) -> dict[str, Any]:
        spelling = self._spell(token)
        return {"token": spelling, "logprob": _finite(value), "bytes": list(spelling.encode())}


def _finite(value: float | None) -> float | None:
    return None if value is None else max(value, _LEAST)
