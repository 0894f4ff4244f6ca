"""Two sources that pip brings, so that the first run needs no download.

`chatterbot`: the dialogues of the chatterbot-corpus package (BSD), some thirty languages.
`stdlib`: the Python standard library's own source (PSF licence) as code; its docstrings and help topics as
English.
"""

from __future__ import annotations

import ast
import importlib
import sysconfig
import warnings
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import yaml

from hortus.corpus.config import CODE, CorpusConfig
from hortus.corpus.documents import Document
from hortus.corpus.files import ReadLog, cut_parts, decode_blocks, open_bytes
from hortus.corpus.hashing import normalised_key
from hortus.corpus.languages import CHATTERBOT_LANGUAGES
from hortus.errors import DataError
from hortus.registry import require

__all__ = ["BUILTIN", "chatterbot", "docstrings", "stdlib"]

# Dialogues are mostly a question and an answer; a document gathers neighbours up to about this length.
GATHERED_BYTES = 400
MAX_TURNS = 40  # some files keep all their dialogues in one list
_OMITTED = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__", "pydoc_data"}


def chatterbot(config: CorpusConfig, log: ReadLog) -> Iterator[Document]:
    """Documents of a few neighbouring dialogues each, one turn a line, a blank line between dialogues.

    A dialogue that an earlier file of the same language holds is left out: several files repeat others.

    Raises:
        DeviceError: chatterbot-corpus is not installed.
    """
    package = require("chatterbot_corpus", extra="corpus")
    data = Path(package.__path__[0]) / "data"
    for folder in sorted(path for path in data.iterdir() if path.is_dir()):
        language = CHATTERBOT_LANGUAGES.get(folder.name, folder.name)
        seen: set[bytes] = set()
        for path in sorted(folder.glob("*.yml")):
            fresh = []
            for turns in _dialogues(path):
                key = normalised_key("\n".join(turns))
                log.repeated_conversations += key in seen
                fresh += [] if key in seen else [turns]
                seen.add(key)
            for text in gather(fresh):
                yield Document(text, f"chatterbot:{folder.name}/{path.name}", language)


def _dialogues(path: Path) -> Iterator[list[str]]:
    try:
        content = yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        conversations = content["conversations"]
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is no dialogue file: {error}", do="install chatterbot-corpus again"
        ) from error
    for turns in conversations:
        # A few dialogues lack the second dash, which makes them one string.
        lines = [turns.strip()] if isinstance(turns, str) else [str(turn).strip() for turn in turns]
        for start in range(0, len(lines), MAX_TURNS):
            yield lines[start : start + MAX_TURNS]


def gather(dialogues: Sequence[Sequence[str]]) -> Iterator[str]:
    """Join neighbouring dialogues; those that open with the same line never part.

    >>> list(gather([["Hi", "Hello"], ["Hi", "Good day"], ["x" * 400, "y"], ["Bye", "Bye"]]))[1]
    'Bye\\nBye'
    """
    text = ""
    for _, same in groupby(dialogues, key=lambda turns: turns[0] if turns else ""):
        unit = "\n\n".join("\n".join(turns) for turns in same)
        text = f"{text}\n\n{unit}" if text else unit
        if len(text.encode()) >= GATHERED_BYTES:
            yield text
            text = ""
    if text:
        yield text


def stdlib(config: CorpusConfig, log: ReadLog) -> Iterator[Document]:
    """The standard library without its tests, its docstrings, then the help topics.

    A module's docstrings make one English document. It shares its words with the module, so the two are one
    group, which the split keeps together.

    Raises:
        DataError: this Python carries no source.
    """
    root = Path(sysconfig.get_paths()["stdlib"])
    files = sorted(path for path in root.rglob("*.py") if not _OMITTED & set(path.relative_to(root).parts))
    if not files:
        raise DataError(
            f"no Python source under {root}", do="name another source, or use a Python that has its library"
        )
    for path in files:
        with open_bytes(path) as stream:
            # A few modules declare another encoding on purpose: those bytes are repaired.
            blocks = decode_blocks(stream, path, True, ReadLog())
            for part in cut_parts(blocks, config.part_characters):
                name = path.relative_to(root).as_posix()
                yield Document(part, f"stdlib:{name}", CODE, group=f"stdlib:{name}")
    for path in files:
        for part in cut_parts(iter([docstrings(path.read_bytes())]), config.part_characters):
            if part.strip():
                name = path.relative_to(root).as_posix()
                yield Document(part, f"stdlib:docstrings/{name}", "en", group=f"stdlib:{name}")
    topics = importlib.import_module("pydoc_data.topics").topics
    for name, text in sorted(topics.items()):
        for part in cut_parts(iter([text]), config.part_characters):
            yield Document(part, f"stdlib:topics/{name}", "en")


def docstrings(source: bytes) -> str:
    """All docstrings of a module in reading order, indentation removed; empty if it does not parse.

    >>> docstrings(b'class C:\\n  "Says it."\\n  def f(self):\\n    "Does it."')
    'Says it.\\n\\nDoes it.'
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in other people's source
            tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return ""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    owners = [node for node in ast.walk(tree) if isinstance(node, kinds)]
    texts = (
        ast.get_docstring(owner) for owner in sorted(owners, key=lambda node: getattr(node, "lineno", 0))
    )
    return "\n\n".join(text for text in texts if text)


BUILTIN = {"chatterbot": chatterbot, "stdlib": stdlib}
