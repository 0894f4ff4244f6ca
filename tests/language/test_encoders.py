"""Encoders behind `LanguageModel`: masks, labels, answers, embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import hortus
from hortus.errors import ConfigError, DataError
from hortus.language import LanguageModel
from hortus.language.batching import batches_by_length
from hortus.language.states import hidden_states

from .families import TEXT, encoder

KINDS = ["bert", "distilbert"]
LABELS = {"id2label": {"0": "no", "1": "yes", "2": "perhaps"}}
CONTEXT = " ".join(TEXT * 5)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def peer_of(model: LanguageModel, folder: Path, name: str) -> tuple[Any, Any]:
    transformers = pytest.importorskip("transformers")
    model.save(folder / "model")
    peer = getattr(transformers, f"AutoModel{name}").from_pretrained(folder / "model").eval()
    return peer, transformers.AutoTokenizer.from_pretrained(folder / "model")


@pytest.mark.parametrize("kind", KINDS)
def test_embeddings_are_transformers_mean_pooling(kind: str, tmp_path: Path) -> None:
    model = encoder(kind, "Model")
    peer, tokenizer = peer_of(model, tmp_path, "")
    got = model.embed(TEXT)
    inputs = tokenizer(TEXT, return_tensors="pt", padding=True)
    if kind == "distilbert":
        inputs.pop("token_type_ids", None)
    with torch.no_grad():
        states, mask = peer(**inputs).last_hidden_state, inputs["attention_mask"][..., None]
    np.testing.assert_allclose(got, ((states * mask).sum(1) / mask.sum(1)).numpy(), atol=1e-5)
    for text, row in zip(TEXT, got, strict=True):
        np.testing.assert_allclose(model.embed(text), row, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_words_for_masks(kind: str, tmp_path: Path) -> None:
    model = encoder(kind)
    peer, tokenizer = peer_of(model, tmp_path, "ForMaskedLM")
    texts = ["the quick [MASK] fox", "a [MASK] film is [MASK]"]
    filled = model.fill_mask(texts, top=3)
    assert [len(masks) for masks in filled] == [1, 2]
    for text, masks in zip(texts, filled, strict=True):
        inputs = tokenizer(text, return_tensors="pt", return_token_type_ids=False)
        with torch.no_grad():
            logits = peer(**inputs).logits[0]
        places = (inputs["input_ids"][0] == tokenizer.mask_token_id).nonzero()[:, 0]
        for place, best in zip(places, masks, strict=True):
            expected = logits[place].softmax(-1).topk(3)
            assert [filling.token_id for filling in best] == expected.indices.tolist()
            values = [filling.probability for filling in best]
            np.testing.assert_allclose(values, expected.values, atol=1e-5)
            assert best[0].text == model.tokenizer.decode([best[0].token_id], skip_special=False)
        assert len(model.fill_mask(text, top=1)) == len(masks)


@pytest.mark.parametrize("kind", KINDS)
def test_labels_of_texts_and_pairs(kind: str, tmp_path: Path) -> None:
    model = encoder(kind, "ForSequenceClassification", **LABELS)
    peer, tokenizer = peer_of(model, tmp_path, "ForSequenceClassification")
    seconds = [TEXT[2], "no", TEXT[0], "yes, the fox"]
    for others in (None, seconds):
        inputs = tokenizer(TEXT, others, return_tensors="pt", padding=True)
        if kind == "distilbert":
            inputs.pop("token_type_ids", None)
        with torch.no_grad():
            expected = peer(**inputs).logits.softmax(-1).numpy()
        for label, row in zip(model.classify(TEXT, others), expected, strict=True):
            assert list(label.probabilities) == ["no", "yes", "perhaps"]
            np.testing.assert_allclose(list(label.probabilities.values()), row, atol=1e-5)
            assert label.label == list(label.probabilities)[int(row.argmax())]
            assert label.probability == max(label.probabilities.values())
    one = model.classify(TEXT[0])
    assert one.label == model.classify(TEXT)[0].label


@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_the_likeliest_spans(kind: str, tmp_path: Path) -> None:
    model = encoder(kind, "ForQuestionAnswering")
    peer, tokenizer = peer_of(model, tmp_path, "ForQuestionAnswering")
    question, context = "who jumps over the dog?", TEXT[3]
    got = model.answer(question, context)
    inputs = tokenizer(
        question, context, return_tensors="pt", return_offsets_mapping=True, return_token_type_ids=True
    )
    spans = inputs.pop("offset_mapping")[0].tolist()
    types = inputs["token_type_ids"][0]
    if kind == "distilbert":
        inputs.pop("token_type_ids")
    with torch.no_grad():
        outputs = peer(**inputs)
    inside = [i for i in range(len(spans)) if types[i] == 1][:-1]
    first = outputs.start_logits[0, inside].softmax(-1)
    last = outputs.end_logits[0, inside].softmax(-1)
    both = first[:, None] * last[None]
    both = both.triu().tril(29)
    place = int(both.argmax())
    start, end = spans[inside[place // len(inside)]][0], spans[inside[place % len(inside)]][1]
    assert (got.start, got.end, got.text) == (start, end, context[start:end])
    assert got.probability == pytest.approx(float(both.max()), abs=1e-5)


def test_contexts_of_any_length() -> None:
    model = encoder("bert", "ForQuestionAnswering")
    answers = model.answer(["who jumps?", "a"], [CONTEXT, TEXT[0]])
    for answer, context in zip(answers, (CONTEXT, TEXT[0]), strict=True):
        assert answer.text == context[answer.start : answer.end] and 0 < answer.probability <= 1
    alone = model.answer("a", TEXT[0])
    assert alone[2:] == answers[1][2:]
    assert alone.probability == pytest.approx(answers[1].probability, abs=1e-5)
    assert model.answer("a", "").text == ""


def test_lists_of_any_length_show_a_bar(capsys: pytest.CaptureFixture[str]) -> None:
    model = encoder("distilbert", "Model")
    texts = TEXT * 26
    together = model.embed(texts)
    np.testing.assert_allclose(together[:4], model.embed(TEXT), atol=1e-5)
    assert model.embed([]).shape == (0, 24)
    assert capsys.readouterr().out == ""


def test_padding_is_below_a_tenth(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    for lengths in (random.integers(8, 257, 512), random.integers(8, 257, 64), random.geometric(0.03, 900)):
        batches = list(batches_by_length(lengths, most_rows=128, most_tokens=4096, most_padding=0.08))
        assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
        cells = sum(len(batch) * max(lengths[row] for row in batch) for batch in batches)
        assert cells < lengths.sum() / 0.9


def test_the_states_of_rows_come_with_their_masks() -> None:
    model = encoder("bert", "Model")
    rows = [[2, 7, 3], [2, 7, 8, 9, 3], [2, 9, 3]]
    seen = []
    for batch, hidden, mask in hidden_states(model.network, rows, 0):
        for place, row in enumerate(batch):
            real = hidden[place] if mask is None else hidden[place][mask[place].bool()]
            torch.testing.assert_close(
                real, model.network.hidden(torch.tensor([rows[row]]))[0], atol=1e-5, rtol=0
            )
            seen.append(row)
    assert sorted(seen) == [0, 1, 2]


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded_is_the_same(kind: str, tmp_path: Path) -> None:
    model = encoder(kind, "ForSequenceClassification", **LABELS)
    model.save(tmp_path / "model")
    assert not (tmp_path / "model/generation_config.json").exists()
    again = hortus.load(str(tmp_path / "model"), device="cpu")
    assert again.classify(TEXT) == model.classify(TEXT) and again.max_length == 48


def test_mistakes_are_named() -> None:
    model = encoder("bert")
    for call, message in (
        (lambda: model.generate("a"), "a bert cannot generate; allowed: decoder and encoder-decoder"),
        (lambda: model.rank("a", ["b"]), "a bert cannot rank"),
        (lambda: model.classify("a"), "has the head 'masked_lm'.*'classify'.*hortus finetune"),
        (lambda: model.answer("a", "b"), "has the head 'masked_lm'"),
        (lambda: model.fill_mask("[MASK]", top=0), "top=0"),
    ):
        with pytest.raises(ConfigError, match=message):
            call()
    with pytest.raises(DataError, match=r"text 1 has no mask; allowed: \[MASK\]"):
        model.fill_mask(["a [MASK]", "a"])
    with pytest.raises(DataError, match="46 or fewer"):
        model.embed(CONTEXT)
    assert model.embed(CONTEXT, truncate=True).shape == (24,)
    with pytest.raises(DataError, match="got int"):
        model.embed(3)  # type: ignore[arg-type]
    pairs = encoder("bert", "ForSequenceClassification", **LABELS)
    with pytest.raises(DataError, match="2 texts and 1 second texts"):
        pairs.classify(["a", "b"], ["c"])
    spans = encoder("bert", "ForQuestionAnswering")
    with pytest.raises(DataError, match="a question of"):
        spans.answer(CONTEXT, "a")
