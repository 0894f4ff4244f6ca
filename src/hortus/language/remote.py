"""`RemoteModel`: LanguageModel's methods over an OpenAI-compatible endpoint.

Ranking needs an endpoint that echoes a prompt with log-probabilities (hortus serve and vLLM do). The tokens
of a choice are those of text + space + choice after as many as the text alone has, so scores equal the
local ones. Where an endpoint has no such thing, `rank` says so, and `method="generation"` scores by which
choice the endpoint writes.
"""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, overload

import numpy as np

from hortus.errors import ConfigError, DataError, DeviceError
from hortus.language.batching import as_texts, tracked
from hortus.language.config import GenerationConfig

__all__ = ["RemoteModel"]

_DELIMITER = " "  # between a text and its choice
_FEW = 8  # prompts of one request
_AGAIN = (429, 500, 502, 503, 504)
_MOST_ANSWER_BYTES = 64 * 2**20


class _SameHost(urllib.request.HTTPRedirectHandler):
    """Follows no redirection: the token would go along to wherever it points."""

    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_SameHost)


class RemoteModel:
    """A language model behind an HTTP endpoint.

    Args:
        url: up to and with the version, e.g. "http://127.0.0.1:8000/v1".
        name: the model's name there; None takes the first that the endpoint lists.
        token: bearer token; None takes OPENAI_API_KEY from the environment, if it is set.
        chat: ask by /chat/completions, for endpoints that have no /completions.
        parallel: requests under way at the same time.
        seconds: the longest wait for one answer.
        retries: how often a busy or failing endpoint is asked again, after growing pauses.

    Raises:
        ConfigError: the URL is not http or https.

    >>> RemoteModel("http://127.0.0.1:9/v1", "some-model").name
    'some-model'
    """

    kind = "remote"

    def __init__(
        self,
        url: str,
        name: str | None = None,
        *,
        token: str | None = None,
        chat: bool = False,
        parallel: int = 8,
        seconds: float = 300.0,
        retries: int = 4,
        generation_config: GenerationConfig | None = None,
    ):
        if not url.startswith(("http://", "https://")):
            raise ConfigError(f"url={url!r}", allowed="http:// or https://, up to and with /v1")
        if parallel < 1:
            raise ConfigError(f"parallel={parallel}", allowed="1 or more")
        self.url, self._name, self._chat = url.rstrip("/"), name, chat
        self._token = os.environ.get("OPENAI_API_KEY") if token is None else token
        self._parallel, self._seconds, self._retries = parallel, seconds, retries
        self.generation_config = generation_config or GenerationConfig()

    @property
    def name(self) -> str:
        """The model's name at the endpoint."""
        if self._name is None:
            listed = self._ask("models", None)["data"]
            if not listed:
                raise DataError(f"{self.url} lists no model", do="give a name")
            self._name = str(listed[0]["id"])
        return self._name

    @property
    def fingerprint(self) -> str:
        """What kept answers are filed under: address and name."""
        return f"{self.url} {self.name}"

    @overload
    def generate(self, text: str, **options: Any) -> str: ...
    @overload
    def generate(self, text: Sequence[str], **options: Any) -> list[str]: ...
    def generate(
        self,
        text: str | Sequence[str],
        *,
        truncate: bool = False,
        batch_size: int | None = None,
        progress: bool | None = None,
        **options: Any,
    ) -> str | list[str]:
        """Continue one text or a list of texts: see `LanguageModel.generate`.

        Args:
            truncate, batch_size: taken for the sake of one interface; the endpoint cuts long texts, or
                refuses them, and batches by rules of its own.
            progress: show a bar on stderr; None shows it above a hundred texts.
            options: fields of `GenerationConfig`.

        Raises:
            ConfigError: an unknown setting, or one that the endpoint refuses.
            DeviceError: the endpoint does not answer.
        """
        texts = as_texts(text)
        settings = self._settings(options)
        if self._chat:
            answers = self._each(texts, lambda one: [self._talk(one, settings)], progress, "generate")
        else:
            parts = [texts[start : start + _FEW] for start in range(0, len(texts), _FEW)]
            answers = self._each(parts, lambda part: self._complete(part, settings), progress, "generate")
        return answers[0] if isinstance(text, str) else answers

    def stream(self, text: str, **options: Any) -> Iterator[str]:
        """As `generate` for one text, in pieces as they come."""
        settings = self._settings(options) | {"stream": True}
        path, body = (
            ("chat/completions", self._messages(text)) if self._chat else ("completions", {"prompt": text})
        )
        with self._open(path, {"model": self.name, **body, **settings}) as answer:
            for line in answer:
                if not line.startswith(b"data:") or line[5:].strip() == b"[DONE]":
                    continue
                for choice in json.loads(line[5:]).get("choices", []):
                    piece = choice.get("text") or (choice.get("delta") or {}).get("content")
                    if piece:
                        yield piece

    @overload
    def rank(  # type: ignore[overload-overlap]  # a str is a sequence of str, but the first one is tried first
        self,
        text: str,
        choices: Sequence[str],
        *,
        method: str = ...,
        truncate: bool = ...,
        progress: bool | None = ...,
    ) -> np.ndarray: ...
    @overload
    def rank(
        self,
        text: Sequence[str],
        choices: Sequence[Sequence[str]],
        *,
        method: str = ...,
        truncate: bool = ...,
        progress: bool | None = ...,
    ) -> list[np.ndarray]: ...
    def rank(
        self,
        text: str | Sequence[str],
        choices: Sequence[Any],
        *,
        method: str = "logprobs",
        truncate: bool = False,
        progress: bool | None = None,
    ) -> np.ndarray | list[np.ndarray]:
        """Log-probability of each choice after the text and one space: see `LanguageModel.rank`.

        Args:
            truncate, progress: as in `generate`.
            method: "logprobs", or "generation" for endpoints without echo: 0 for the choice that the model
                writes and minus infinity for the others; equal chances where it writes none of them.

        Raises:
            ConfigError: the endpoint does not echo log-probabilities; or an unknown method.
        """
        if method not in ("logprobs", "generation"):
            raise ConfigError(f"method={method!r}", allowed="logprobs, generation")
        texts = as_texts(text)
        lists = [choices] if isinstance(text, str) else list(choices)
        if len(lists) != len(texts):
            raise DataError(
                f"{len(texts)} texts and {len(lists)} lists of choices", allowed="one list of choices a text"
            )
        lists = [as_texts(mine, what="choices", single=False) for mine in lists]
        score = self._rank_one if method == "logprobs" else self._match_one
        pairs = list(zip(texts, lists, strict=True))
        arrays = self._each(pairs, lambda pair: [score(*pair)], progress, "rank")
        return arrays[0] if isinstance(text, str) else arrays

    def embed(self, texts: str | Sequence[str]) -> np.ndarray:
        """Embeddings of texts: (D,) fp32 for a string, (number of texts, D) for a list."""
        listed = as_texts(texts)
        parts = [listed[start : start + 64] for start in range(0, len(listed), 64)]
        rows = self._each(parts, self._embed_part, None, "embed")
        return np.array(rows[0] if isinstance(texts, str) else rows, dtype=np.float32)

    def _embed_part(self, part: Sequence[str]) -> list[list[float]]:
        data = self._ask("embeddings", {"model": self.name, "input": list(part)})["data"]
        return [entry["embedding"] for entry in sorted(data, key=lambda entry: entry["index"])]

    def _rank_one(self, text: str, choices: Sequence[str]) -> np.ndarray:
        stripped = text.rstrip()  # spaces at the end of a text go to its choices, as in the local ranking
        if not stripped:
            raise DataError("an empty text before choices", do="rank locally: no endpoint takes a separator")
        choices = [text[len(stripped) :] + _DELIMITER + choice for choice in choices]
        prompts = [stripped, *(stripped + choice for choice in choices)]
        scored = [
            row
            for start in range(0, len(prompts), _FEW)
            for row in self._echoed(prompts[start : start + _FEW])
        ]
        context = len(scored[0])
        sums = []
        for row, choice in zip(scored[1:], choices, strict=True):
            if len(row) <= context:
                raise DataError(f"the choice {choice!r} has no token of its own", do="rank it locally")
            sums.append(sum(row[context:]))
        return np.array(sums, dtype=np.float64)

    def _echoed(self, prompts: Sequence[str]) -> list[list[float]]:
        """Log-probabilities of every token of each prompt; the first token's counts 0."""
        body = {"model": self.name, "prompt": list(prompts), "echo": True, "logprobs": 0, "max_tokens": 0}
        try:
            answer = self._ask("completions", body)
        except (ConfigError, DataError) as error:
            raise self._no_echo(str(error)) from error
        rows = []
        for choice in sorted(answer["choices"], key=lambda choice: choice["index"]):
            values = (choice.get("logprobs") or {}).get("token_logprobs")
            if not values or values[0] is not None:
                raise self._no_echo("its answer holds no log-probabilities of the prompt")
            rows.append([value or 0.0 for value in values])
        return rows

    def _no_echo(self, why: str) -> ConfigError:
        return ConfigError(
            f"{self.url} cannot rank: {why}",
            allowed="endpoints with echo and logprobs, such as hortus serve",
            do='or pass method="generation"',
        )

    def _match_one(self, text: str, choices: Sequence[str]) -> np.ndarray:
        longest = max((len(choice.split()) for choice in choices), default=0)
        written = self.generate(text, temperature=0, max_new_tokens=8 + 4 * longest).strip().casefold()
        starts = [written.startswith(choice.strip().casefold()) for choice in choices]
        # The longest wins where one choice begins another: "yes" and "yes, certainly".
        lengths = [len(choice.strip()) if fits else -1 for choice, fits in zip(choices, starts, strict=True)]
        if not any(starts):
            return np.full(len(choices), -np.log(max(1, len(choices))))
        scores = np.full(len(choices), -np.inf)
        scores[int(np.argmax(lengths))] = 0.0
        return scores

    def _settings(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Fields of the request; only what differs from the API's own defaults, for strict endpoints."""
        config = self.generation_config.replaced(**options)
        settings: dict[str, Any] = {"max_tokens": config.max_new_tokens, "temperature": config.temperature}
        if config.top_p < 1:
            settings["top_p"] = config.top_p
        if config.top_k:
            settings["top_k"] = config.top_k
        if config.repetition_penalty != 1:
            settings["repetition_penalty"] = config.repetition_penalty
        if config.stop:
            settings["stop"] = list(config.stop)
        if config.seed is not None:
            settings["seed"] = config.seed
        if config.eos_token_id is not None:
            raise ConfigError("eos_token_id over HTTP", do="use stop=")
        return settings

    @staticmethod
    def _messages(text: str) -> dict[str, Any]:
        return {"messages": [{"role": "user", "content": text}]}

    def _talk(self, text: str, settings: Mapping[str, Any]) -> str:
        answer = self._ask("chat/completions", {"model": self.name, **self._messages(text), **settings})
        return answer["choices"][0]["message"]["content"] or ""

    def _complete(self, part: Sequence[str], settings: Mapping[str, Any]) -> list[str]:
        answer = self._ask("completions", {"model": self.name, "prompt": list(part), **settings})
        return [choice["text"] for choice in sorted(answer["choices"], key=lambda choice: choice["index"])]

    def _each(
        self, parts: Sequence[Any], ask: Callable[[Any], list[Any]], progress: bool | None, verb: str
    ) -> list[Any]:
        """The answers to all parts in order, several asked at the same time."""
        with ThreadPoolExecutor(self._parallel) as pool:
            answers = tracked(
                list(map(lambda part: pool.submit(ask, part), parts)), len(parts), progress, verb
            )
            try:
                return [entry for future in answers for entry in future.result()]
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _ask(self, path: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        with self._open(path, body) as answer:
            try:
                value = json.loads(answer.read(_MOST_ANSWER_BYTES))
            except ValueError as error:
                raise DataError(f"{self.url}/{path} did not answer in JSON", do="check the URL") from error
            except OSError as error:
                raise DeviceError(f"{self.url}/{path} broke off: {error}", do="try again") from error
        if not isinstance(value, dict):
            raise DataError(f"{self.url}/{path} answered {type(value).__name__}", allowed="a JSON object")
        return value

    def _open(self, path: str, body: Mapping[str, Any] | None) -> Any:
        """The open answer; a busy endpoint is asked again.

        Raises:
            ConfigError: the request was refused.
            DeviceError: nothing answers, or it kept failing.
        """
        headers = {"Content-Type": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/{path}", data, headers)
        for attempt in range(self._retries + 1):
            try:
                return _OPENER.open(request, timeout=self._seconds)
            except urllib.error.HTTPError as error:
                why = f"{self.url}/{path} answered {error.code}: {_message(error)}"
                if error.code not in _AGAIN:
                    raise ConfigError(why) from error
            except (TimeoutError, urllib.error.URLError, OSError) as error:
                why = f"{self.url}/{path} does not answer: {getattr(error, 'reason', error)}"
            if attempt < self._retries:
                time.sleep(0.25 * 2**attempt)
        raise DeviceError(why, do="check that the endpoint runs, and try again")


def _message(error: urllib.error.HTTPError) -> str:
    """What an error answer says, in OpenAI's shape or any other."""
    text = error.read(10_000).decode("utf-8", "replace")
    try:
        return str(json.loads(text)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return text[:200]
