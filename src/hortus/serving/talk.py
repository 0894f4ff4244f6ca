"""A talk as a prompt, by the model's chat template in the prompts room's sandbox.

A chat template comes with a model folder and may be hostile: it is rendered in a worker process with limits
on time, memory and output, and reaches nothing. That worker strips and splits what it renders, as prompt
templates want; marks around the template and in place of separators keep a chat's white space whole.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hortus.errors import ArtifactError, DataError
from hortus.language.chat import plain_prompt
from hortus.prompts.config import SEPARATOR, RenderLimits
from hortus.prompts.renderer import Failure, Renderer, RenderJob

if TYPE_CHECKING:
    from hortus.tokenizer import Tokenizer

__all__ = ["Talk"]

_BEGIN, _END, _BARS = "\ue000", "\ue001", "\ue002"  # private use: no tokenizer's text has them
_LIMITS = RenderLimits(seconds=1.0)


class Talk:
    """Makes prompts of talks; safe to share between threads. `close` ends the worker process.

    >>> from hortus.tokenizer import TokenizerConfig, train_tokenizer
    >>> tokenizer = train_tokenizer(["to be or not to be"] * 9, TokenizerConfig(vocab_size=265))
    >>> Talk(tokenizer).prompt([{"role": "user", "content": "Hello"}])
    ('Hello\\n', False)
    """

    def __init__(self, tokenizer: Tokenizer):
        template = tokenizer.settings.get("chat_template")
        self._template = _marked(template) if isinstance(template, str) else None
        ids = {"bos_token": tokenizer.bos_id, "eos_token": tokenizer.eos_id}
        self._tokens = {name: "" if i is None else tokenizer.token(i) for name, i in ids.items()}
        self._renderer = Renderer(_LIMITS, workers=2)

    def close(self) -> None:
        """End the worker process."""
        self._renderer.close()

    def prompt(self, turns: Sequence[dict[str, str]]) -> tuple[str, bool]:
        """The prompt for the next turn, and whether a template made it, which then spells special tokens.

        Raises:
            DataError: the template refuses this talk.
            ArtifactError: the template is faulty or broke its limits.
        """
        if self._template is None:
            return plain_prompt(turns), False
        messages = [{name: _marked_text(value) for name, value in turn.items()} for turn in turns]
        values: dict[str, Any] = {"messages": messages, "add_generation_prompt": True, **self._tokens}
        (result,) = self._renderer.render([RenderJob((self._template, None, None), values, "")])
        if isinstance(result, Failure):
            # Templates refuse a talk by calling this name, which the sandbox does not have.
            if "raise_exception" in self._template and "not safely callable" in result.message:
                raise DataError("the chat template refuses this talk", do="let user and assistant alternate")
            raise ArtifactError(f"the chat template failed: {result.message}", do="mend the model's template")
        whole = SEPARATOR.join(result[0])
        return whole.removeprefix(_BEGIN).removesuffix(_END).replace(_BARS, SEPARATOR), True


def _marked_text(text: str) -> str:
    return text.replace(SEPARATOR, _BARS)


def _marked(template: str) -> str:
    """The template as chat templates are meant: lines of blocks leave no white space.

    That is Jinja's trim_blocks and lstrip_blocks, written into the text because the sandbox has them off.
    """
    template = re.sub(r"^[ \t]+(?=\{[%#][^+-])", "", template.removesuffix("\n"), flags=re.MULTILINE)
    template = re.sub(r"(?<=[^+-][%#]\})\n", "", template)
    return _BEGIN + _marked_text(template) + _END
