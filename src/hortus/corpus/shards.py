"""Token shards: documents as flat files of token ids, opened as memory maps.

    index.json                     dtype, vocabulary, tokenizer, and for every shard its counts and checksums
    train/en-00000.tokens          token ids, little-endian uint16 (vocabulary up to 65,536) or uint32
    train/en-00000.offsets         uint64: where each document begins, then the end of the last

Every document ends with </s>. index.json is written last, so a folder that has it is complete.
"""

from __future__ import annotations

import errno
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hortus.artifact import read_json, write_json
from hortus.corpus.build import DOCUMENTS, SPLITS
from hortus.corpus.config import ShardsConfig
from hortus.errors import ArtifactError, ConfigError, DataError, DeviceError, nearest
from hortus.tokenizer import Tokenizer

__all__ = ["Shard", "ShardFolder", "ShardInfo", "write_shards"]

INDEX = "index.json"
FORMAT = "hortus-shards-1"
OFFSETS_DTYPE = np.dtype("<u8")


@dataclass(frozen=True, kw_only=True)
class ShardInfo:
    """What index.json says of one shard: its files without ending, counts, CRC-32 checksums."""

    name: str
    tokens: int
    documents: int
    num_bytes: int
    tokens_checksum: int
    offsets_checksum: int


@dataclass(frozen=True)
class Shard:
    """One opened shard.

    tokens: (tokens,) uint16 or uint32, memory-mapped.
    offsets: (documents + 1,) uint64, memory-mapped; document i is tokens[offsets[i]:offsets[i + 1]].
    """

    tokens: NDArray[Any]
    offsets: NDArray[np.uint64]


def write_shards(
    documents: str | Path, tokenizer: Tokenizer, folder: str | Path, config: ShardsConfig | None = None
) -> ShardFolder:
    """Encode a corpus folder's documents into `folder`, by split and language.

    Raises:
        ArtifactError: the tokenizer has no end-of-text token.
        DataError: no documents are there.
        DeviceError: the disk is full.
    """
    config = config or ShardsConfig()
    folder, path = Path(folder), Path(documents)
    path = path / DOCUMENTS if path.is_dir() else path
    if not path.is_file():
        raise DataError(f"no documents at {path}", do="build a corpus first: hortus corpus build")
    if tokenizer.eos_id is None:
        raise ArtifactError(
            "the tokenizer has no end-of-text token", do="name one as eos_token in tokenizer_config.json"
        )
    dtype = np.dtype("<u2" if tokenizer.vocab_size <= 1 << 16 else "<u4")
    (folder / INDEX).unlink(missing_ok=True)
    infos = _write_all(path, tokenizer, folder, dtype, config.max_shard_tokens)
    write_json(
        folder / INDEX,
        {
            "format": FORMAT,
            "dtype": dtype.name,
            "vocab_size": tokenizer.vocab_size,
            "eos_id": tokenizer.eos_id,
            "tokenizer": tokenizer.fingerprint(),
            "alpha": config.alpha,
            "code_share": config.code_share,
            "shards": {
                split: {language: [asdict(info) for info in infos[split, language]] for language in languages}
                for split, languages in _languages_by_split(infos).items()
            },
        },
    )
    return ShardFolder(folder, verify=False)


def _languages_by_split(infos: dict[tuple[str, str], list[ShardInfo]]) -> dict[str, list[str]]:
    return {split: sorted(language for part, language in infos if part == split) for split in SPLITS}


def _write_all(
    path: Path, tokenizer: Tokenizer, folder: Path, dtype: np.dtype[Any], max_tokens: int
) -> dict[tuple[str, str], list[ShardInfo]]:
    writers: dict[tuple[str, str], _Writer] = {}
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1024, columns=["text", "language", "split"]):
                for split, language, texts in _groups(batch):
                    if (split, language) not in writers:
                        writers[split, language] = _Writer(
                            folder, f"{split}/{_safe(language)}", dtype, max_tokens
                        )
                    writers[split, language].add(texts, tokenizer)
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise DeviceError(
                f"the disk of {folder} is full", do="free some space and run it again"
            ) from error
        raise DataError(f"cannot turn {path} into shards: {error}", do="build the corpus again") from error
    finally:
        for writer in writers.values():
            writer.close()
    return {key: writer.infos for key, writer in writers.items()}


def _groups(batch: pa.RecordBatch) -> Iterator[tuple[str, str, list[str]]]:
    keys = pa.table({"split": batch.column("split"), "language": batch.column("language")})
    for split, language in sorted(
        set(zip(*(keys.column(name).to_pylist() for name in keys.column_names), strict=True))
    ):
        chosen = pc.and_(pc.equal(batch.column("split"), split), pc.equal(batch.column("language"), language))
        yield split, language, batch.filter(chosen).column("text").to_pylist()


def _safe(language: str) -> str:
    """A language as a file name: what is neither a letter, digit nor hyphen is spelled by its code."""
    return "".join(c if c.isascii() and (c.isalnum() or c == "-") else f"_{ord(c):x}_" for c in language)


