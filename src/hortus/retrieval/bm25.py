"""BM25 over a corpus on disk: bm25s's eager scores, memory-mapped, with ties in the order of the corpus.

What differs from bm25s alone: the matrix is built part by part by several processes (`bm25_matrix`), and
parts that are done are not done again; the order among equal scores, which bm25s leaves open, is the
corpus's; a question none of whose words the corpus knows finds nothing.

Legend: Q questions, N passages.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hortus.artifact import read_json, write_json
from hortus.errors import ArtifactError, ConfigError
from hortus.registry import require
from hortus.retrieval.bm25_matrix import DELTA, build_matrix, is_counted, write_counts
from hortus.retrieval.passages import Passage, PassageStore, write_passages_file
from hortus.retrieval.words import split_text

__all__ = ["Bm25Config", "Bm25Index", "Hit", "build_bm25"]

PASSAGES, SETTINGS = "passages.arrow", "index.json"
_PART = 20_000  # passages that one process splits at a time
_WORTH_COMPILING = 10**9  # questions times passages: minutes of NumPy, seconds of compiling
_MARGIN = 1  # one passage more than asked for shows whether a tie goes on


@dataclass(frozen=True, kw_only=True)
class Bm25Config:
    """How passages are split and weighed.

    language: whose stop words are dropped (ISO 639-1); None drops none.
    stem: compare stems of words.
    k1, b: BM25's saturation and length normalisation.
    method: lucene, robertson, atire, bm25l or bm25+.
    processes: that split texts into words.
    """

    language: str | None = "en"
    stem: bool = False
    k1: float = 0.9
    b: float = 0.4
    method: str = "lucene"
    processes: int = 2

    def __post_init__(self) -> None:
        methods = ("lucene", "robertson", "atire", "bm25l", "bm25+")
        if self.method not in methods:
            raise ConfigError(f"method={self.method!r}", allowed=", ".join(methods))
        if self.k1 < 0 or not 0 <= self.b <= 1 or self.processes < 1:
            raise ConfigError(
                f"k1={self.k1}, b={self.b}, processes={self.processes}",
                allowed="0 or more; 0 to 1; 1 or more",
            )


@dataclass(frozen=True)
class Hit:
    """A passage that was found, and its score."""

    passage: Passage
    score: float


def build_bm25(
    passages: Iterable[Passage],
    folder: str | Path,
    config: Bm25Config | None = None,
    *,
    progress: bool = False,
) -> Bm25Index:
    """Index passages into a folder; a build that was broken off goes on with the parts that are done.

    Raises:
        DataError: no passage, an id twice, or no word in any passage.
        DeviceError: bm25s is not installed.

    >>> import tempfile
    >>> snow, coal = Passage("1", "Snow", "Snow is white."), Passage("2", "Coal", "Coal is black.")
    >>> index = build_bm25([snow, coal], tempfile.mkdtemp(), Bm25Config(processes=1))
    >>> [hit.passage.id for hit in index.search(["What color is coal?"], 1)[0]]
    ['2']
    """
    bm25s = require("bm25s", extra="retrieval")
    config, folder = config or Bm25Config(), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    count, corpus = write_passages_file(passages, folder / PASSAGES)
    parts = _split_parts(folder, count, corpus, config, progress)
    matrix = build_matrix(parts, folder / "parts", config)
    engine = bm25s.BM25(k1=config.k1, b=config.b, method=config.method, delta=DELTA)
    columns = {"data": matrix.data, "indices": matrix.indices, "indptr": matrix.indptr, "num_docs": count}
    engine.scores, engine.nonoccurrence_array = columns, matrix.absent
    engine.vocab_dict = matrix.vocabulary
    engine.save(folder / "bm25", show_progress=False)
    settings = asdict(config)
    del settings["processes"]
    write_json(folder / SETTINGS, {"kind": "bm25", "corpus": corpus, "passages": count, "settings": settings})
    shutil.rmtree(folder / "parts")
    return Bm25Index(folder)


def _split_parts(folder: Path, count: int, corpus: str, config: Bm25Config, progress: bool) -> list[Path]:
    """The parts' counted words."""
    place = folder / "parts"
    mark = {"corpus": corpus, "language": config.language, "stem": config.stem, "part": _PART}
    if (place / "mark.json").is_file() and read_json(place / "mark.json") != mark:
        shutil.rmtree(place)
    write_json(place / "mark.json", mark)
    jobs = []
    for number, start in enumerate(range(0, count, _PART)):
        job = (folder / PASSAGES, start, min(start + _PART, count), place / f"{number}", config)
        jobs.append(job)
    todo = [job for job in jobs if not is_counted(job[3])]
    if config.processes == 1 or len(todo) < 2:
        _report(map(_split_part, todo), len(jobs) - len(todo), len(jobs), progress)
    else:
        # Spawned, not forked: the parent may run threads, and a child needs nothing of it.
        with multiprocessing.get_context("spawn").Pool(config.processes) as pool:
            _report(pool.imap_unordered(_split_part, todo), len(jobs) - len(todo), len(jobs), progress)
    return [job[3] for job in jobs]


