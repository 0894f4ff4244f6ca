"""The request bodies of the OpenAI API that are understood, strictly: an unknown field is an error.

Beside the published fields, `top_k` and `repetition_penalty` are understood, as in other open servers.
Published fields that would change the answer in ways this server does not have are accepted only at the
value that changes nothing.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from hortus.language.config import GenerationConfig

__all__ = ["ChatRequest", "CompletionRequest", "EmbeddingRequest", "Message", "Sampling"]

_MOST_STOPS = 16
_SEED = 2**63

Stop = Annotated[str, StringConstraints(min_length=1, max_length=256)]
TokenId = Annotated[int, Field(ge=0, lt=2**31)]
Zero = Annotated[float, Field(ge=0, le=0)]
Count = Annotated[int, Field(ge=0, lt=2**31)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    model: str | None = None
    user: str | None = None


class StreamOptions(BaseModel):
    """What a stream tells at its end."""

    model_config = ConfigDict(extra="forbid", strict=True)

    include_usage: bool = False


class Sampling(_Body):
    """How text is continued; what is not given is what the model's folder says."""

    max_tokens: Count | None = None
    temperature: Annotated[float, Field(ge=0, le=100)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Count | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=100)] | None = None
    presence_penalty: Zero | None = None
    frequency_penalty: Zero | None = None
    n: Annotated[int, Field(ge=1, lt=2**31)] = 1
    seed: Annotated[int, Field(ge=-_SEED, lt=_SEED)] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=_MOST_STOPS)] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None

    def generation(self, start: GenerationConfig) -> GenerationConfig:
        """The settings of the request over the model's own."""
        changes: dict[str, Any] = {"max_new_tokens": self.max_tokens, "seed": self.seed}
        for name in ("temperature", "top_p", "top_k", "repetition_penalty"):
            value = getattr(self, name)
            changes[name] = float(value) if isinstance(value, int) and name != "top_k" else value
        if self.stop is not None:
            changes["stop"] = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)
        return start.replaced(**{name: value for name, value in changes.items() if value is not None})

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with the numbers of tokens."""
        return self.stream_options is not None and self.stream_options.include_usage


class CompletionRequest(Sampling):
    """POST /v1/completions."""

    prompt: str | list[str] | list[TokenId] | list[list[TokenId]]
    echo: bool = False
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    best_of: Literal[1] | None = None

    def prompts(self) -> list[str | list[int]]:
        """The prompts one by one, each text or token ids."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if self.prompt and isinstance(self.prompt[0], int):
            return [list(self.prompt)]
        return list(self.prompt)  # type: ignore[arg-type]


class TextPart(BaseModel):
    """A piece of a message."""

    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["text"]
    text: str


class Message(BaseModel):
    """One turn of a talk."""

    model_config = ConfigDict(extra="forbid", strict=True)

    role: Literal["system", "developer", "user", "assistant"]
    content: str | Annotated[list[TextPart], Field(max_length=256)]
    name: str | None = None

    def turn(self) -> dict[str, str]:
        """As chat templates read it."""
        parts = self.content if isinstance(self.content, str) else "".join(p.text for p in self.content)
        return {"role": "system" if self.role == "developer" else self.role, "content": parts}


class ChatRequest(Sampling):
    """POST /v1/chat/completions."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=1024)]
    max_completion_tokens: Count | None = None
    logprobs: bool = False
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None

    def generation(self, start: GenerationConfig) -> GenerationConfig:
        """The settings of the request over the model's own."""
        config = super().generation(start)
        most = self.max_completion_tokens
        return config if most is None else config.replaced(max_new_tokens=most)


class EmbeddingRequest(_Body):
    """POST /v1/embeddings."""

    input: str | list[str]
    encoding_format: Literal["float", "base64"] = "float"
