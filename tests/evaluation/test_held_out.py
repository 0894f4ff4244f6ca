"""Held-out bits per byte: against the formula written out, and beside xz."""

from __future__ import annotations

import lzma
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import torch

from hortus.errors import DataError
from hortus.evaluation.config import HeldOutConfig
from hortus.evaluation.held_out import POOLED, bits_per_byte, held_out_documents, xz_bits_per_byte
from hortus.language import LanguageModel
from hortus.models import build_network
from hortus.tokenizer import TokenizerConfig, train_tokenizer

TEXTS = ["the garden grows", "le jardin pousse, l'été", "庭が育つ"]


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    tokenizer = train_tokenizer(TEXTS * 3, TokenizerConfig(vocab_size=280))
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "n_layer": 2, "n_head": 2, "vocab_size": tokenizer.vocab_size}
    return LanguageModel(build_network({"model_type": "bloom", **shape}), tokenizer)


def test_bits_per_byte_is_the_sum_of_log_probabilities_over_the_bytes(model: LanguageModel) -> None:
    bits = 0.0
    for text in TEXTS:
        ids = [model.separator_id, *model.tokenizer.encode(text)]
        with torch.no_grad():
            logits = model.network(torch.tensor([ids])).double().numpy()[0]
        log_probabilities = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        bits -= sum(log_probabilities[t, ids[t + 1]] for t in range(len(ids) - 1)) / math.log(2)
    expected = bits / sum(len(text.encode()) for text in TEXTS)
    assert bits_per_byte(model, TEXTS) == pytest.approx(expected, rel=1e-5)


def test_no_text_is_refused(model: LanguageModel) -> None:
    with pytest.raises(DataError, match="no text to score"):
        bits_per_byte(model, [""])


def test_xz_codes_the_joined_texts() -> None:
    data = "\n".join(TEXTS).encode()
    assert xz_bits_per_byte(TEXTS) == 8 * len(lzma.compress(data, preset=9)) / len(data)


def write_documents(folder: Path, rows: list[tuple[str, str, str]]) -> None:
    columns = dict(zip(("text", "language", "split"), map(list, zip(*rows, strict=True)), strict=True))
    parquet.write_table(pa.table(columns), folder / "documents.parquet")


def test_documents_are_chosen_whole_by_language_and_small_languages_pooled(tmp_path: Path) -> None:
    rows = [("a" * 60, "en", "validation")] * 3 + [("b" * 60, "en", "train")]
    rows += [("c" * 10, "fr", "validation"), ("d" * 10, "de", "validation")]
    write_documents(tmp_path, rows)
    chosen = held_out_documents(tmp_path, HeldOutConfig(max_bytes=130, floor_bytes=20))
    assert chosen == {"en": ["a" * 60] * 2, POOLED: ["c" * 10, "d" * 10]}


def test_a_corpus_that_holds_nothing_out_is_refused(tmp_path: Path) -> None:
    write_documents(tmp_path, [("a", "en", "train")])
    with pytest.raises(DataError, match="validation_fraction"):
        held_out_documents(tmp_path, HeldOutConfig())
