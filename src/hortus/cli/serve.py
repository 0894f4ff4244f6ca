"""hortus serve: a model for many clients over HTTP."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from hortus.artifact import resolve_folder
from hortus.cli.generate import open_model
from hortus.errors import ConfigError, DataError
from hortus.registry import require
from hortus.serving.answerer import Prepared
from hortus.serving.config import ServingConfig

if TYPE_CHECKING:
    from hortus.language import LanguageModel
    from hortus.retrieval.answering import RetrievalAnswerer

__all__ = ["serve"]


def serve(
    model: str,
    *,
    weights: Literal["int8", "bfloat16"] | None = None,
    measure: Path | None = None,
    retrieval: Path | None = None,
    gate: Path | None = None,
    device: str = "auto",
    dtype: str = "auto",
    config: Annotated[ServingConfig | None, Parameter(name="*")] = None,
) -> int:
    """Serve a model over an OpenAI-compatible HTTP API until stopped.

    Parameters
    ----------
    model
        A folder or a hub id; or the JSON file of a prompt that hortus studio deployed, which is served as
        a classifier: POST /classify.
    weights
        Keep the weights in fewer bits than the arithmetic; what that costs is measured and printed.
    measure
        A text file to measure that on; without it, on text that the model writes.
    retrieval
        An index (`hortus retrieval index`): chats are answered with its passages.
    gate
        When to look passages up (`hortus retrieval adapt --gate`); without it always.
    device
        auto, cpu, cuda, cuda:N or mps.
    dtype
        auto, float32, bfloat16 or float16.
    config
        Where it listens and what it admits. The token may also stand in HORTUS_TOKEN.
    """
    for module in ("fastapi", "uvicorn", "prometheus_client"):
        require(module, extra="serve")
    settings = config if config is not None else ServingConfig()
    if settings.token is None:
        settings = dataclasses.replace(settings, token=os.environ.get("HORTUS_TOKEN") or None)
    if model.endswith(".json"):
        from hortus.cli.studio import serve_app

        return serve_app(Path(model), settings, device, dtype)
    folder = resolve_folder(model)
    opened = open_model(str(folder), device, dtype)
    if weights is not None:
        from hortus.language.packing import pack

        print(pack(opened, weights, _texts(measure)), file=sys.stderr)
    answerer = _answerer(opened, retrieval, gate)
    from hortus.serving.server import serve as run

    name = Path(model).name
    settings = settings if settings.name else dataclasses.replace(settings, name=name)
    run(
        opened,
        settings,
        folder=folder,
        answerer=answerer,
        announce=lambda address: print(f"{name} at {address}/v1", flush=True),
    )
    return 0


class _Retrieving:
    """The retrieval room's answers in the form that the server takes."""

    def __init__(self, answerer: RetrievalAnswerer):
        self._answerer = answerer

    def prepare(self, question: str) -> Prepared:
        answer = self._answerer.answer(question)
        return Prepared(answer.prompt, answer.details, stop=("\n",))


def _answerer(model: LanguageModel, retrieval: Path | None, gate: Path | None) -> _Retrieving | None:
    if retrieval is None:
        if gate is not None:
            raise ConfigError("--gate without --retrieval", do="give the index that passages come from")
        return None
    from hortus.retrieval.answering import Gate, RetrievalAnswerer
    from hortus.retrieval.dense import open_index

    rule = None if gate is None else Gate.load(gate)
    return _Retrieving(RetrievalAnswerer(model, open_index(retrieval), rule))


def _texts(path: Path | None) -> list[str] | None:
    if path is None:
        return None
    try:
        return [path.read_text(encoding="utf-8")]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}", do="check the path and that it is UTF-8") from error
