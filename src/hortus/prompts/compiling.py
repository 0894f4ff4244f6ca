"""Compiling and rendering inside the worker process: the six rules of the PromptSource format.

Only the worker imports this: what is compiled here may be hostile (see `hortus.prompts.worker`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jinja2 import Template as CompiledTemplate
from jinja2 import meta, nodes

from hortus.prompts.config import SEPARATOR
from hortus.prompts.sandbox import Choices, PromptEnvironment, render_text

__all__ = ["Compiled", "Compiler"]

# Stands for a separator inside an example's text while the rendering is split. The published collection's own
# token, because its length shows where templates measure or cut a text.
PROTECTOR = "3ed2dface8203c4c9dfb1a5dc58e41e0"
CACHE_TEMPLATES = 2000


@dataclass
class Columns:
    """Columns that a template reads, those it reads without asking whether they are there, and lines."""

    used: frozenset[str]
    needed: frozenset[str]
    lines: dict[str, int]

    def joined(self, other: Columns) -> Columns:
        return Columns(self.used | other.used, self.needed | other.needed, other.lines | self.lines)


@dataclass
class Compiled:
    """A template ready to render."""

    body: CompiledTemplate
    choices: CompiledTemplate | None
    fixed_choices: list[str] | None
    columns: Columns
    environment: PromptEnvironment


def split(text: str) -> list[str]:
    """Cut at the separator, strip, and give examples their own separators back."""
    return [part.replace(PROTECTOR, SEPARATOR).strip() for part in text.split(SEPARATOR)]


class Compiler:
    """Compiles, caches and renders templates; the worker runs every call under its guard."""

    def __init__(self, output_characters: int):
        self.output_characters = output_characters
        self.environments: dict[int | None, PromptEnvironment] = {}
        self.compiled: dict[tuple[str, str | None, int | None], Compiled] = {}

    def environment(self, truncate: int | None) -> PromptEnvironment:
        if truncate not in self.environments:
            self.environments[truncate] = PromptEnvironment(truncate)
        return self.environments[truncate]

    def compile(self, source: list[Any]) -> Compiled:
        jinja, answer_choices, truncate = source
        key = (jinja, answer_choices, truncate)
        found = self.compiled.get(key)
        if found is None:
            if len(self.compiled) >= CACHE_TEMPLATES:
                self.compiled.clear()
            found = self.compiled[key] = self._compile(jinja, answer_choices, truncate)
        return found

    def _compile(self, jinja: str, answer_choices: str | None, truncate: int | None) -> Compiled:
        # Only values of the body are cut; the published code renders answer choices whole.
        whole, cutting = self.environment(None), self.environment(truncate)
        columns = read_columns(cutting, jinja)
        choices = fixed = None
        if answer_choices is not None:
            choices = whole.from_string(answer_choices)
            own = read_columns(whole, answer_choices)
            if not own.used:
                whole.begin("")
                fixed = split(self._print(choices, {}))
                fixed = None if whole.draws else fixed
            columns = columns.joined(own)
        return Compiled(cutting.from_string(jinja), choices, fixed, columns, cutting)

    def _print(self, template: CompiledTemplate, variables: dict[str, Any]) -> str:
        context = template.new_context(variables)
        return render_text(template.root_render_func(context), self.output_characters)

    def render(self, compiled: Compiled, example: dict[str, Any], seed: str) -> list[Any]:
        variables = {
            key.replace("-", "_"): value.replace(SEPARATOR, PROTECTOR) if type(value) is str else value
            for key, value in example.items()
        }
        environment = compiled.environment
        choices, draws, absent = compiled.fixed_choices, [], set()
        if compiled.choices is not None and choices is None:
            whole = self.environment(None)
            whole.begin(seed + ":choices")
            choices = split(self._print(compiled.choices, variables))
            draws += whole.draws
            absent |= whole.missing
        variables["answer_choices"] = None if choices is None else Choices(choices)
        environment.begin(seed)
        parts = split(self._print(compiled.body, variables))
        absent = (absent | environment.missing) & compiled.columns.needed
        return [parts, choices, draws + environment.draws, sorted(absent), list(environment.subscripts)]

    def inspect(self, source: list[Any]) -> dict[str, Any]:
        """What can be known of a template without an example: its columns, with lines, and fixed choices."""
        compiled = self.compile(source)
        columns = compiled.columns
        return {
            "needed": {name: columns.lines.get(name, 1) for name in sorted(columns.needed)},
            "used": sorted(columns.used),
            "fixed_choices": compiled.fixed_choices,
        }

    def locate(self, text: str, line: int) -> int:
        return self.environment(None).from_string(text).get_corresponding_lineno(line)


def read_columns(environment: PromptEnvironment, text: str) -> Columns:
    """The columns that a text reads."""
    tree = environment.parse(text)
    names = list(tree.find_all(nodes.Name))
    asked = {
        node.node.name
        for node in tree.find_all((nodes.Test, nodes.Filter))
        if node.name in ("defined", "undefined", "default", "d") and isinstance(node.node, nodes.Name)
    }
    # A name that one branch sets counts as undeclared for the other branch, but it is no column.
    stored = {name.name for name in names if name.ctx != "load"}
    used = meta.find_undeclared_variables(tree) - stored - {"answer_choices"}
    lines = {name.name: name.lineno for name in reversed(names)}
    return Columns(frozenset(used), frozenset(used - asked), lines)
