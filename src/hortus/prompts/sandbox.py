"""The Jinja environment of prompt templates: what published templates use, and nothing else.

The published collection is written for an open Jinja environment with one more global (`zip`) and three
more filters (`choice`, `most_frequent`, `highlight`). Design choices that differ from it:

- Attributes are allowed by a list per type, never refused by a list: a string has its text methods, a
  list `append` and its kin, a mapping `update` and its kin, and everything else nothing. (Jinja's immutable
  sandbox would refuse `append`, `update` and `pop`, which published templates call.)
- Reaching for anything else raises at once, where Jinja's own sandbox prints an empty text.
- `choice` and `random` draw from a seeded generator and the drawn positions are recorded.
- Long values are cut as values when they are printed; the published code rewrites the template's text, which
  cuts only the last operand of an expression.
- Absent columns and answer numbers outside the choices print empty text as published, and leave a note.

Only the worker process builds this environment: compiling folds constants, and `{{ 'a' * 10**10 }}` would
otherwise be computed in the caller's process.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any

from jinja2 import Undefined, UndefinedError, nodes, pass_context
from jinja2.defaults import DEFAULT_FILTERS
from jinja2.runtime import Context, LoopContext, Macro
from jinja2.sandbox import SandboxedEnvironment, SecurityError
from jinja2.utils import Cycler, Joiner, Namespace, missing

__all__ = ["Choices", "PromptEnvironment", "RefusedError", "render_text"]

_words = str.split

FILTERS = _words("""
    abs batch capitalize center count d default dictsort e escape first float format groupby indent int items
    join last length list lower map max min reject rejectattr replace reverse round safe select selectattr
    slice sort string striptags sum title tojson trim truncate unique upper wordcount wordwrap
""")

_TEXT = _words("""
    capitalize casefold center count endswith expandtabs find index isalnum isalpha isascii isdecimal isdigit
    islower isnumeric isspace istitle isupper join ljust lower lstrip partition removeprefix removesuffix
    replace rfind rindex rjust rpartition rsplit rstrip split splitlines startswith strip swapcase title upper
    zfill
""")
_LIST = _words("append clear copy count extend index insert pop remove reverse sort")
_MAPPING = _words("clear copy get items keys pop popitem setdefault update values")
_LOOP = _words("""
    index index0 revindex revindex0 first last length depth depth0 previtem nextitem cycle changed
""")

# A power with more bits than this is refused: it would run inside one uninterruptible operation.
MAX_POWER_BITS = 65_536

_INTERNAL = _words("""
    mro func_globals func_code func_closure f_globals f_locals f_builtins f_code f_back gi_frame gi_code
    cr_frame cr_code ag_frame ag_code tb_frame tb_next im_func im_self
