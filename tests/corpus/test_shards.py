"""Shards: what is written comes back, and a broken one is named."""

import errno
import json
import shutil

import numpy as np
import pytest

from hortus.corpus.config import ShardsConfig
from hortus.corpus.shards import ShardFolder, write_shards
from hortus.errors import ArtifactError, ConfigError, DataError, DeviceError
from hortus.recipe import StageContext
from hortus.tokenizer import Tokenizer


def documents(folder: ShardFolder, split: str, language: str) -> list[list[int]]:
    return [
        shard.tokens[int(start) : int(stop)].tolist()
        for shard in folder.open(split, language)
        for start, stop in zip(shard.offsets[:-1], shard.offsets[1:], strict=True)
    ]


@pytest.fixture
def copied(shard_folder, tmp_path):
    shutil.copytree(shard_folder, tmp_path / "shards")
    return tmp_path / "shards"


def test_documents_come_back_ending_with_eos(shard_folder, tokenizer, shard_rows):
    folder = ShardFolder(shard_folder)
    assert folder.languages("train") == ["code", "en", "fr"] and folder.languages("validation") == [
        "en",
        "fr",
    ]
    for split in ("train", "validation"):
        for language in folder.languages(split):
            texts = [text for text, name, part in shard_rows if (name, part) == (language, split)]
            assert documents(folder, split, language) == [[*tokenizer.encode(text), 2] for text in texts]
            assert folder.documents(split)[language] == len(texts)
            assert folder.tokens(split)[language] == sum(len(tokenizer.encode(text)) + 1 for text in texts)
            assert folder.num_bytes(split)[language] == sum(len(text.encode()) for text in texts)
    assert len(folder.open("train", "en")) > 1  # several shards
    assert folder.tokenizer_fingerprint == tokenizer.fingerprint()
    assert (folder.vocab_size, folder.eos_id) == (
        300 if tokenizer.vocab_size == 300 else tokenizer.vocab_size,
        2,
    )


def test_text_that_spells_the_end_token_does_not_end_a_document(tmp_path, tokenizer, write_documents):
    write_documents(tmp_path / "c", [("one </s> two", "en", "train")])
    folder = write_shards(tmp_path / "c", tokenizer, tmp_path / "s")
    (ids,) = documents(folder, "train", "en")
    assert ids.count(2) == 1 and tokenizer.decode(ids) == "one </s> two"


@pytest.mark.parametrize(("size", "dtype"), [(65536, "uint16"), (65537, "uint32")])
def test_width_follows_the_vocabulary(tmp_path, tokenizer, monkeypatch, size, dtype, write_documents):
    write_documents(tmp_path / "c", [("some words", "en", "train")])
    monkeypatch.setattr(Tokenizer, "vocab_size", size)
    folder = write_shards(tmp_path / "c", tokenizer, tmp_path / "s")
    assert folder.dtype.name == dtype
    assert documents(folder, "train", "en") == [[*tokenizer.encode("some words"), 2]]


def test_language_names_become_safe_file_names(tmp_path, tokenizer, write_documents):
    write_documents(
        tmp_path / "c", [("a", "zh-Hant", "train"), ("b", "../x", "train"), ("c", "_2e_", "train")]
    )
    folder = write_shards(tmp_path / "c", tokenizer, tmp_path / "s")
    assert folder.languages("train") == ["../x", "_2e_", "zh-Hant"]
    assert {path.parent for path in tmp_path.rglob("*.tokens")} == {tmp_path / "s" / "train"}
    assert documents(folder, "train", "../x") == [[*tokenizer.encode("b"), 2]]
    assert documents(folder, "train", "_2e_") == [[*tokenizer.encode("c"), 2]]


@pytest.mark.parametrize("ending", ["tokens", "offsets"])
def test_a_broken_shard_is_named(copied, ending):
    path = copied / "train" / f"en-00000.{ending}"
    data = bytearray(path.read_bytes())
    path.write_bytes(data[:-1])
    with pytest.raises(
        DataError, match=rf"en-00000.{ending} has {len(data) - 1} bytes instead of {len(data)}"
    ):
        ShardFolder(copied, verify=False)
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=rf"en-00000.{ending} is corrupt"):
        ShardFolder(copied)
    path.unlink()
    with pytest.raises(DataError, match=rf"en-00000.{ending} is missing"):
        ShardFolder(copied)


def test_a_broken_or_missing_index_is_named(copied):
    (copied / "index.json").write_text(json.dumps({"format": "other"}))
    with pytest.raises(DataError, match="index.json has format 'other'"):
        ShardFolder(copied)
    (copied / "index.json").unlink()
    with pytest.raises(DataError, match="index.json is missing"):
        ShardFolder(copied)


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (OSError(errno.ENOSPC, "No space left"), DeviceError, "the disk of .* is full"),
        (OSError("unreadable"), DataError, "cannot turn .* into shards: unreadable"),
    ],
)
def test_an_interrupted_writing_leaves_no_index(
    copied, tokenizer, tmp_path, monkeypatch, write_documents, shard_rows, error, kind, message
):
    write_documents(tmp_path / "c", shard_rows)

    def failing(self, texts):
        raise error

    monkeypatch.setattr(Tokenizer, "encode_batch", failing)
    with pytest.raises(kind, match=message):
        write_shards(tmp_path / "c", tokenizer, copied)
    with pytest.raises(DataError, match="index.json is missing"):
        ShardFolder(copied)


def test_what_is_missing_is_said(tmp_path, tokenizer, shard_folder, write_documents, shard_rows):
    with pytest.raises(DataError, match="no documents at"):
        write_shards(tmp_path, tokenizer, tmp_path / "s")
    with pytest.raises(ConfigError, match="no 'eng' in the train shards.*did you mean 'en'"):
        ShardFolder(shard_folder).open("train", "eng")
    write_documents(tmp_path / "c", shard_rows)
    monkey = Tokenizer(tokenizer._core)
    monkey._ids = {**monkey._ids, "eos": None}
    with pytest.raises(ArtifactError, match="no end-of-text token"):
        write_shards(tmp_path / "c", monkey, tmp_path / "s")
    with pytest.raises(ConfigError, match="max_shard_tokens=0"):
        ShardsConfig(max_shard_tokens=0)
    with pytest.raises(ConfigError, match="alpha=2"):
        ShardsConfig(alpha=2)


def test_stage_reports_the_mixture(tmp_path, tokenizer, write_documents, shard_rows):
    from hortus.corpus.stage import SHARDS

    write_documents(tmp_path / "c", shard_rows)
    tokenizer.save(tmp_path / "t")
    (tmp_path / "s").mkdir()
    inputs = {"corpus": tmp_path / "c", "tokenizer": tmp_path / "t"}
    context = StageContext(folder=tmp_path / "s", inputs=inputs, resume=False, recipe={})
    result = SHARDS.run(ShardsConfig(alpha=0.3), context)
    folder = ShardFolder(tmp_path / "s")
    assert result.numbers["tokens"] == sum(folder.tokens("train").values())
    assert sum(result.numbers["shares"].values()) == pytest.approx(1)
    assert folder.alpha == 0.3 and result.numbers["shares"]["code"] <= 0.5
    assert {row[0] for row in result.blocks[0].rows} == {"code", "en", "fr"}
    assert np.dtype(result.numbers["dtype"]) == np.uint16
