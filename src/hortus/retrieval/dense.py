"""Dense retrieval: passages and questions as mean states of an encoder, the nearest by cosine, usearch's
index.

Vectors are computed in parts that are kept until the index stands, so a build that was broken off goes on;
the index is mapped from its file. A folder in sentence-transformers' form is an encoder like any other if
it pools by the mean. Search is approximate (HNSW) unless asked to be exact.

Legend: Q questions, N passages, D width.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hortus.artifact import read_json, replacing_file, resolve_folder, write_json
from hortus.errors import ArtifactError, ConfigError
from hortus.registry import require
from hortus.retrieval.bm25 import PASSAGES, SETTINGS, Bm25Index, Hit
from hortus.retrieval.passages import Passage, PassageStore, write_passages_file

__all__ = ["DenseConfig", "DenseIndex", "build_dense", "open_index"]

VECTORS = "vectors.usearch"
_PART = 2_000


@dataclass(frozen=True, kw_only=True)
class DenseConfig:
    """How texts are encoded.

    encoder: folder or hub id of a model with `embed`.
    question_prefix, passage_prefix: put before texts, such as E5's "query: " and "passage: ".
    exact: compare with every passage instead of walking the graph.
    """

    encoder: str
    question_prefix: str = ""
    passage_prefix: str = ""
    exact: bool = False


def build_dense(
    passages: Iterable[Passage], folder: str | Path, config: DenseConfig, *, progress: bool = False
) -> DenseIndex:
    """Encode passages into a folder; a build that was broken off goes on with the parts that are done.

    Raises:
        ConfigError: the encoder's folder asks for another pooling than the mean.
        DataError: no passage, or an id twice.
        DeviceError: usearch is not installed.
    """
    usearch = require("usearch.index", extra="retrieval")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    encoder = _load(config.encoder)
    count, corpus = write_passages_file(passages, folder / PASSAGES)
    store, parts = PassageStore(folder / PASSAGES), folder / "parts"
    mark = {"corpus": corpus, **asdict(config)}
    if (parts / "mark.json").is_file() and read_json(parts / "mark.json") != mark:
        shutil.rmtree(parts)
    write_json(parts / "mark.json", mark)
    index: Any = None
    for start in range(0, count, _PART):
        end = min(start + _PART, count)
        vectors = _part(parts / f"{start}.npy", store, start, end, encoder, config.passage_prefix)
        if index is None:
            index = usearch.Index(ndim=vectors.shape[1], metric="cos", dtype="f32")
        # One thread: the graph, and so what is found, does not depend on which of several is faster.
        index.add(np.arange(start, end), vectors, threads=1)
        if progress:
            print(f"index: {end} of {count} passages encoded", file=sys.stderr)
    with replacing_file(folder / VECTORS) as temporary:
        index.save(str(temporary))
    described = {"kind": "dense", "corpus": corpus, "passages": count, "settings": asdict(config)}
    write_json(folder / SETTINGS, described)
    shutil.rmtree(parts)
    return DenseIndex(folder, encoder)


def _part(path: Path, store: PassageStore, start: int, end: int, encoder: Any, prefix: str) -> np.ndarray:
    if path.is_file():
        kept: np.ndarray = np.load(path, allow_pickle=False)
        return kept
    vectors: np.ndarray = encoder.embed([prefix + text for text in store.texts(start, end)], truncate=True)
    with replacing_file(path) as temporary, temporary.open("wb") as file:
        np.save(file, vectors)
    return vectors


def _load(name: str) -> Any:
    import hortus

    pooling = resolve_folder(name) / "1_Pooling" / "config.json"
    if pooling.is_file() and not read_json(pooling).get("pooling_mode_mean_tokens"):
        raise ConfigError(
            f"{name} pools in another way than by the mean", allowed="encoders that pool by the mean"
        )
    return hortus.load(name)


class DenseIndex:
    """An index that was built; vectors and passages stay on disk until they are needed.

    Args:
        encoder: what the index was built with; None opens the one that the folder names.

    Raises:
        ArtifactError: no such index, or a broken one.
    """

    def __init__(self, folder: str | Path, encoder: Any = None):
        folder = Path(folder)
        described = read_json(folder / SETTINGS)
        if described.get("kind") != "dense":
            raise ArtifactError(
                f"{folder} holds an index of the kind {described.get('kind')!r}", allowed="dense"
            )
        self.folder, self.corpus = folder, str(described["corpus"])
        self.config = DenseConfig(**described["settings"])
        self.passages = PassageStore(folder / PASSAGES)
        try:
            index = require("usearch.index", extra="retrieval").Index.restore(
                str(folder / VECTORS), view=True
            )
        except (RuntimeError, ValueError) as error:
            raise ArtifactError(f"cannot read {folder}: {error}", do="index the corpus again") from error
        if index is None or len(index) != len(self.passages):
            raise ArtifactError(f"{folder} is broken or mixes two builds", do="index the corpus again")
        self._index = index
        self._encoder = _load(self.config.encoder) if encoder is None else encoder

    def search(self, questions: Sequence[str], k: int = 1) -> list[list[Hit]]:
        """The k passages nearest to each question with their cosines, nearest first; ties as in the
        corpus."""
        if k < 1:
            raise ConfigError(f"k={k}", allowed="1 or more")
        texts = [self.config.question_prefix + question for question in questions]
        vectors = self._encoder.embed(texts, truncate=True)
        hits = []
        for vector in vectors:
            found = self._index.search(vector, min(k, len(self.passages)), exact=self.config.exact)
            pairs = sorted(zip(found.distances.tolist(), found.keys.tolist(), strict=True))
            hits.append([Hit(self.passages[number], 1 - distance) for distance, number in pairs])
        return hits


def open_index(folder: str | Path) -> Bm25Index | DenseIndex:
    """The index of a folder, of either kind.

    Raises:
        ArtifactError: there is none.
    """
    place = Path(folder) / SETTINGS
    dense = place.is_file() and read_json(place).get("kind") == "dense"
    return DenseIndex(folder) if dense else Bm25Index(folder)