class _Writer:
    """Writes the shards of one language in one split, a new one after `max_tokens`."""

    def __init__(self, folder: Path, name: str, dtype: np.dtype[Any], max_tokens: int):
        self.infos: list[ShardInfo] = []
        self._folder, self._name, self._dtype, self._max_tokens = folder, name, dtype, max_tokens
        self._files: tuple[_Checked, _Checked] | None = None
        self._tokens = self._documents = self._bytes = 0

    def add(self, texts: Sequence[str], tokenizer: Tokenizer) -> None:
        for text, ids in zip(texts, tokenizer.encode_batch(texts), strict=True):
            if self._files is None:
                self._open()
            assert self._files is not None
            self._files[0].write(np.array([*ids, tokenizer.eos_id], dtype=self._dtype))
            self._tokens += len(ids) + 1
            self._documents += 1
            self._bytes += len(text.encode())
            self._files[1].write(np.array([self._tokens], dtype=OFFSETS_DTYPE))
            if self._tokens >= self._max_tokens:
                self.close()

    def _open(self) -> None:
        stem = self._folder / f"{self._name}-{len(self.infos):05d}"
        stem.parent.mkdir(parents=True, exist_ok=True)
        self._files = _Checked(Path(f"{stem}.tokens")), _Checked(Path(f"{stem}.offsets"))
        self._files[1].write(np.zeros(1, dtype=OFFSETS_DTYPE))
        self._tokens = self._documents = self._bytes = 0

    def close(self) -> None:
        if self._files is None:
            return
        for file in self._files:
            file.close()
        self.infos.append(
            ShardInfo(
                name=f"{self._name}-{len(self.infos):05d}",
                tokens=self._tokens,
                documents=self._documents,
                num_bytes=self._bytes,
                tokens_checksum=self._files[0].checksum,
                offsets_checksum=self._files[1].checksum,
            )
        )
        self._files = None


class _Checked:
    """A file that keeps the CRC-32 of what was written to it."""

    def __init__(self, path: Path):
        self.checksum = 0
        self._file: BinaryIO = path.open("wb", buffering=1 << 16)

    def write(self, array: NDArray[Any]) -> None:
        data = array.tobytes()
        self.checksum = zlib.crc32(data, self.checksum)
        self._file.write(data)

    def close(self) -> None:
        self._file.close()


class ShardFolder:
    """The shards of a folder, checked when opened.

    Args:
        verify: also compare the checksums, which reads everything once.

    Raises:
        DataError: no index, or a shard is missing, cut off or corrupt; names the file.
    """

    def __init__(self, folder: str | Path, *, verify: bool = True):
        self.folder = Path(folder)
        path = self.folder / INDEX
        if not path.is_file():
            raise DataError(
                f"no shards in {folder}: {INDEX} is missing", do="write them with the recipe stage 'shards'"
            )
        index = read_json(path)
        if index.get("format") != FORMAT:
            raise DataError(
                f"{path} has format {index.get('format')!r}", allowed=FORMAT, do="write the shards again"
            )
        self.dtype = np.dtype(index["dtype"]).newbyteorder("<")
        self.vocab_size, self.eos_id = int(index["vocab_size"]), int(index["eos_id"])
        self.tokenizer_fingerprint: str = index["tokenizer"]
        self.alpha, self.code_share = float(index["alpha"]), float(index["code_share"])
        self.infos: dict[str, dict[str, list[ShardInfo]]] = {
            split: {language: [ShardInfo(**info) for info in infos] for language, infos in languages.items()}
            for split, languages in index["shards"].items()
        }
        self.fingerprint = zlib.crc32(path.read_bytes())
        for info in self._all():
            self._check(info, verify)

    def languages(self, split: str) -> list[str]:
        """Languages that have documents in a split, sorted."""
        return sorted(self.infos.get(split, {}))

    def tokens(self, split: str) -> dict[str, int]:
        """Token counts by language, </s> included."""
        return {name: sum(info.tokens for info in self.infos[split][name]) for name in self.languages(split)}

    def num_bytes(self, split: str) -> dict[str, int]:
        """UTF-8 bytes of the texts by language."""
        return {
            name: sum(info.num_bytes for info in self.infos[split][name]) for name in self.languages(split)
        }

    def documents(self, split: str) -> dict[str, int]:
        """Document counts by language."""
        return {
            name: sum(info.documents for info in self.infos[split][name]) for name in self.languages(split)
        }

    def open(self, split: str, language: str) -> list[Shard]:
        """The shards of one language as memory maps.

        Raises:
            ConfigError: the split has no such language.
        """
        known = self.infos.get(split, {})
        if language not in known:
            raise ConfigError(
                f"no {language!r} in the {split} shards of {self.folder}", do=nearest(language, known)
            )
        return [Shard(*self._map(info)) for info in known[language]]

    def _map(self, info: ShardInfo) -> tuple[NDArray[Any], NDArray[np.uint64]]:
        # np.asarray: a slice of np.memmap costs ten times that of a plain array over the same map.
        tokens, offsets = self._paths(info)
        return (
            np.asarray(np.memmap(tokens, dtype=self.dtype, mode="r")),
            np.asarray(np.memmap(offsets, dtype=OFFSETS_DTYPE, mode="r")),
        )

    def _paths(self, info: ShardInfo) -> tuple[Path, Path]:
        return self.folder / f"{info.name}.tokens", self.folder / f"{info.name}.offsets"

    def _all(self) -> Iterator[ShardInfo]:
        for languages in self.infos.values():
            for infos in languages.values():
                yield from infos

    def _check(self, info: ShardInfo, verify: bool) -> None:
        sizes = info.tokens * self.dtype.itemsize, (info.documents + 1) * OFFSETS_DTYPE.itemsize
        checksums = info.tokens_checksum, info.offsets_checksum
        for path, size, checksum in zip(self._paths(info), sizes, checksums, strict=True):
            found = path.stat().st_size if path.is_file() else None
            if found != size:
                problem = "is missing" if found is None else f"has {found} bytes instead of {size}"
                raise DataError(f"the shard {path} {problem}", do="write the shards again")
            if verify and _checksum(path) != checksum:
                raise DataError(
                    f"the shard {path} is corrupt: its checksum differs", do="write the shards again"
                )


def _checksum(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            checksum = zlib.crc32(block, checksum)
    return checksum
