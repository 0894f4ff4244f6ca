"""A corpus of passages on disk: read from files, cut into 100 words, looked up by number without being in
memory.

The 100-word cut is that of the paper's Wikipedia (Karpukhin et al. 2020): words are what white space
separates, no overlap, each passage with its document's title.
"""

from __future__ import annotations

import bz2
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError, iterparse

import pyarrow as pa
import pyarrow.parquet as pq

from hortus.artifact import replacing_file
from hortus.errors import ArtifactError, DataError

__all__ = ["Passage", "PassageStore", "read_passages", "split_words", "write_passages_file"]

_SCHEMA = pa.schema([("id", pa.string()), ("title", pa.string()), ("text", pa.string())])
_AT_ONCE = 10_000
_READ_BYTES = 1 << 24


@dataclass(frozen=True)
class Passage:
    """A passage and where it comes from."""

    id: str
    title: str
    text: str


def read_passages(sources: Sequence[str | Path], *, words: int | None = 100) -> Iterator[Passage]:
    """The passages of files, in their order; those without a word are left out.

    .txt is one document a file; .jsonl and .parquet have a row each with text and, if they like, id (or
    pid) and title; .xml and .xml.bz2 are a wiki's dump of pages.

    Args:
        words: longer documents are cut after so many; None keeps them whole.

    Raises:
        DataError: a file is missing, of another kind or broken, or an id is empty.
    """
    for source in sources:
        path = Path(source)
        kind = next((kind for kind in _READERS if path.name.endswith(kind)), None)
        if kind is None or not path.is_file():
            raise DataError(f"{path} is no corpus file", allowed=f"files that end in {', '.join(_READERS)}")
        try:
            for number, (name, title, text) in enumerate(_READERS[kind](path)):
                pieces = split_words(text, words)
                name = name or f"{path.stem}-{number}"
                for part, piece in enumerate(pieces):
                    yield Passage(name if len(pieces) == 1 else f"{name}-{part}", title, piece)
        except (OSError, UnicodeDecodeError, ValueError, ParseError, EOFError, pa.ArrowException) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"cannot read {path}: {error}", do="mend the file, or leave it out") from error


def split_words(text: str, words: int | None) -> list[str]:
    """Pieces of so many words each, the last one shorter; none of a text without words.

    >>> split_words("one two three", 2), split_words("  ", 2)
    (['one two', 'three'], [])
    """
    parts = text.split()
    if words is None or len(parts) <= words:
        return [text.strip()] if parts else []
    return [" ".join(parts[start : start + words]) for start in range(0, len(parts), words)]


_Document = tuple[str | None, str, str]


def _read_text(path: Path) -> Iterator[_Document]:
    yield path.stem, path.stem, path.read_text(encoding="utf-8")


def _read_jsonl(path: Path) -> Iterator[_Document]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                try:
                    row = json.loads(line)
                except json.JSONDecodeError as error:
                    raise DataError(f"{path} line {number} is not JSON: {error.msg}", do="mend it") from error
                yield _row(row, f"{path} line {number}")


def _read_parquet(path: Path) -> Iterator[_Document]:
    number = 0
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_AT_ONCE):
            for row in batch.to_pylist():
                number += 1
                yield _row(row, f"{path} row {number}")


def _row(row: Any, where: str) -> _Document:
    if not isinstance(row, dict) or not isinstance(row.get("text"), str):
        raise DataError(f"{where} has no text", allowed="rows with a text under 'text'")
    name = row.get("id", row.get("pid"))
    return None if name is None else str(name), str(row.get("title") or ""), row["text"]


def _read_dump(path: Path) -> Iterator[_Document]:
    """Articles of a MediaWiki export; redirects and pages of other name spaces are left out."""
    opened: Any = bz2.open if path.suffix == ".bz2" else open
    with opened(path, "rb") as file:
        page: dict[str, str] = {}
        for _, element in iterparse(file):
            tag = element.tag.rpartition("}")[2]
            if tag in ("title", "ns", "text", "redirect"):
                page[tag] = element.text or ""
            elif tag == "id":
                page.setdefault("id", element.text or "")
            elif tag == "page":
                if page.get("ns", "0") == "0" and "redirect" not in page:
                    yield page.get("id"), page.get("title", ""), _plain(page.get("text", ""))
                page = {}
                element.clear()


_INNER = re.compile(r"\{\{[^{}]*\}\}|\{\|[^{}]*\|\}")
_MARKUP: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.DOTALL), new)
    for pattern, new in (
        (r"<!--.*?-->|<ref[^>/]*/>|<ref.*?</ref>", ""),
        (r"\[\[(?:File|Image|Category):[^\[\]]*(?:\[\[[^\[\]]*\]\][^\[\]]*)*\]\]", ""),
        (r"\[\[(?:[^\[\]|]*\|)?([^\[\]]*)\]\]", r"\1"),
        (r"\[https?://\S+ ?([^\]]*)\]", r"\1"),
        (r"<[^>]+>|'{2,}|^=+|=+$", " "),
    )
)


def _plain(wikitext: str) -> str:
    """Prose of wiki markup: templates, tables, references and links' targets go, links' texts stay."""
    while (shorter := _INNER.sub("", wikitext)) != wikitext:
        wikitext = shorter
    for pattern, new in _MARKUP:
        wikitext = pattern.sub(new, wikitext)
    return re.sub(r"^\s*=+|=+\s*$", "", wikitext, flags=re.MULTILINE)


_READERS: dict[str, Callable[[Path], Iterator[_Document]]] = {
    ".txt": _read_text,
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
    ".xml": _read_dump,
    ".xml.bz2": _read_dump,
}


def write_passages_file(passages: Iterable[Passage], path: Path) -> tuple[int, str]:
    """Write the passages for `PassageStore`; return their number and a hash of all of them.

    Raises:
        DataError: there is none, or an id comes twice.
    """
    digest, count, seen = hashlib.blake2b(digest_size=16), 0, set[str]()
    with replacing_file(path) as temporary, pa.OSFile(str(temporary), "wb") as sink:
        with pa.ipc.new_file(sink, _SCHEMA) as writer:
            batch: list[Passage] = []

            def flush() -> None:
                columns = [pa.array([getattr(one, name) for one in batch]) for name in _SCHEMA.names]
                writer.write_batch(pa.record_batch(columns, schema=_SCHEMA))
                batch.clear()

            for one in passages:
                if one.id in seen:
                    raise DataError(f"the passage id {one.id!r} comes twice", do="make the ids unique")
                seen.add(one.id)
                digest.update(json.dumps([one.id, one.title, one.text]).encode())
                batch.append(one)
                count += 1
                if len(batch) == _AT_ONCE:
                    flush()
            if batch:
                flush()
        if not count:
            raise DataError("the corpus holds no passage", do="give files with text")
    return count, digest.hexdigest()


class PassageStore:
    """Passages by number, mapped from their file: what is not looked at is not in memory.

    Raises:
        ArtifactError: the file is missing or broken.
    """

    def __init__(self, path: Path):
        try:
            self._table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        except (OSError, pa.ArrowException) as error:
            raise ArtifactError(f"cannot read {path}: {error}", do="index the corpus again") from error

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __getitem__(self, number: int) -> Passage:
        (row,) = self._table.slice(number, 1).to_pylist()
        return Passage(**row)

    def texts(self, start: int, end: int) -> list[str]:
        """What is indexed of passages `start` to `end`: title and text."""
        rows = self._table.slice(start, end - start)
        titles, texts = rows.column("title").to_pylist(), rows.column("text").to_pylist()
        return [f"{title} {text}".strip() for title, text in zip(titles, texts, strict=True)]
