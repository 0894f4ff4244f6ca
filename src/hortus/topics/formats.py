"""Read a corpus: a folder of .txt, .jsonl, .csv or .tsv, LDA-C, or .npz counts.

LDA-C has one document a line, `distinct word:count word:count ...`, word numbers from 0; .gz is read as well.
A `vocabulary` file names the words, one a line. In .npz files scipy's sparse matrices are read, and dense
arrays named `counts` (the only array may have any name), with `vocabulary` beside it.
"""

from __future__ import annotations

import csv
import gzip
import json
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from scipy import sparse

from hortus.errors import ConfigError, DataError, nearest
from hortus.topics.config import TextConfig
from hortus.topics.counts import check_counts, looks_transposed
from hortus.topics.texts import count_texts

__all__ = ["Corpus", "corpus_of_texts", "read_corpus", "read_ldac"]

ORIENTATIONS = ("auto", "documents", "words")


@dataclass(frozen=True, eq=False)
class Corpus:
    """What was read.

    Attributes:
        matrix: (D, V) counts.
        vocabulary: (V,) words; their numbers where the source names none.
        tokens: per document the word numbers in reading order; None for sources that hold counts.
        report: D, V, n and what was removed, in the order to be shown.
    """

    matrix: sparse.csr_array
    vocabulary: list[str]
    tokens: list[np.ndarray] | None
    report: dict[str, Any]


def read_corpus(
    path: str | Path,
    *,
    column: str = "text",
    vocabulary: str | Path | None = None,
    orientation: str = "auto",
    fractional: str = "refuse",
    texts: TextConfig | None = None,
) -> Corpus:
    """Read a corpus, the kind of file told from its name.

    Args:
        column: the field of .jsonl, .csv or .tsv that holds the text.
        vocabulary: a file with one word a line, for LDA-C and .npz.
        orientation: of .npz counts: "documents" (rows are documents), "words" (rows are words), or "auto",
            which takes rows for documents and refuses a matrix that looks like the other way round.
        texts: how texts become counts.

    Raises:
        DataError: a missing, empty, malformed or wrongly turned file.
        ConfigError: a kind of file or an orientation that is not known.
    """
    path = Path(path)
    if orientation not in ORIENTATIONS:
        raise ConfigError(f"orientation={orientation!r} is not known", do=nearest(orientation, ORIENTATIONS))
    if not path.exists():
        raise DataError(f"{path} does not exist", do="check the path")
    kind = _kind(path)
    names = _read_words(Path(vocabulary)) if vocabulary is not None else None
    if kind in (".ldac", ".npz"):
        matrix, inner = (read_ldac(path, names), None) if kind == ".ldac" else _read_npz(path)
        names = names or inner
        matrix = _turn(matrix, names, orientation, path)
        counts = check_counts(matrix, fractional)
        if names is not None and len(names) != counts.shape[1]:
            raise DataError(f"{path} has {counts.shape[1]} words and the vocabulary {len(names)}")
        labels = names or [str(i) for i in range(counts.shape[1])]
        kept = [labels[i] for i in counts.words]
        return Corpus(counts.matrix, kept, None, counts.describe())
    return corpus_of_texts(_read_texts(path, kind, column), texts)


def corpus_of_texts(texts: Iterable[str], config: TextConfig | None = None) -> Corpus:
    """Count texts; those that no word is left of are removed."""
    counted = count_texts(texts, config)
    counts = check_counts(counted.matrix)
    tokens = [counted.tokens[d] for d in counts.documents]
    return Corpus(counts.matrix, counted.vocabulary, tokens, {**counts.describe(), **counted.removed})


def _kind(path: Path) -> str:
    if path.is_dir():
        return "folder"
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    kind = suffixes[-1] if suffixes else ""
    known = (".jsonl", ".csv", ".tsv", ".ldac", ".npz")
    if kind not in known:
        raise ConfigError(
            f"{path.name}: {kind or 'no suffix'} is not a known kind of corpus",
            allowed=f"a folder of .txt files, {', '.join(known)}",
            do="rename or convert the file",
        )
    return kind


def _open(path: Path) -> TextIO:
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", newline="")
    return path.open(encoding="utf-8", newline="")


def _read_words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the vocabulary {path}: {error}") from error