""")
_OTHER_TEMPLATES = (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)


class RefusedError(SecurityError):
    """The template asks for something that prompts have no business with."""

    def __init__(self, message: str, line: int | None = None):
        super().__init__(message)
        self.line = line


class OutputTooLongError(Exception):
    """The rendering printed more characters than its limit; `frame` is where the template was then."""

    def __init__(self, message: str, frame: FrameType | None = None):
        super().__init__(message)
        self.frame = frame


class Choices(list[str]):
    """The answer choices as templates see them: a list whose bad subscripts are noticed."""

    __slots__ = ()


ATTRIBUTES: dict[type, frozenset[str]] = {
    str: frozenset(_TEXT),
    list: frozenset(_LIST),
    Choices: frozenset(_LIST),
    dict: frozenset(_MAPPING),
    tuple: frozenset({"count", "index"}),
    LoopContext: frozenset(_LOOP),
    Cycler: frozenset({"next", "reset", "current"}),
}


class PromptEnvironment(SandboxedEnvironment):
    """A sandbox for prompt templates; `truncate` is the number of characters kept of a printed value."""

    # An intercepted operator is not folded at compile time: a product of constants may fill the memory there,
    # where no line of the template is known.
    intercepted_binops = frozenset({"**", "*"})

    def __init__(self, truncate: int | None = None):
        self.truncate = truncate
        self.missing: set[str] = set()
        self.subscripts: list[int] = []
        self.draws: list[int] = []
        self.seed = ""
        self._generator: random.Random | None = None
        super().__init__(undefined=_noticing_undefined(self.missing, self.subscripts), finalize=self._print)
        self.filters = {name: DEFAULT_FILTERS[name] for name in FILTERS}
        self.filters |= {
            "choice": self._choice,
            "random": self._choice,
            "most_frequent": most_frequent,
            "highlight": highlight,
        }
        del self.globals["lipsum"]
        self.globals["zip"] = zip

    def begin(self, seed: str) -> None:
        """Forget the notes of the last rendering and seed the next one's draws."""
        self.missing.clear()
        self.subscripts.clear()
        self.draws.clear()
        self.seed = seed
        self._generator = None

    def _print(self, value: Any) -> str:
        text = value if type(value) is str else str(value)
        length = self.truncate
        # The tolerance of five characters is that of Jinja's truncate filter, which the published code uses.
        if length is None or len(text) <= length + 5:
            return text
        return text[: length - 3].rsplit(" ", 1)[0] + "..."

    # With the context as argument it is not folded at compile time, where one draw would serve every example.
    @pass_context
    def _choice(self, context: Context, items: Sequence[Any]) -> Any:
        if self._generator is None:
            self._generator = random.Random(self.seed)
        position = self._generator.randrange(len(items))
        self.draws.append(position)
        return items[position]

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        for node in tree.find_all(nodes.Node):
            if isinstance(node, _OTHER_TEMPLATES):
                raise RefusedError("a template may not load another template", node.lineno)
            attribute = _attribute(node)
            if attribute is not None and (attribute.startswith("__") or attribute in _INTERNAL):
                raise RefusedError(f"access to {attribute!r} is not allowed", node.lineno)
        return tree

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if type(obj) is Namespace:
            return not attr.startswith("_")
        return attr in ATTRIBUTES.get(type(obj), ())

    def unsafe_undefined(self, obj: Any, attribute: str) -> Undefined:
        raise RefusedError(
            f"access to {attribute!r} of a value of type {type(obj).__name__!r} is not allowed"
        )

    def wrap_str_format(self, value: Any) -> None:
        """Leave `str.format` to the list of attributes, which does not have it."""

    def is_safe_callable(self, obj: Any) -> bool:
        if isinstance(obj, type):
            return obj in (dict, zip, Namespace, Cycler, Joiner)
        owner = getattr(obj, "__self__", None)
        if owner is not None and type(owner) in ATTRIBUTES:
            return getattr(obj, "__name__", "") in ATTRIBUTES[type(owner)]
        return obj is self.globals["range"] or isinstance(obj, Macro | LoopContext | Joiner)

    def getitem(self, obj: Any, argument: Any) -> Any:
        # A negative label would silently pick a choice from the end, as Python lists do.
        if type(obj) is Choices and type(argument) is int and argument < 0:
            self.subscripts.append(argument)
        return super().getitem(obj, argument)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if (
            operator == "**"
            and isinstance(left, int)
            and isinstance(right, int)
            and left.bit_length() * right > MAX_POWER_BITS
        ):
            raise RefusedError(f"the power {left} ** {right} has too many digits")
        return super().call_binop(context, operator, left, right)


def _attribute(node: nodes.Node) -> str | None:
    """The attribute that an expression names in the source, as `x.name` or `x['name']`."""
    if isinstance(node, nodes.Getattr):
        return node.attr
    if (
        isinstance(node, nodes.Getitem)
        and isinstance(node.arg, nodes.Const)
        and isinstance(node.arg.value, str)
    ):
        return node.arg.value
    return None


def _noticing_undefined(columns: set[str], subscripts: list[int]) -> type[Undefined]:
    """Jinja's undefined value, which prints as empty text; notes absent columns and bad answer numbers."""

    class NoticingUndefined(Undefined):
        __slots__ = ()

        def __init__(self, hint: Any = None, obj: Any = missing, name: Any = None, exc: Any = UndefinedError):
            # Compiled templates make this value where an absent column is used, not where a branch skips it.
            super().__init__(hint, obj, name, exc)
            if obj is missing and name is not None:
                columns.add(name)

        def __str__(self) -> str:
            if type(self._undefined_obj) is Choices and type(self._undefined_name) is int:
                subscripts.append(self._undefined_name)
            return ""

    return NoticingUndefined


def most_frequent(items: Sequence[Any]) -> list[Any] | None:
    """The items that occur most often, in order of appearance; None when there are none.

    >>> most_frequent(["b", "a", "b", "a", "c"])
    ['b', 'a']
    """
    if not items:
        return None
    counts = Counter(items)
    most = max(counts.values())
    return [item for item, count in counts.items() if count == most]


def highlight(text: str) -> str:
    """Wrap a value in the coloured span of the published collection's app."""
    return "<span style='color: #F08080'>" + text + "</span>"


def render_text(pieces: Iterator[str], limit: int) -> str:
    """Join what a compiled template yields, and stop it once more than `limit` characters came.

    >>> render_text(iter(["a", "b"]), limit=10)
    'ab'
    """
    texts, size = [], 0
    for text in pieces:
        size += len(text)
        if size > limit:
            raise OutputTooLongError(
                f"it printed more than {limit:,} characters", getattr(pieces, "gi_frame", None)
            )
        texts.append(text)
    return "".join(texts)
