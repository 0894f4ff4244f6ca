"""Batches of packed sequences from token shards, exactly resumable.

Documents longer than a sequence are cut into pieces of one sequence length. The stream is: draw a
language with the probability that gives it its share of tokens, take its next piece, append. Rows are
cut from the stream one after the other, so nothing is padded or thrown away, and what does not fit
begins the next row. The pieces of a language come in a random order, all of them before any comes again.

B rows in a batch, T tokens in a row
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hortus.corpus.config import CODE
from hortus.corpus.shards import Shard, ShardFolder
from hortus.errors import ConfigError, DataError
from hortus.tokenizer import language_shares

__all__ = ["PackedLoader", "ValidationLoader"]

DRAWS = 4096  # languages are drawn this many at a time


class PackedLoader:
    """Endless training batches: {"input_ids": (B, T) int64, "segment_ids": (B, T) int32}.

    Neighbouring tokens with equal segment ids are of one document (or of one piece of a long one).
    `batch_size` may be set between batches; the stream of rows does not depend on it.

    Args:
        folder: shards, as `write_shards` leaves them.
        sequence_length: T, at least 2.
        seed: together with the epoch's number it decides every draw.
        alpha, code_share: the mixture; by default what the shards were written with.
        languages: only these.
        keep_boundaries: False leaves out "segment_ids".
        verify: compare the shards' checksums first.

    Raises:
        ConfigError: a setting is out of range or a language unknown.
        DataError: no training documents, or a broken shard.

    >>> import tempfile
    >>> from hortus.corpus import CorpusConfig, build_corpus, write_shards
    >>> from hortus.tokenizer import TokenizerConfig, train_tokenizer
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "a.txt").write_text("to be or not to be " * 20)
    >>> config = CorpusConfig(sources=(str(folder / "a.txt"),), language="en")
    >>> _ = build_corpus(config, folder / "corpus")
    >>> tokenizer = train_tokenizer(["to be or not to be"] * 9, TokenizerConfig(vocab_size=265))
    >>> _ = write_shards(folder / "corpus", tokenizer, folder / "shards")
    >>> loader = PackedLoader(folder / "shards", sequence_length=16, batch_size=4)
    >>> batch = next(iter(loader))
    >>> batch["input_ids"].shape, batch["segment_ids"].dtype
    (torch.Size([4, 16]), torch.int32)
    """

    length: int | None = None  # no end

    def __init__(
        self,
        folder: str | Path,
        sequence_length: int,
        batch_size: int = 1,
        seed: int = 0,
        alpha: float | None = None,
        *,
        code_share: float | None = None,
        languages: Sequence[str] | None = None,
        keep_boundaries: bool = True,
        verify: bool = True,
    ):
        _check_sizes(sequence_length, batch_size)
        self.shards = ShardFolder(folder, verify=verify)
        tokens = _chosen(self.shards, "train", languages)
        self.sequence_length, self.batch_size, self.seed = sequence_length, batch_size, seed
        self.keep_boundaries = keep_boundaries
        alpha = self.shards.alpha if alpha is None else alpha
        code_share = self.shards.code_share if code_share is None else code_share
        self.shares = language_shares(tokens, alpha, {CODE: code_share})
        self._streams = [
            _LanguageStream(self.shards.open("train", language), language, sequence_length)
            for language in self.shares
        ]
        # A piece is drawn as often as its language's share asks, so long pieces are drawn less often.
        rates = np.array(
            [share / s.mean_length for share, s in zip(self.shares.values(), self._streams, strict=True)]
        )
        self._chances = np.cumsum(rates / rates.sum())
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of the stream of an epoch; each number has an order of its own."""
        self.epoch = epoch
        self._drawn, self._rows = 0, 0
        self._draws: list[int] = []
        self._current, self._piece, self._used = 0, -1, 0
        self._rest: NDArray[Any] = np.empty(0, dtype=self.shards.dtype)
        for stream in self._streams:
            stream.go_to(self.seed, epoch, 0, 0)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        while True:
            yield self._batch()

    def state_dict(self) -> dict[str, Any]:
        """The position after the last batch, as JSON values."""
        return {
            **self._identity(),
            "epoch": self.epoch,
            "rows": self._rows,
            "drawn": self._drawn,
            "current": self._current,
            "piece": self._piece,
            "used": self._used,
            "streams": [[stream.passes, stream.position] for stream in self._streams],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a saved position: the next batch is the one that would have followed.

        Raises:
            ConfigError: the position belongs to other shards or settings.
        """
        for name, value in self._identity().items():
            if state.get(name) != value:
                raise ConfigError(
                    f"the saved data position has {name}={state.get(name)!r}, this run has {value!r}",
                    do="resume with the settings and shards of the first run, or start anew",
                )
        self.set_epoch(int(state["epoch"]))
        self._rows, self._drawn = int(state["rows"]), int(state["drawn"])
        self._current, self._piece, self._used = (int(state[name]) for name in ("current", "piece", "used"))
        for stream, (passes, position) in zip(self._streams, state["streams"], strict=True):
            stream.go_to(self.seed, self.epoch, int(passes), int(position))
        if self._drawn % DRAWS:
            self._draws = self._draw_block(self._drawn // DRAWS)
        if self._piece >= 0:
            self._rest = self._streams[self._current].piece(self._piece)[self._used :]

    def _identity(self) -> dict[str, Any]:
        return {
            "shards": self.shards.fingerprint,
            "sequence_length": self.sequence_length,
            "seed": self.seed,
            "shares": self.shares,
        }

    def _batch(self) -> dict[str, Tensor]:
        rows, width = int(self.batch_size), self.sequence_length
        _check_sizes(width, rows)
        ids = np.empty(rows * width, dtype=np.int64)
        lengths = self._fill(ids)
        self._rows += rows
        batch = {"input_ids": torch.from_numpy(ids.reshape(rows, width))}
        if self.keep_boundaries:
            segments = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths).reshape(rows, width)
            batch["segment_ids"] = torch.from_numpy(segments - segments[:, :1])
        return batch

    def _fill(self, ids: NDArray[np.int64]) -> list[int]:
        """Write the next tokens into `ids` and return the lengths of the runs of one piece each."""
        lengths, filled, wanted = [], 0, len(ids)
        while filled < wanted:
            if not len(self._rest):
                self._next_piece()
            run = self._rest[: wanted - filled]
            ids[filled : filled + len(run)] = run
            self._rest = self._rest[len(run) :]
            self._used += len(run)
            lengths.append(len(run))
            filled += len(run)
        return lengths

    def _next_piece(self) -> None:
        block, place = divmod(self._drawn, DRAWS)
        if place == 0:
            self._draws = self._draw_block(block)
        self._current = self._draws[place]
        self._drawn += 1
        stream = self._streams[self._current]
        self._piece, self._used = stream.next(), 0
        self._rest = stream.piece(self._piece)

    def _draw_block(self, block: int) -> list[int]:
        # Seeded by its number, so that a position needs no generator state.
        draws = np.random.default_rng([self.seed, self.epoch, block]).random(DRAWS)
        chosen = np.searchsorted(self._chances, draws, side="right")
        return np.minimum(chosen, len(self._chances) - 1).tolist()


class _LanguageStream:
    """The pieces of one language in shuffled passes."""

    def __init__(self, shards: Sequence[Shard], language: str, sequence_length: int):
        self._tokens = [shard.tokens for shard in shards]
        parts = [_pieces(shard.offsets.astype(np.int64), sequence_length) for shard in shards]
        self._shard = np.repeat(np.arange(len(parts), dtype=np.int32), [len(starts) for starts, _ in parts])
        self._starts = np.concatenate([starts for starts, _ in parts])
        self._stops = np.concatenate([stops for _, stops in parts])
        self._key = zlib.crc32(language.encode())
        self.mean_length = float((self._stops - self._starts).mean())
        self.passes = self.position = 0

    def go_to(self, seed: int, epoch: int, passes: int, position: int) -> None:
        self._seed, self._epoch = seed, epoch
        self.passes, self.position = passes, position
        self._shuffle()

    def next(self) -> int:
        """The number of the next piece."""
        if self.position == len(self._order):
            self.passes, self.position = self.passes + 1, 0
            self._shuffle()
        self.position += 1
        return int(self._order[self.position - 1])

    def piece(self, number: int) -> NDArray[Any]:
        """The tokens of a piece, a view into the map."""
        return self._tokens[self._shard[number]][self._starts[number] : self._stops[number]]

    def _shuffle(self) -> None:
        generator = np.random.default_rng([self._seed, self._epoch, self.passes, self._key])
        self._order = generator.permutation(len(self._starts))


def _pieces(offsets: NDArray[np.int64], length: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Starts and stops of the pieces of all documents of a shard."""
    sizes = np.diff(offsets)
    counts = -(-sizes // length)
    first = np.repeat(np.cumsum(counts) - counts, counts)  # number of each document's first piece
    starts = np.repeat(offsets[:-1], counts) + (np.arange(counts.sum()) - first) * length
    return starts, np.minimum(starts + length, np.repeat(offsets[1:], counts))


class ValidationLoader:
    """The held-out documents once, in order: the batches of PackedLoader, nothing padded.

    What does not fill a row at the end comes as a last batch of one shorter row; a single token over is
    left out, since nothing is predicted from it.

    Args:
        languages: only these, e.g. ["en"] for the loss of one language.
        num_bytes: an attribute: UTF-8 bytes of the texts walked, for bits per byte.

    Raises:
        ConfigError, DataError: as PackedLoader.
    """

    def __init__(
        self,
        folder: str | Path,
        sequence_length: int,
        batch_size: int = 1,
        *,
        languages: Sequence[str] | None = None,
        keep_boundaries: bool = True,
        verify: bool = True,
    ):
        _check_sizes(sequence_length, batch_size)
        self.shards = ShardFolder(folder, verify=verify)
        self.sequence_length, self.batch_size, self.keep_boundaries = (
            sequence_length,
            batch_size,
            keep_boundaries,
        )
        self.languages = list(_chosen(self.shards, "validation", languages))
        opened = [shard for language in self.languages for shard in self.shards.open("validation", language)]
        self._tokens = [shard.tokens for shard in opened]
        self._starts = np.cumsum([0, *(len(tokens) for tokens in self._tokens)])
        ends = [
            shard.offsets[1:].astype(np.int64) + start
            for shard, start in zip(opened, self._starts, strict=False)
        ]
        self._document_ends = np.concatenate(ends)
        self.num_tokens = int(self._starts[-1])
        self.num_bytes = sum(self.shards.num_bytes("validation")[language] for language in self.languages)
        self.length: int | None = self.num_tokens // sequence_length + (self.num_tokens % sequence_length > 1)
        self._row = 0

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        whole = self.num_tokens // self.sequence_length
        while self._row < whole:
            first, self._row = self._row, min(self._row + int(self.batch_size), whole)
            yield self._batch(
                first * self.sequence_length, self._row * self.sequence_length, self.sequence_length
            )
        rest = self.num_tokens - whole * self.sequence_length
        if rest > 1 and self._row == whole:
            self._row += 1
            yield self._batch(self.num_tokens - rest, self.num_tokens, rest)

    def set_epoch(self, epoch: int) -> None:
        """Go back to the first document."""
        self._row = 0

    def state_dict(self) -> dict[str, Any]:
        """The position after the last batch."""
        return {"shards": self.shards.fingerprint, "sequence_length": self.sequence_length, "row": self._row}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a saved position."""
        if (state["shards"], state["sequence_length"]) != (self.shards.fingerprint, self.sequence_length):
            raise ConfigError(
                "the saved position belongs to other shards or another sequence length", do="start anew"
            )
        self._row = int(state["row"])

    def _batch(self, start: int, stop: int, width: int) -> dict[str, Tensor]:
        ids = np.empty(stop - start, dtype=np.int64)
        for tokens, begin in zip(self._tokens, self._starts, strict=False):
            low, high = max(start, begin), min(stop, begin + len(tokens))
            if low < high:
                ids[low - start : high - start] = tokens[low - begin : high - begin]
        batch = {"input_ids": torch.from_numpy(ids.reshape(-1, width))}
        if self.keep_boundaries:
            documents = np.searchsorted(self._document_ends, np.arange(start, stop), side="right")
            segments = documents.astype(np.int32).reshape(-1, width)
            batch["segment_ids"] = torch.from_numpy(segments - segments[:, :1])
        return batch


def _check_sizes(sequence_length: int, batch_size: int) -> None:
    if sequence_length < 2:
        raise ConfigError(
            f"sequence_length={sequence_length}", allowed="2 or more, since each token predicts the next"
        )
    if batch_size < 1:
        raise ConfigError(f"batch_size={batch_size}", allowed="1 or more")


def _chosen(shards: ShardFolder, split: str, languages: Sequence[str] | None) -> dict[str, int]:
    tokens = shards.tokens(split)
    if not tokens:
        raise DataError(
            f"the shards in {shards.folder} have no {split} documents", do="build the corpus with more text"
        )
    for language in languages or ():
        shards.open(split, language)  # names the nearest one if there is no such language
    return {
        language: count for language, count in tokens.items() if languages is None or language in languages
    }
