"""Read the `documents.parquet` of a corpus: by path, since the corpus room stands above this one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hortus.errors import DataError
from hortus.tokenizer.config import TokenizerConfig
from hortus.tokenizer.mixture import language_shares

__all__ = ["documents_file", "held_out_texts", "language_bytes", "training_texts"]

_COLUMNS = ("text", "language", "split")
# Beside next to no other text, half of it would be next to no code.
UNCAPPED_CODE_BYTES = 1_000_000


def documents_file(folder_or_file: str | Path) -> Path:
    """The parquet file of a corpus folder, checked to have the columns text, language and split.

    Raises:
        DataError: it is missing, corrupt, or lacks a column.
    """
    path = Path(folder_or_file)
    path = path / "documents.parquet" if path.is_dir() else path
    if not path.is_file():
        raise DataError(f"no documents at {path}", do="build a corpus first: hortus corpus build")
    try:
        names = pq.read_schema(path).names
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{path} is not a readable parquet file: {error}", do="build the corpus again"
        ) from error
    missing = [name for name in _COLUMNS if name not in names]
    if missing:
        raise DataError(
            f"{path} lacks the column {missing[0]!r}; it has: {', '.join(names)}", do="build the corpus again"
        )
    return path


def language_bytes(path: Path, split: str) -> dict[str, int]:
    """UTF-8 bytes of text by language in one split, ordered by name."""
    totals: dict[str, int] = {}
    for batch in _batches(path, split):
        sizes = pa.table(
            {"language": batch.column("language"), "size": pc.binary_length(batch.column("text"))}
        )
        for row in sizes.group_by("language").aggregate([("size", "sum")]).to_pylist():
            totals[row["language"]] = totals.get(row["language"], 0) + row["size_sum"]
    return dict(sorted(totals.items()))


def training_texts(path: Path, config: TokenizerConfig) -> dict[str, list[str]]:
    """The training split thinned to the shares that `config` asks for, by language.

    Large languages lose documents evenly along the file; none is repeated, since a repeated document
    would pass `min_frequency` on its own. So small languages end below their share, and "code" is cut
    once more to hold at most `code_share` of what remains.
    """
    sizes = language_bytes(path, "train")
    if not sizes:
        raise DataError(
            f"{path} has no training documents", do="build the corpus again with a smaller validation share"
        )
    shares = language_shares(sizes, config.alpha, {"code": config.code_share})
    budgets = {
        language: min(sizes[language], shares.get(language, 0.0) * config.max_training_bytes)
        for language in sizes
    }
    others = sum(budget for language, budget in budgets.items() if language != "code")
    if "code" in budgets and config.code_share < 1:
        most = max(others * config.code_share / (1 - config.code_share), UNCAPPED_CODE_BYTES)
        budgets["code"] = min(budgets["code"], most)
    return _thinned(path, "train", budgets, sizes)


def held_out_texts(path: Path, config: TokenizerConfig) -> dict[str, list[str]]:
    """Validation documents by language, at most `report_bytes` each."""
    sizes = language_bytes(path, "validation")
    return _thinned(
        path, "validation", {name: min(size, config.report_bytes) for name, size in sizes.items()}, sizes
    )


def _thinned(
    path: Path, split: str, budgets: dict[str, float], sizes: dict[str, int]
) -> dict[str, list[str]]:
    texts: dict[str, list[str]] = {language: [] for language in sizes}
    seen, taken = dict.fromkeys(sizes, 0), dict.fromkeys(sizes, 0)
    for batch in _batches(path, split):
        for language, text in zip(
            batch.column("language").to_pylist(), batch.column("text").to_pylist(), strict=True
        ):
            size = len(text.encode())
            seen[language] += size
            # Taken when its middle lies within the part of the budget that is due by now.
            if taken[language] + size / 2 <= seen[language] * budgets[language] / sizes[language]:
                texts[language].append(text)
                taken[language] += size
    return {language: kept for language, kept in texts.items() if kept}


def _batches(path: Path, split: str) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=1024, columns=list(_COLUMNS)):
            yield batch.filter(pc.equal(batch.column("split"), split))
