import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hortus.corpus.config import ShardsConfig
from hortus.corpus.documents import DOCUMENT_SCHEMA, document_id
from hortus.corpus.shards import write_shards
from hortus.tokenizer import Tokenizer, TokenizerConfig, train_tokenizer


@pytest.fixture
def write_jsonl():
    def write(path: Path, rows) -> Path:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return write


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return train_tokenizer(
        ["the words of one more document in a list of them"] * 4, TokenizerConfig(vocab_size=300)
    )


@pytest.fixture(scope="session")
def write_documents():
    """Writes documents.parquet from (text, language, split) rows."""

    def write(folder: Path, rows) -> Path:
        table = [
            {"id": document_id(text), "text": text, "language": language, "source": "test", "split": split}
            for text, language, split in rows
        ]
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(table, DOCUMENT_SCHEMA), folder / "documents.parquet")
        return folder

    return write


@pytest.fixture(scope="session")
def shard_rows():
    """What `shard_folder` is written from: (text, language, split)."""
    return ROWS


ROWS = [
    *((f"english document number {i} " * (1 + i % 7), "en", "train") for i in range(40)),
    *((f"le document {i} " * (1 + i % 3), "fr", "train") for i in range(11)),
    *((f"def function_{i}(): return {i}\n" * 25, "code", "train") for i in range(9)),
    *((f"held out words {i} " * (1 + i % 5), "en", "validation") for i in range(7)),
    *((f"mots de {i} " * 3, "fr", "validation") for i in range(3)),
]


@pytest.fixture(scope="session")
def shard_folder(tmp_path_factory, tokenizer, write_documents, shard_rows) -> Path:
    """Shards cut so small that languages have several."""
    base = tmp_path_factory.mktemp("shards")
    write_documents(base / "corpus", shard_rows)
    write_shards(base / "corpus", tokenizer, base / "shards", ShardsConfig(max_shard_tokens=300))
    return base / "shards"
