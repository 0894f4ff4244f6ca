"""hortus chat: talk to a model in the terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from hortus.cli.generate import GenerationFlags, given, open_model

if TYPE_CHECKING:
    from hortus.language.model import LanguageModel

__all__ = ["chat"]

_HELP = "/reset forgets the talk, /quit ends it, Ctrl-C stops an answer."


def chat(
    model: str,
    *,
    system: str | None = None,
    settings: Annotated[GenerationFlags | None, Parameter(name="*")] = None,
    device: str = "auto",
    dtype: str = "auto",
) -> int:
    """Talk to a model: a line in, an answer out, until /quit.

    A model with a chat template is addressed through it. Any other one sees the talk as plain lines, one a
    turn, and its answer ends with the line.

    Parameters
    ----------
    model
        A folder or a hub id.
    system
        What the model is told before the talk.
    device
        auto, cpu, cuda, cuda:N or mps.
    dtype
        auto, float32, bfloat16 or float16.
    """
    opened = open_model(model, device, dtype)
    opening = [] if system is None else [{"role": "system", "content": system}]
    turns = list(opening)
    print(_HELP, file=sys.stderr)
    while True:
        try:
            line = input("> " if sys.stdin.isatty() else "").strip()
        except (EOFError, KeyboardInterrupt):
            print(file=sys.stderr)
            return 0
        if line == "/quit":
            return 0
        if line == "/reset":
            turns = list(opening)
        elif line.startswith("/"):
            print(_HELP, file=sys.stderr)
        elif line:
            turns.append({"role": "user", "content": line})
            turns.append({"role": "assistant", "content": _answer(opened, turns, given(settings))})


def _answer(model: LanguageModel, turns: list[dict[str, str]], options: dict[str, Any]) -> str:
    """Print the answer as it comes; Ctrl-C keeps what there is of it."""
    prompt, templated = model.chat_prompt(turns)
    if not templated:
        options = {**options, "stop": (*options.get("stop", model.generation_config.stop), "\n")}
    pieces: list[str] = []
    try:
        for piece in model.stream(prompt, truncate=True, parse_special=templated, **options):
            pieces.append(piece)
            print(piece, end="", flush=True)
    except KeyboardInterrupt:
        pass
    print()
    return "".join(pieces).strip()
