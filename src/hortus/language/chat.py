"""Turns of a talk as one prompt: by the tokenizer's chat template, else as plain lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from hortus.errors import ArtifactError, DataError

__all__ = ["plain_prompt", "render_template"]


def plain_prompt(turns: Sequence[Mapping[str, str]]) -> str:
    """One turn a line, and a line begun for the answer.

    >>> plain_prompt([{"role": "user", "content": "Hello"}])
    'Hello\\n'
    """
    return "".join(f"{turn['content']}\n" for turn in turns)


def render_template(template: str, turns: Sequence[Mapping[str, str]], tokens: Mapping[str, Any]) -> str:
    """The prompt by a Hugging Face chat template, in a sandbox.

    Args:
        tokens: names that templates use, such as "bos_token" and "eos_token".

    Raises:
        ArtifactError: the template is faulty.
        DataError: the template refuses these turns.
    """
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = _refuse
    try:
        return environment.from_string(template).render(
            messages=[dict(turn) for turn in turns], add_generation_prompt=True, **tokens
        )
    except jinja2.TemplateError as error:
        raise ArtifactError(
            f"the chat template is faulty: {error}", do="mend tokenizer_config.json"
        ) from error


def _refuse(message: str) -> NoReturn:
    raise DataError(f"the chat template refuses this talk: {message}")
