"""Fewer tokens: the same spellings and the same logits of what is kept, for every family and tokenizer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hortus.language import LanguageModel
from hortus.language.trimming import trim_vocabulary
from hortus.models import build_network
from hortus.tokenizer import Tokenizer, TokenizerConfig, train_tokenizer
from hortus.tokenizer.trimming import trimmed_tokenizer, used_ids
from tests.language.families import TEXT, encoder, t5, unigram, wordpiece

KEPT = ["the fox jumps over the dog", "paris is the capital of france"]


def byte_level() -> Tokenizer:
    return train_tokenizer([*TEXT, "größer ✓ 中文"] * 3, TokenizerConfig(vocab_size=340))


def bloom() -> LanguageModel:
    torch.manual_seed(0)
    tokenizer = byte_level()
    shape = {"model_type": "bloom", "hidden_size": 24, "n_layer": 2, "n_head": 3, "initializer_range": 0.2}
    return LanguageModel(
        build_network(shape | {"vocab_size": tokenizer.vocab_size + 12}), tokenizer, max_length=48
    )


def spellings(tokenizer: Tokenizer, text: str) -> list[str | None]:
    return [tokenizer.token(index) for index in tokenizer.encode(text, add_special=True)]


MODELS = {
    "bloom": bloom,
    "t5": t5,
    "tied t5": lambda: t5(tie_word_embeddings=True, feed_forward_proj="relu"),
    "bert": lambda: encoder("bert"),
    "distilbert": lambda: encoder("distilbert"),
    "classifier": lambda: encoder("bert", "ForSequenceClassification", num_labels=3),
}


@pytest.mark.parametrize("name", MODELS)
def test_kept_tokens_have_the_same_logits(name: str, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    model = MODELS[name]()
    small = trim_vocabulary(model, KEPT)
    assert small.tokenizer.vocab_size == small.network.config.vocab_size < model.tokenizer.vocab_size
    old = [
        model.tokenizer.token_id(small.tokenizer.token(i) or "") for i in range(small.tokenizer.vocab_size)
    ]
    for text in KEPT:
        assert spellings(small.tokenizer, text) == spellings(model.tokenizer, text)
        assert small.tokenizer.decode(small.tokenizer.encode(text)) == model.tokenizer.decode(
            model.tokenizer.encode(text)
        )
        inputs = [
            [torch.tensor([one.tokenizer.encode(text, add_special=True)])] * (2 if "t5" in name else 1)
            for one in (small, model)
        ]
        with torch.inference_mode():
            found, whole = small.network(*inputs[0]), model.network(*inputs[1])
        torch.testing.assert_close(found, whole if name == "classifier" else whole[..., old])
    small.save(tmp_path / "small")
    again = LanguageModel.load(tmp_path / "small", device="cpu")
    assert again.tokenizer.encode(KEPT[0]) == small.tokenizer.encode(KEPT[0])
    for role in ("pad_id", "eos_id", "mask_id", "cls_id"):
        index, before = getattr(again.tokenizer, role), getattr(model.tokenizer, role)
        assert (index is None) == (before is None)
        assert index is None or again.tokenizer.token(index) == model.tokenizer.token(before)
    assert again.network.config.pad_token_id in (again.tokenizer.pad_id, model.network.config.pad_token_id)


TOKENIZERS = {"wordpiece": wordpiece(), "unigram": unigram(), "byte level": byte_level()}


@pytest.mark.parametrize("kind", TOKENIZERS)
@settings(max_examples=40, deadline=None)
@given(words=st.lists(st.text("abdefgnorstu ß✓中-?", max_size=9), min_size=1, max_size=4))
def test_any_texts_encode_to_the_same_spellings(kind: str, words: list[str]) -> None:
    tokenizer = TOKENIZERS[kind]
    texts = [" ".join(words), *words, TEXT[len(words) % len(TEXT)]]
    small, kept = trimmed_tokenizer(tokenizer, used_ids(tokenizer, texts))
    for text in texts:
        assert [kept[index] for index in small.encode(text)] == tokenizer.encode(text)


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_other_words_of_the_same_letters_are_spelled(kind: str) -> None:
    tokenizer = TOKENIZERS[kind]
    small, _ = trimmed_tokenizer(tokenizer, used_ids(tokenizer, ["the lazy dog"]))
    ids = small.encode("lady")
    assert ids and tokenizer.unk_id is not None and small.unk_id not in ids
    assert small.decode(ids).replace(" ", "") == "lady"


def test_transformers_opens_a_trimmed_folder(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    small = trim_vocabulary(encoder("bert"), KEPT)
    small.save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert theirs(KEPT[0])["input_ids"] == small.tokenizer.encode(KEPT[0], add_special=True)
    assert len(theirs) == small.tokenizer.vocab_size