def _report(done: Iterable[None], before: int, total: int, progress: bool) -> None:
    for number, _ in enumerate(done, start=before + 1):
        if progress:
            print(f"index: {number} of {total} parts split into words", file=sys.stderr)


def _split_part(job: tuple[Path, int, int, Path, Bm25Config]) -> None:
    passages, start, end, stem, config = job
    texts = PassageStore(passages).texts(start, end)
    write_counts(stem, [split_text(text, config.language, config.stem) for text in texts], start)


class Bm25Index:
    """An index that was built; scores and passages stay on disk until they are needed.

    Raises:
        ArtifactError: no index, a broken one, or of another kind.
    """

    def __init__(self, folder: str | Path):
        folder = Path(folder)
        if not (folder / SETTINGS).is_file():
            raise ArtifactError(f"{folder} holds no index", do="build one: hortus retrieval index")
        described = read_json(folder / SETTINGS)
        if described.get("kind") != "bm25":
            raise ArtifactError(
                f"{folder} holds an index of the kind {described.get('kind')!r}", allowed="bm25"
            )
        self.folder, self.corpus = folder, str(described["corpus"])
        self.config = Bm25Config(**described["settings"])
        self.passages = PassageStore(folder / PASSAGES)
        if len(self.passages) != described["passages"]:
            raise ArtifactError(f"{folder} mixes two builds", do="index the corpus again")
        try:
            package = require("bm25s", extra="retrieval")
            self._engine: Any = package.BM25.load(folder / "bm25", mmap=True, show_progress=False)
        except (OSError, ValueError, KeyError) as error:
            raise ArtifactError(f"cannot read {folder}: {error}", do="index the corpus again") from error
        self._compiled = False

    def search(self, questions: Sequence[str], k: int = 1, *, threads: int = 1) -> list[list[Hit]]:
        """The best k passages of each question, best first; of equal scores the earlier passage.

        A passage that shares no word with the question is never found, so there may be fewer than k.
        """
        numbers, scores = self.search_numbers(questions, k, threads=threads)
        return [
            [Hit(self.passages[int(n)], float(s)) for n, s in zip(*row, strict=True) if s > 0]
            for row in zip(numbers, scores, strict=True)
        ]

    def compile(self) -> None:
        """Let bm25s score by numba's loops from now on, where numba is there: faster, after some seconds."""
        if not self._compiled and importlib.util.find_spec("numba"):
            self._engine.backend = "numba"
            self._engine.activate_numba_scorer()
            self._compiled = True

    def search_numbers(
        self, questions: Sequence[str], k: int = 1, *, threads: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """(Q, k) numbers of passages and their scores; a score of 0 says that nothing was found there."""
        if k < 1:
            raise ConfigError(f"k={k}", allowed="1 or more")
        known = self._engine.vocab_dict
        asked = [
            [known[w] for w in split_text(text, self.config.language, self.config.stem) if w in known]
            for text in questions
        ]
        k = min(k, len(self.passages))
        wide = min(k + _MARGIN, len(self.passages))
        numbers, scores = np.zeros((len(asked), k), np.int64), np.zeros((len(asked), k), np.float32)
        some = [row for row, words in enumerate(asked) if words]
        if len(some) * len(self.passages) >= _WORTH_COMPILING:
            self.compile()
        if some:
            found = self._engine.retrieve(
                [asked[row] for row in some],
                k=wide,
                show_progress=False,
                n_threads=threads if threads > 1 else 0,
            )
            numbers[some], scores[some] = self._ordered(asked, some, found.documents, found.scores, k)
        return numbers, scores

    def _ordered(
        self, asked: Sequence[list[int]], some: Sequence[int], numbers: np.ndarray, scores: np.ndarray, k: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The first k of wider results, ties by number; where a tie goes on beyond them, of all scores."""
        tied = np.flatnonzero((scores[:, 1:] == scores[:, :-1]).any(axis=1))
        order = np.lexsort((numbers[tied], -scores[tied]), axis=1)
        numbers[tied] = np.take_along_axis(numbers[tied], order, 1)
        open_ended = (scores[:, k - 1] == scores[:, -1]) & (scores[:, -1] > 0)
        if numbers.shape[1] < len(self.passages):
            for row in np.flatnonzero(open_ended):
                every = self._engine.get_scores_from_ids(asked[some[int(row)]])
                ties = np.flatnonzero(every == scores[row, k - 1])
                above = int((scores[row] > scores[row, k - 1]).sum())
                numbers[row, above:k] = ties[: k - above]
        return numbers[:, :k], scores[:, :k]
