"""Reading a corpus by path, thinning, and the recipe stage."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hortus.errors import DataError
from hortus.recipe import StageContext
from hortus.tokenizer import Tokenizer, TokenizerConfig
from hortus.tokenizer.documents import documents_file, held_out_texts, language_bytes, training_texts
from hortus.tokenizer.stage import STAGE


def write(folder, rows):
    columns = {name: [row[i] for row in rows] for i, name in enumerate(["text", "language", "split"])}
    pq.write_table(pa.table(columns), folder / "documents.parquet")
    return folder


@pytest.fixture
def corpus(tmp_path):
    rows = [
        (f"words of document {i:03d} " * 10, "en", "validation" if i % 10 == 0 else "train")
        for i in range(100)
    ]
    rows += [(f"def f{i:03d}(x): return {i:03d}\n" * 20, "code", "train") for i in range(100)]
    return write(tmp_path, rows)


def test_language_bytes_counts_utf8_of_one_split(tmp_path):
    path = write(tmp_path, [("é", "fr", "train"), ("ab", "fr", "train"), ("abc", "en", "validation")])
    assert language_bytes(path / "documents.parquet", "train") == {"fr": 4}


def test_everything_is_taken_when_the_budget_allows(corpus):
    texts = training_texts(documents_file(corpus), TokenizerConfig(vocab_size=300))
    assert {language: len(part) for language, part in texts.items()} == {"en": 90, "code": 100}


def test_a_small_budget_thins_evenly_to_the_shares(corpus):
    config = TokenizerConfig(vocab_size=300, max_training_bytes=20_000, alpha=0)
    texts = training_texts(documents_file(corpus), config)
    sizes = {language: sum(map(len, part)) for language, part in texts.items()}
    assert sizes["en"] == pytest.approx(10_000, abs=300) and sizes["code"] == pytest.approx(10_000, abs=600)
    numbers = [int(text.split()[3]) for text in texts["en"]]
    assert min(numbers) < 10 and max(numbers) > 90  # from the whole file, not its beginning


def test_code_is_capped_beside_other_text_but_not_beside_next_to_none(tmp_path):
    code = [("x = 1 + 2\n" * 10_000, "code", "train")] * 40  # 4 MB
    english = [("some words " * 10_000, "en", "train")] * 20  # 2.2 MB
    config = TokenizerConfig(vocab_size=300)
    texts = training_texts(documents_file(write(tmp_path, code + english)), config)
    assert sum(map(len, texts["code"])) == pytest.approx(sum(map(len, texts["en"])), abs=100_000)
    texts = training_texts(documents_file(write(tmp_path, [*code, ("tiny", "en", "train")])), config)
    assert sum(map(len, texts["code"])) == pytest.approx(1_000_000, abs=100_000)


def test_held_out_text_is_capped_per_language(corpus):
    assert len(held_out_texts(documents_file(corpus), TokenizerConfig(vocab_size=300))["en"]) == 10
    assert (
        len(held_out_texts(documents_file(corpus), TokenizerConfig(vocab_size=300, report_bytes=500))["en"])
        == 2
    )


def test_stage_trains_saves_and_reports(corpus, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    config = TokenizerConfig(vocab_size=400, monolingual_floor_bytes=1000)
    result = STAGE.run(
        config, StageContext(folder=folder, inputs={"corpus": corpus}, resume=False, recipe={})
    )
    loaded = Tokenizer.load(folder)
    assert result.numbers["vocab_size"] == loaded.vocab_size == 400
    assert result.numbers["languages_compared"] == 1
    texts = [f"words of document {i:03d} " * 10 for i in range(0, 100, 10)]
    assert result.numbers["fertility"] == {"en": sum(len(loaded.encode(text)) for text in texts) / 400}
    assert [row[0] for row in result.blocks[0].rows] == ["en"]


def test_bad_corpora_are_named(tmp_path):
    with pytest.raises(DataError, match="no documents at .*documents.parquet"):
        documents_file(tmp_path)
    (tmp_path / "documents.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(DataError, match="not a readable parquet"):
        documents_file(tmp_path)
    pq.write_table(pa.table({"text": ["a"], "split": ["train"]}), tmp_path / "documents.parquet")
    with pytest.raises(DataError, match="lacks the column 'language'; it has: text, split"):
        documents_file(tmp_path)
    with pytest.raises(DataError, match="no training documents"):
        training_texts(documents_file(write(tmp_path, [("a", "en", "validation")])), TokenizerConfig())
