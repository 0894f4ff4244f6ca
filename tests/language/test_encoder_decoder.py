"""Encoder-decoders behind `LanguageModel`: generation, ranking, embedding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import hortus
from hortus.errors import ConfigError, DataError
from hortus.language import LanguageModel

from .families import TEXT, t5

OTHERS = ["the fox", "a", "rome is the capital of italy and paris", ""]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return t5()


def test_text_of_its_kind_of_tokenizer_comes_back(model: LanguageModel) -> None:
    ids = model.tokenizer.encode("the quick fox", add_special=True)
    assert ids[-1] == model.tokenizer.eos_id == 1 and model.tokenizer.pad_id == 0
    assert model.tokenizer.decode(ids) == "the quick fox"
    assert model.tokenizer.encode("<extra_id_0>", parse_special=True)[-1] == 3


def test_greedy_text_equals_transformers(model: LanguageModel, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    model.save(tmp_path / "model")
    peer = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "model").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    for text in TEXT:
        inputs = tokenizer(text, return_tensors="pt")
        assert inputs["input_ids"][0].tolist() == model.tokenizer.encode(text, add_special=True)
        bad = [[index] for index in range(model.tokenizer.vocab_size, model.network.config.vocab_size)]
        written = peer.generate(inputs["input_ids"], max_new_tokens=20, do_sample=False, bad_words_ids=bad)
        expected = tokenizer.decode(written[0], skip_special_tokens=True)
        assert model.generate(text, max_new_tokens=20) == expected


def test_batch_equals_single_and_stream_equals_generate(model: LanguageModel) -> None:
    texts = [*TEXT, *OTHERS]
    for options in (
        {},
        {"temperature": 0.8, "seed": 3},
        {"repetition_penalty": 1.5},
        {"top_k": 3, "seed": 1},
    ):
        together = model.generate(texts, max_new_tokens=15, **options)
        assert together == [model.generate(text, max_new_tokens=15, **options) for text in texts]
        assert "".join(model.stream(texts[0], max_new_tokens=15, **options)) == together[0]
    assert len(set(together)) > 1


@torch.no_grad()
def brute_rank(model: LanguageModel, text: str, choice: str) -> float:
    """log p(choice, end | text) by one whole pass."""
    source = model.tokenizer.encode(text) or [1]
    target = [*model.tokenizer.encode(choice), 1]
    logits = model.network(torch.tensor([source]), torch.tensor([[0, *target[:-1]]]))[0]
    return float(logits.log_softmax(-1)[range(len(target)), target].sum())


def test_ranks_are_those_of_whole_passes(model: LanguageModel) -> None:
    texts = [*TEXT, *OTHERS]
    choices = [["yes", "no", "the lazy dog"], ["paris", "rome"]] * 4
    choices[3] = ["only one"]
    ranked = model.rank(texts, choices)
    for text, mine, got in zip(texts, choices, ranked, strict=True):
        np.testing.assert_allclose(got, [brute_rank(model, text, c) for c in mine], atol=1e-4)
        np.testing.assert_allclose(model.rank(text, mine), got, atol=1e-5)
    assert model.rank([], []) == [] and model.rank("a", []).shape == (0,)


def test_a_source_is_encoded_once(model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[int] = []
    encode = model.network.encode

    def counted(ids: torch.Tensor, *more: Any) -> torch.Tensor:
        encoded.append(ids.size(0))
        return encode(ids, *more)

    monkeypatch.setattr(model.network, "encode", counted)
    model.rank(TEXT, [["yes", "no", "perhaps", "paris", "rome"]] * len(TEXT))
    assert sum(encoded) == len(TEXT)
    encoded.clear()
    model.generate(TEXT, max_new_tokens=6)
    assert sum(encoded) == len(TEXT)


def test_biases_are_built_once_a_text(model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[int] = []
    stack = type(model.network.decoder)
    bias = stack.bias

    def counted(self: Any, length: int, past: int = 0) -> torch.Tensor:
        built.append(length)
        return bias(self, length, past)

    monkeypatch.setattr(stack, "bias", counted)
    model.generate(TEXT[0], max_new_tokens=12, eos_token_id=[])
    assert len(built) == 2  # the encoder's and the decoder's


def test_embeddings_are_means_of_the_encoder(model: LanguageModel) -> None:
    together = model.embed(TEXT)
    for text, got in zip(TEXT, together, strict=True):
        ids = torch.tensor([model.tokenizer.encode(text, add_special=True)])
        expected = model.network.encode(ids)[0].mean(0).detach().numpy()
        np.testing.assert_allclose(got, expected, atol=1e-5)
        np.testing.assert_allclose(model.embed(text), expected, atol=1e-5)
    assert model.embed([]).shape == (0, 24)


def test_saved_and_loaded_is_the_same(model: LanguageModel, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    again = hortus.load(str(tmp_path / "model"), device="cpu")
    assert again.kind == "t5" and again.generate(TEXT) == model.generate(TEXT)


def test_what_it_cannot_do_is_said(model: LanguageModel) -> None:
    for call in (
        lambda: model.score(["a"]),
        lambda: model.fill_mask("a"),
        lambda: model.classify("a"),
        lambda: model.answer("a", "b"),
    ):
        with pytest.raises(ConfigError, match="a t5 cannot .*; allowed: (de|en)coder models"):
            call()
    long = " ".join(TEXT * 4)
    with pytest.raises(DataError, match="allowed: 64 or fewer.*truncate=True"):
        model.rank(long, ["a"])
    np.testing.assert_allclose(
        model.rank(long, ["a"], truncate=True),
        brute_rank_of_ids(model, model.tokenizer.encode(long)[:64], "a"),
        atol=1e-4,
    )
    with pytest.raises(DataError, match="a choice has"):
        model.rank("a", [long])


@torch.no_grad()
def brute_rank_of_ids(model: LanguageModel, source: list[int], choice: str) -> float:
    target = [*model.tokenizer.encode(choice), 1]
    logits = model.network(torch.tensor([source]), torch.tensor([[0, *target[:-1]]]))[0]
    return float(logits.log_softmax(-1)[range(len(target)), target].sum())