def _read_texts(path: Path, kind: str, column: str) -> list[str]:
    try:
        if kind == "folder":
            files = sorted(path.rglob("*.txt"))
            if not files:
                raise DataError(f"{path} holds no .txt files", do="give a folder of .txt files")
            return [file.read_text(encoding="utf-8") for file in files]
        with _open(path) as stream:
            texts = list(
                _json_lines(stream, path, column) if kind == ".jsonl" else _table(stream, path, kind, column)
            )
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read {path}: {error}", do="check that it is whole and UTF-8") from error
    if not texts:
        raise DataError(f"{path} holds no documents", do="check the file")
    return texts


def _json_lines(stream: TextIO, path: Path, column: str) -> Iterator[str]:
    for number, line in enumerate(stream, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}, line {number} is not JSON: {error.msg}") from error
        if not isinstance(row, dict) or not isinstance(row.get(column), str):
            keys = row if isinstance(row, dict) else []
            raise DataError(f"{path}, line {number} has no text in {column!r}", do=nearest(column, keys))
        yield row[column]


def _table(stream: TextIO, path: Path, kind: str, column: str) -> Iterator[str]:
    """A column of a table with a header; a .tsv whose header lacks it is read by the column's number from
    0."""
    limit = csv.field_size_limit(2**31 - 1)
    try:
        reader = csv.reader(stream, delimiter="\t" if kind == ".tsv" else ",")
        header = next(reader, None)
        if header is None:
            return
        if column in header:
            place = header.index(column)
        elif column.isdigit() and int(column) < len(header):
            place = int(column)
            yield header[place]
        else:
            raise DataError(
                f"{path} has no column {column!r}",
                allowed=", ".join(header)[:200],
                do="name one with --column, or its number from 0 where the file has no header",
            )
        for row in reader:
            if row:
                yield row[place] if place < len(row) else ""
    finally:
        csv.field_size_limit(limit)


def read_ldac(path: str | Path, vocabulary: list[str] | None = None) -> sparse.csr_array:
    """Counts (D, V) from an LDA-C file; V is the vocabulary's size, or the largest word number plus one."""
    path = Path(path)
    indptr, indices, data = [0], [], []
    try:
        with _open(path) as stream:
            for number, line in enumerate(stream, 1):
                fields = line.split()
                if not fields:
                    continue
                try:
                    pairs = [field.split(":") for field in fields[1:]]
                    words, counts = [int(w) for w, _ in pairs], [int(c) for _, c in pairs]
                    if int(fields[0]) != len(pairs) or (words and min(words) < 0):
                        raise ValueError
                except ValueError:
                    raise DataError(
                        f"{path}, line {number} is not LDA-C", allowed="distinct word:count word:count ..."
                    ) from None
                indices += words
                data += counts
                indptr.append(len(indices))
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    if len(indptr) == 1:
        raise DataError(f"{path} holds no documents", do="check the file")
    num_words = max(indices, default=-1) + 1
    if vocabulary is not None:
        if num_words > len(vocabulary):
            raise DataError(
                f"{path} uses word {num_words - 1} and the vocabulary has {len(vocabulary)} words"
            )
        num_words = len(vocabulary)
    matrix = sparse.csr_array((data, indices, indptr), shape=(len(indptr) - 1, num_words))
    matrix.sum_duplicates()
    return matrix


def _read_npz(path: Path) -> tuple[Any, list[str] | None]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = archive["vocabulary"].tolist() if "vocabulary" in archive else None
            arrays = [name for name in archive.files if name != "vocabulary"]
            if "format" in arrays:
                return sparse.load_npz(path), names
            if "counts" not in arrays and len(arrays) != 1:
                raise DataError(f"{path} holds arrays {arrays}", allowed="one named counts")
            return archive["counts" if "counts" in arrays else arrays[0]], names
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"cannot read {path}: {error}", do="write it with numpy.savez or scipy.sparse"
        ) from error


def _turn(matrix: Any, names: list[str] | None, orientation: str, path: Path) -> Any:
    if orientation == "words":
        return matrix.T
    if orientation == "auto" and looks_transposed(matrix, len(names) if names else None):
        rows, columns = matrix.shape
        raise DataError(
            f"{path} ({rows} x {columns}) looks like words x documents",
            allowed="documents x words",
            do="say which it is: --orientation words turns it, --orientation documents takes it as it is",
        )
    return matrix
