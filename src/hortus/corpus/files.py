"""Find the files that a source names and read their bytes as strict UTF-8, a block at a time."""

from __future__ import annotations

import codecs
import glob
import io
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa

from hortus.corpus.languages import CODE_EXTENSIONS
from hortus.errors import DataError

__all__ = ["ReadLog", "cut_parts", "decode_blocks", "find_files", "kind_of", "open_bytes", "read_block"]

PROSE_EXTENSIONS = frozenset({".txt", ".text", ".md", ".markdown"})
JSONL_EXTENSIONS = frozenset({".jsonl", ".ndjson"})
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
BLOCK_BYTES = 1 << 20
STEP_BYTES = 1 << 14


@dataclass
class ReadLog:
    """What reading found that a report should say.

    repaired: bytes read as Windows-1252, by file.
    skipped: files in folders that are of no known kind, by extension; rows and pages left out, by reason.
    broken: files that broke off or rows that could not be read, left out under `repair`.
    repeated_conversations: dialogues left out because a file of the same language has them already.
    """

    repaired: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)
    repeated_conversations: int = 0


def kind_of(path: Path) -> str | None:
    """ "prose", "code", "jsonl", "csv", "parquet", "warc" or None, by extension, without .gz or .zst."""
    suffix = path.suffix.lower()
    packed = suffix in COMPRESSIONS
    if packed:
        suffix = Path(path.stem).suffix.lower()
    if suffix in PROSE_EXTENSIONS:
        return "prose"
    if suffix in CODE_EXTENSIONS:
        return "code"
    if suffix in JSONL_EXTENSIONS:
        return "jsonl"
    if suffix in (".csv", ".tsv"):
        return "csv"
    if suffix == ".warc" and path.suffix.lower() != ".zst":
        return "warc"
    return "parquet" if suffix == ".parquet" and not packed else None


def find_files(source: str, log: ReadLog) -> list[Path]:
    """The readable files of a folder (recursively), a file or a glob, sorted by name.

    Raises:
        DataError: nothing is there, or nothing of a known kind.
    """
    path = Path(source).expanduser()
    if path.is_file():
        if kind_of(path) is None:
            raise DataError(
                f"source {source} is of no known kind", allowed=_ALLOWED, do="convert it to one of these"
            )
        return [path]
    if path.is_dir():
        found = list(_walk(path))
    else:
        found = [
            Path(match) for match in sorted(glob.glob(str(path), recursive=True)) if os.path.isfile(match)
        ]
        if not found:
            raise DataError(
                f"source {source!r} does not exist",
                allowed="a folder, a file, a glob, a catalogue (.yaml), hub:OWNER/NAME, chatterbot or stdlib",
                do="check the path",
            )
    known = [file for file in found if kind_of(file)]
    log.skipped.update(file.suffix.lower() or file.name for file in found if not kind_of(file))
    if not known:
        raise DataError(
            f"source {source} holds no readable file", allowed=_ALLOWED, do="add some, or name another source"
        )
    return known


_ALLOWED = (
    ".txt, .md, source code, .jsonl, .csv, .tsv, each also as .gz or .zst, .parquet, and .warc or .warc.gz"
)


def _walk(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        # Sorted in place: os.walk then descends in this order. Hidden folders hold tools' files.
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__pycache__")
        yield from (Path(place) / name for name in sorted(names) if not name.startswith("."))


def open_bytes(path: Path) -> BinaryIO:
    """The uncompressed bytes of a file as a buffered stream.

    Raises:
        DataError: the file cannot be opened.
    """
    codec = COMPRESSIONS.get(path.suffix.lower())
    try:
        if codec is None:
            return path.open("rb")
        return cast(BinaryIO, io.BufferedReader(_Unpacked(path, codec), BLOCK_BYTES))
    except OSError as error:
        raise DataError(f"cannot open {path}: {error}", do="check that the file may be read") from error


class _Unpacked(io.RawIOBase):
    """A decompressed file whose errors name the file."""

    def __init__(self, path: Path, codec: str):
        self._path = path
        self._stream = pa.CompressedInputStream(pa.OSFile(str(path)), codec)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        try:
            # Small steps: where a file breaks off, what came before the last step is not lost.
            data = self._stream.read(min(len(buffer), STEP_BYTES))
        except OSError as error:
            raise DataError(
                f"{self._path} is corrupt or cut off: {error}", do="fetch the file again"
            ) from error
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._stream.close()
        super().close()


def _as_windows_1252(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return error.object[error.start : error.end].decode("cp1252", "replace"), error.end


codecs.register_error("hortus.windows-1252", _as_windows_1252)


def decode_blocks(stream: BinaryIO, path: Path, repair: bool, log: ReadLog) -> Iterator[str]:
    """Decode a stream block by block; a byte order mark at the start is left out.

    Raises:
        DataError: not UTF-8 and `repair` is off; names the file and the byte offset.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("strict")
    offset, first = 0, True
    while True:
        block = read_block(stream, path, repair, log)
        pending = decoder.getstate()[0]
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            if not repair:
                raise not_utf8(path, offset - len(pending) + error.start) from error
            # What a block boundary cuts off is not broken: it stays pending.
            data = pending + block
            whole = data[: _last_boundary(data)] if block else data
            text = repaired(whole, path, log)
            decoder.setstate((data[len(whole) :], 0))
        offset += len(block)
        if first and text:
            text, first = text.removeprefix("\ufeff"), False
        if text:
            yield text
        if not block:
            return


def read_block(stream: BinaryIO, path: Path, repair: bool, log: ReadLog) -> bytes:
    """The next block, a megabyte at most; under `repair`, a file that breaks off ends there."""
    try:
        return cast(io.BufferedReader, stream).read1(BLOCK_BYTES)
    except DataError:
        if not repair:
            raise
        log.broken[str(path)] += 1
        return b""


def _last_boundary(data: bytes) -> int:
    """Where the last character of `data` begins if it may go on in the next block, else the end."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte >= 0xC0:
            length = 2 + (byte >= 0xE0) + (byte >= 0xF0)
            return len(data) - back if length > back else len(data)
        if byte < 0x80:
            break
    return len(data)


def repaired(data: bytes, path: Path, log: ReadLog) -> str:
    """Decode as UTF-8, bytes that are not as Windows-1252, and note how many."""
    text = data.decode("utf-8", "hortus.windows-1252")
    log.repaired[str(path)] += len(data) - len(data.decode("utf-8", "ignore").encode())
    return text


def not_utf8(path: Path, offset: int) -> DataError:
    """The error for a byte that is not UTF-8."""
    return DataError(
        f"{path} is not UTF-8 at byte {offset}",
        do="convert it, or set repair: true (--repair) to read such bytes as Windows-1252",
    )


def cut_parts(blocks: Iterator[str], part_characters: int) -> Iterator[str]:
    """Cut a text at the last paragraph, line or, failing both, character before the limit.

    >>> list(cut_parts(iter(["one\\n\\ntwo\\nthree"]), 10))
    ['one\\n\\ntwo\\n', 'three']
    """
    rest = ""
    for block in blocks:
        rest += block
        start = 0
        while len(rest) - start > part_characters:
            cut = _cut_place(rest, start, part_characters)
            yield rest[start:cut]
            start = cut
        rest = rest[start:]
    if rest:
        yield rest


def _cut_place(text: str, start: int, limit: int) -> int:
    for mark in ("\n\n", "\n"):
        # In the second half only: a heading alone makes no document.
        place = text.rfind(mark, start + limit // 2, start + limit)
        if place >= 0:
            return place + len(mark)
    return start + limit
