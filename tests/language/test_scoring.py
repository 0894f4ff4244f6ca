import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hortus.errors import ConfigError, DataError
from hortus.language.batching import batches_by_length
from hortus.language.scoring import _stems, split_choice, windows

TEXTS = ["The quick brown", "", "def f(x): ", "a", "é 敏捷的棕色. The lazy dog"]
CHOICES = [["fox", "fox jumps over", "é"], ["The", "dog"], ["return x", "x"], ["b"], ["", "def", "敏捷", "."]]


def plain_log_probability(model, tokens: list[int], start: int) -> float:
    """Sum of log p(token | all before it) from `start` on, one uncached pass a token."""
    total = 0.0
    with torch.no_grad():
        for end in range(start, len(tokens)):
            logits = model.network(torch.tensor([tokens[:end]]))[0, -1].double()
            total += torch.log_softmax(logits, -1)[tokens[end]].item()
    return total


def plain_rank(model, text: str, choice: str) -> float:
    """As lm-evaluation-harness tokenises a pair, with </s> for an empty context."""
    continuation = " " + choice
    spaces = len(text) - len(text.rstrip())
    if spaces:
        continuation, text = text[-spaces:] + continuation, text[:-spaces]
    encode = model.tokenizer.encode
    context = encode(text) if text else [model.tokenizer.eos_id]
    target = encode(text + continuation)[len(encode(text)) :] if text else encode(continuation)
    return plain_log_probability(model, context + target, len(context))


def test_rank_is_the_plain_formula(model) -> None:
    ranked = model.rank(TEXTS, CHOICES)
    for text, choices, scores in zip(TEXTS, CHOICES, ranked, strict=True):
        expected = [plain_rank(model, text, choice) for choice in choices]
        np.testing.assert_allclose(scores, expected, atol=1e-4)
        np.testing.assert_allclose(model.rank(text, choices), expected, atol=1e-4)


def test_rank_orders_and_empties(model) -> None:
    assert model.rank([], []) == []
    assert model.rank("The", []).shape == (0,)
    with pytest.raises(DataError, match="one list of choices a text"):
        model.rank(["a", "b"], [["c"]])
    with pytest.raises(DataError, match="a list of strings"):
        model.rank("a", "b")


def test_texts_that_begin_alike_are_ranked_as_if_each_stood_alone(model) -> None:
    start = "A long beginning that many of these texts share, in order to be read only once. " * 2
    texts = [start + end for end in ("", "Topic:", "Topic: what", "It is about", "Topic:", "It")] + ["Other"]
    choices = [["yes", "no", "certainly not"][: 1 + number % 3] for number in range(len(texts))]
    together = model.rank(texts, choices)
    for text, mine, scores in zip(texts, choices, together, strict=True):
        np.testing.assert_allclose(scores, model.rank(text, mine), rtol=0, atol=1e-4)


def test_shared_beginnings_are_laid_out_once() -> None:
    contexts = [[1] * 40 + [2, 3], [1] * 40 + [2, 4], [5] * 9, [1] * 40, [1] * 40 + [2, 3]]
    choices = [[[7, 8], [9]]] * 5
    order = sorted(range(5), key=lambda index: contexts[index])
    first, second = _stems(order, contexts, choices)
    assert first.tree() == (40, 1, (2, 1), (2, 1), (2, 1))
    assert first.ending == [3] and second.tree() == (9, 1)


def test_a_choice_that_melts_into_the_context_is_scored_alone() -> None:
    def encode(text: str) -> list[int]:
        return [ord(letter) for letter in text.replace(". !", "#")]

    assert split_choice(encode, "a.", " !", 0) == ([97, 46], [32, 33])


def test_rank_lengths(make_model) -> None:
    model = make_model(max_length=10)
    long = "The quick brown fox jumps over the lazy dog. The quick"
    with pytest.raises(DataError, match="pass truncate=True"):
        model.rank(long, ["fox", "dog"])
    with pytest.raises(DataError, match="a choice has"):
        model.rank("The", [long])
    longest = max(
        len(split_choice(model.tokenizer.encode, long, " " + c, 2)[1]) for c in ("fox jumps", "dog")
    )
    kept = model.tokenizer.decode(model.tokenizer.encode(long)[-(10 - longest + 1) :])
    np.testing.assert_allclose(
        model.rank(long, ["fox jumps", "dog"], truncate=True),
        model.rank(kept, ["fox jumps", "dog"]),
        atol=1e-5,
    )


def test_score_is_the_plain_formula(model) -> None:
    sums, counts = model.score(TEXTS)
    for text, total, count in zip(TEXTS, sums, counts, strict=True):
        tokens = [model.tokenizer.eos_id, *model.tokenizer.encode(text)]
        assert count == len(tokens) - 1
        assert total == pytest.approx(plain_log_probability(model, tokens, 1), abs=1e-4)
    assert model.score([]).log_probabilities.shape == (0,)


def test_long_texts_are_scored_in_windows(make_model) -> None:
    model = make_model(max_length=8)
    text = "The quick brown fox jumps over the lazy dog. def f(x): return x"
    tokens = [model.tokenizer.eos_id, *model.tokenizer.encode(text)]
    sums, counts = model.score([text], overlap=3)
    expected = sum(
        plain_log_probability(model, tokens[start:end], first - start)
        for start, first, end in windows(len(tokens), 8, 3)
    )
    assert counts[0] == len(tokens) - 1 > 8
    assert sums[0] == pytest.approx(expected, abs=1e-4)
    with pytest.raises(ConfigError, match="overlap=8"):
        model.score([text], overlap=8)


@given(st.integers(0, 60), st.integers(2, 12), st.integers(0, 11))
def test_windows_count_every_position_once(num_tokens, longest, overlap) -> None:
    overlap = min(overlap, longest - 1)
    cut = windows(num_tokens, longest, overlap)
    counted = [place for _, first, end in cut for place in range(first, end)]
    assert counted == list(range(1, num_tokens))
    assert all(
        end - start <= longest and first - start >= min(first, max(overlap, 1)) for start, first, end in cut
    )


@given(st.lists(st.integers(0, 40), max_size=30), st.integers(1, 5), st.integers(1, 100))
def test_batches_hold_every_row_once_within_the_limits(lengths, most_rows, most_tokens) -> None:
    batches = list(batches_by_length(lengths, most_rows=most_rows, most_tokens=most_tokens))
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    for batch in batches:
        padded = len(batch) * max(lengths[row] for row in batch)
        assert len(batch) <= most_rows and (padded <= most_tokens or len(batch) == 1)


def test_embeddings_are_means_over_tokens(model) -> None:
    listed = model.embed(TEXTS)
    assert listed.shape == (5, 48) and listed.dtype == np.float32
    for text, row in zip(TEXTS, listed, strict=True):
        ids = model.tokenizer.encode(text) or [model.separator_id]
        with torch.no_grad():
            mean = model.network.hidden(torch.tensor([ids]))[0].mean(0).numpy()
        np.testing.assert_allclose(row, mean, atol=1e-5)
        np.testing.assert_allclose(model.embed(text), mean, atol=1e-5)
    assert model.embed([]).shape == (0, 48)


def test_embedding_lengths(make_model) -> None:
    model = make_model(max_length=4)
    text = "The quick brown fox jumps over the lazy dog"
    with pytest.raises(DataError, match="4 or fewer"):
        model.embed(text)
    kept = model.tokenizer.decode(model.tokenizer.encode(text)[-4:])
    np.testing.assert_allclose(model.embed(text, truncate=True), model.embed(kept), atol=1e-6)


def test_a_padded_vocabulary_does_not_change_what_is_summed(model) -> None:
    bits = -model.score(["The quick brown fox"]).log_probabilities[0] / math.log(2)
    assert 0 < bits < 1000
